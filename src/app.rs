//! The application: `build` assembles all parts from the settings and reads nothing; `run` runs them to their end.

pub mod control_socket;
mod dry_run;
mod environment;
mod error;
mod lanes;
mod recover;
mod startup;
mod store;
mod supervise;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::avro::schemas::SchemaResolver;
use crate::config::{self, Config};
use crate::kafka::Connection;
use crate::kafka::topics::{Layout, TopicNames, TopicPlan};
use crate::marketplace::body::PageVerdict;
use crate::marketplace::client::{Connections, Hosts};
use crate::order::ids::StoreName;
use crate::pipeline::account::Account;
use crate::pipeline::counters::{Counters, PassSummary};
use crate::pipeline::publish::{Lane, LaneState, Source};
use crate::pipeline::reconcile::{Republished, Wanted};
use crate::pipeline::tracking_memory::{TrackingMemory, lane_of};
use crate::spool::{Durable, Spool, SpoolOptions};
use control_socket::{ControlSocket, Republishers};
use lanes::{LaneTemplate, start_lanes, tasks};
use recover::{Recovered, accept};
use startup::{STARTUP_TIMEOUT, ensure_topics};
use store::StoreTask;
use supervise::{End, StoreResult};

pub use dry_run::{Missing, dry_run};
pub(crate) use environment::client;
pub use environment::{Environment, MarketplaceFactory};
pub use error::AppError;

/// The assembled program, ready to run.
pub struct App {
    lanes: BTreeMap<i32, Lane>,
    layout: Layout,
    recovered: Vec<Durable>,
    stores: Vec<StoreTask>,
    once: bool,
    counters: Arc<Counters>,
    spool: Spool,
    account: Account,
    schemas: SchemaResolver,
    stop: CancellationToken,
}

impl App {
    /// Opens the spool, connects to Kafka and starts the lanes, which fence and load their index in the background.
    /// Reads nothing from the marketplace.
    pub async fn build(config: &Config, once: bool, stop: CancellationToken) -> Result<Self, AppError> {
        Self::build_on(None, config, once, stop).await
    }

    /// Like [`Self::build`], with a known topic layout in place of asking the broker: an embedded broker can't be
    /// asked.
    pub async fn build_on(
        layout: Option<Layout>,
        config: &Config,
        once: bool,
        stop: CancellationToken,
    ) -> Result<Self, AppError> {
        Self::build_in(Environment::real(config), layout, config, once, Arc::default(), stop).await
    }

    /// Like [`Self::build`], for a long-running program: keeps the counters of the previous run across a reload.
    pub async fn build_counting(
        counters: Arc<Counters>,
        config: &Config,
        stop: CancellationToken,
    ) -> Result<Self, AppError> {
        Self::build_in(Environment::real(config), None, config, false, counters, stop).await
    }

    /// Like [`Self::build`], in the given environment.
    pub async fn build_in(
        environment: Environment,
        layout: Option<Layout>,
        config: &Config,
        once: bool,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> Result<Self, AppError> {
        config.kafka.properties.check_files()?;
        let (stores, disk, dir) = (config.stores_or_error()?, &environment.disk, &config.spool.dir);
        let options = SpoolOptions { page_space: config.spool.page_space, dir: dir.clone() };
        let (spool, mut recovery) = Spool::open_on(disk.clone(), options)?;
        // guard: what a kill left is looked into
        recovery.disown(&spool, PageVerdict::why_no_page).await?;
        counters.set_stores(stores.keys());
        let account = Account::open_on(disk.clone(), dir, &recovery, stores.keys(), counters.clone())?;
        if recovery.polls_cut_off.is_some() {
            spool.forget_cut_off_polls()?;
        }
        let layout = match layout {
            Some(known) => known,
            None => {
                ensure_topics(&Connection::from(&config.kafka), &TopicPlan::from(&config.kafka), once, &stop).await?
            }
        };
        let memory = TrackingMemory::open_on(disk.clone(), dir, &config.kafka.topics.tracking, layout.lanes)?;
        let template = LaneTemplate {
            environment,
            hosts: Hosts::new(config.api.host_limits()),
            topics: TopicNames::from(&config.kafka),
            spool: spool.clone(),
            account: account.clone(),
            schemas: SchemaResolver::from_config(config)?,
            memory: Arc::new(memory),
            counters: counters.clone(),
            stop,
            patience: once.then_some(STARTUP_TIMEOUT),
        };
        let Recovered { pages, mut unknown, damaged } = accept(recovery, stores);
        let lanes = start_lanes(config, layout, &template, &pages)?;
        let stores = stores
            .iter()
            .map(|(name, store)| {
                let lane = &lanes[&lane_of(name, layout.lanes)];
                let unsettled = unknown.remove(name).unwrap_or_default();
                counters.store(name).unsettled_reads.set(unsettled.len() as u64);
                let (drain, reconciler) = tasks(name, store, &config.reconcile, lane, &template, unsettled, once)?;
                Ok(StoreTask { drain, reconciler, damaged: damaged.contains(name) })
            })
            .collect::<Result<_, AppError>>()?;
        let LaneTemplate { schemas, stop, .. } = template;
        Ok(Self { lanes, layout, recovered: pages, stores, once, counters, spool, account, schemas, stop })
    }

    /// Live counters; they grow while the program runs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// The state of each lane, by lane number.
    #[must_use]
    pub fn lanes(&self) -> BTreeMap<i32, watch::Receiver<LaneState>> {
        self.lanes.iter().map(|(number, lane)| (*number, lane.handle.status.clone())).collect()
    }

    /// Orders that reads of unknown outcome may have lost.
    #[must_use]
    pub fn account(&self) -> Account {
        self.account.clone()
    }

    /// The schema resolver, which knows whether the schema registry has the schemas.
    #[must_use]
    pub fn schemas(&self) -> SchemaResolver {
        self.schemas.clone()
    }

    /// Publishes the pages that a former process left, in their order. Then runs the stores to their end, and the lanes
    /// until everything is committed.
    ///
    /// # Errors
    /// Returns the first error. A store's failure lets the other stores go on where possible.
    pub async fn run(self) -> Result<(), AppError> {
        let once = self.once;
        let republishers = Republishers::default();
        let mut background = JoinSet::new();
        if !once {
            background.spawn(ControlSocket::open_and_serve(self.spool.dir().to_owned(), republishers.clone()));
        }
        let start = move |tasks: &mut JoinSet<StoreResult<()>>, store: StoreTask| {
            if once {
                tasks.spawn(async move { store.drain().await.map(|()| None) });
                return;
            }
            let StoreTask { drain, reconciler, .. } = store;
            tasks.spawn(async move { Ok(drain.run().await.map(|()| None)?) });
            let republishers = republishers.clone();
            tasks.spawn(async move {
                let _takes_requests = republishers.add(&reconciler.store, reconciler.republisher());
                reconciler.run().await;
                Ok(None)
            });
        };
        let (_, result) = self.run_stores(start).await;
        // Awaited: the socket is closed before a reload opens the next one.
        background.shutdown().await;
        result
    }

    /// Makes one reconciler pass over every store. Returns the summaries of the stores whose pass succeeded.
    pub async fn reconcile(self) -> End<PassSummary> {
        let (mut summaries, result) = self
            .run_stores(|tasks, mut store| {
                tasks.spawn(async move { store.reconcile().await.map(Some) });
            })
            .await;
        summaries.sort_by(|one, other| one.store.cmp(&other.store));
        (summaries, result)
    }

    /// Publishes the given orders of one store again, after the pages that an earlier run left in the spool.
    pub async fn republish(self, store: &StoreName, orders: Vec<Wanted>) -> Result<Republished, AppError> {
        let wanted_store = store.clone();
        let (mut republished, result) = self
            .run_stores(move |tasks, StoreTask { reconciler, .. }| {
                if reconciler.store == wanted_store {
                    let (republisher, orders) = (reconciler.republisher(), orders.clone());
                    tasks.spawn(async move { Ok(Some(republisher.publish(orders, Source::Operator).await?)) });
                }
            })
            .await;
        result.and(republished.pop().ok_or(AppError::Panicked))
    }

    async fn run_stores<T: Send + 'static>(
        self,
        start: impl Fn(&mut JoinSet<StoreResult<T>>, StoreTask) + Clone + Send + 'static,
    ) -> End<T> {
        let Self { lanes, layout, recovered, stores, spool, account, schemas, stop, .. } = self;
        let mut background = JoinSet::new();
        background.spawn(spool.keep());
        if schemas.registry().is_some() {
            background.spawn(schemas.watch(stop.clone()));
        }
        let (done, result) = supervise::run(lanes, layout.lanes, recovered, stores, start, stop).await;
        // Awaited: the last hold on the spool is given up before a reload opens it again.
        background.shutdown().await;
        (done, result.and(account.close().map_err(AppError::from)))
    }
}

/// Checks the settings without contacting anybody: that there are stores or may be some later, and that the registry's
/// password and Kafka's secrets can be read.
pub fn check(config: &Config) -> Result<(), AppError> {
    SchemaResolver::from_config(config)?;
    config.kafka.properties.check_files()?;
    if config.stores_dir.is_none() {
        config.stores_or_error()?;
    }
    Ok(())
}

/// Checks a store's settings without contacting anybody: that its HTTP client can be built, and that its token can be
/// read.
pub fn check_store(store: &config::Store) -> Result<(), AppError> {
    client(store, &Connections::default())?;
    store.token.read()?;
    Ok(())
}
