//! The application: `build` assembles all parts from the settings and reads nothing; `run` runs them to their end.

mod audit;
pub mod control_socket;
mod countries;
mod dry_run;
mod environment;
mod error;
mod lanes;
mod manage;
mod recover;
mod serve;
mod startup;
mod store;
mod supervise;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::avro::event::Readers;
use crate::avro::schemas::SchemaResolver;
use crate::config::{self, Config};
use crate::kafka::Connection;
use crate::kafka::topics::{Layout, TopicNames, TopicPlan};
use crate::marketplace::body::PageVerdict;
use crate::marketplace::client::{Connections, Hosts};
use crate::order::ids::StoreName;
use crate::pipeline::account::Account;
use crate::pipeline::counters::{Counters, PassSummary};
use crate::pipeline::publish::{Source, Stores};
use crate::pipeline::reconcile::{Republished, Wanted};
use crate::pipeline::tracking_memory::TrackingMemory;
use crate::platform::jobs::in_place;
use crate::platform::otlp::Spans;
use crate::spool::{Spool, SpoolOptions};
use control_socket::{ControlSocket, Republishers};
use countries::StoreCountries;
use lanes::Shared;
use manage::{LaneManager, StoresSender};
use recover::{removed_stores, report, settle_looked_for};
use serve::{End, StoreWork};
use startup::ensure_topics;
use store::StoreTask;

pub use dry_run::{Missing, dry_run};
pub(crate) use environment::client;
pub use environment::{Environment, MarketplaceFactory};
pub use error::AppError;
pub use lanes::LaneStates;

/// The assembled program, ready to run.
pub struct App {
    shared: Arc<Shared>,
    stores: BTreeMap<StoreName, Arc<config::Store>>,
    changes: (StoresSender, UnboundedReceiver<BTreeMap<StoreName, Arc<config::Store>>>),
    /// Whether other instances share the stores.
    is_clustered: bool,
}

/// Changes the stores of a running program.
#[derive(Debug, Clone)]
pub struct StoresControl(StoresSender);

impl StoresControl {
    /// Puts these stores in the place of those at work. Only those that differ are started, restarted or stopped; pages of
    /// stores that go are still published. The settings besides the stores must be those of the program.
    pub fn set(&self, stores: BTreeMap<StoreName, Arc<config::Store>>) {
        if self.0.send(stores).is_err() {
            tracing::debug!("the program ends: no store is started any more");
        }
    }
}

impl App {
    /// Opens the spool and asks Kafka for the topics. Reads nothing from the marketplace.
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
        let (disk, dir) = (&environment.disk, &config.spool.dir);
        let stores = if once || config.stores_dir.is_none() { config.stores_or_error()? } else { &config.stores };
        for (name, store) in stores {
            (environment.marketplace)(name, store)?;
        }
        let options = SpoolOptions { page_space: config.spool.page_space, dir: dir.clone() };
        let (spool, mut recovery) = Spool::open_on(disk.clone(), options)?;
        // guard: what a kill left is looked into
        recovery.disown(&spool, PageVerdict::why_no_page).await?;
        let countries = StoreCountries::open_on(disk.clone(), dir);
        let removed = removed_stores(&recovery, stores, &countries);
        countries.remember(stores, |store| removed.contains_key(store));
        // They are counted, and are not among the stores that are at work.
        removed.keys().for_each(|store| drop(counters.store(store)));
        counters.set_stores(stores.keys());
        let account = Account::open_on(disk.clone(), dir, &recovery, stores.keys(), counters.clone())?;
        if recovery.polls_cut_off.is_some() {
            spool.forget_cut_off_polls()?;
        }
        settle_looked_for(&mut recovery, &spool, &account).await?;
        let layout = match layout {
            Some(known) => known,
            None => {
                ensure_topics(&Connection::from(&config.kafka), &TopicPlan::from(&config.kafka), once, &stop).await?
            }
        };
        let memory = TrackingMemory::open_on(disk.clone(), dir, &config.kafka.topics.tracking, layout.lanes)?;
        let is_clustered = config.cluster.enabled && !once;
        let damaged = report(recovery, |store| stores.contains_key(store) || removed.contains_key(store));
        let shared = Shared {
            environment,
            layout,
            hosts: Hosts::new(config.api.host_limits()),
            topics: TopicNames::from(&config.kafka),
            stores: Stores::default(),
            removed,
            countries,
            mapping: Arc::new(config.mapping.clone()),
            readers: Readers {
                personal: config.events.personal,
                masked_topic: config.kafka.topics.orders_masked.is_some(),
            },
            resync: config.resync.policy,
            reconcile: config.reconcile.clone(),
            scans: Arc::new(Semaphore::new(1)),
            max_pages: usize::try_from(config.spool.max_pages).unwrap_or(usize::MAX),
            spool,
            account,
            schemas: SchemaResolver::from_config(config)?,
            memory: Arc::new(memory),
            counters,
            spans: match &config.telemetry.otlp_endpoint {
                Some(endpoint) => Spans::to(endpoint, config.cluster.instance_id.as_deref())?,
                None => Spans::default(),
            },
            lane_states: if is_clustered { LaneStates::unassigned() } else { LaneStates::default() },
            damaged,
            stop,
            once,
        };
        stores.iter().for_each(|(name, store)| shared.introduce(name, store.country));
        // guard: pages of a store that was removed are published after a restart
        shared.removed.iter().for_each(|(name, country)| shared.introduce(name, *country));
        if !is_clustered {
            stores.keys().for_each(|store| shared.lane_states.expect(shared.lane_of(store)));
        }
        Ok(Self { shared: Arc::new(shared), stores: stores.clone(), changes: unbounded_channel(), is_clustered })
    }

    /// Live counters; they grow while the program runs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// The states of the lanes that are at work.
    #[must_use]
    pub fn lanes(&self) -> LaneStates {
        self.shared.lane_states.clone()
    }

    /// How many lanes there are, whoever has them.
    #[must_use]
    pub fn lane_count(&self) -> i32 {
        self.shared.layout.lanes
    }

    /// Orders that reads of unknown outcome may have lost.
    #[must_use]
    pub fn account(&self) -> Account {
        self.shared.account.clone()
    }

    /// The schema resolver, which knows whether the schema registry has the schemas.
    #[must_use]
    pub fn schemas(&self) -> SchemaResolver {
        self.shared.schemas.clone()
    }

    /// Changes the stores while the program runs.
    #[must_use]
    pub fn stores_control(&self) -> StoresControl {
        StoresControl(self.changes.0.clone())
    }

    /// Publishes the pages that a former process left, in their order. Then runs the stores to their end, and the lanes
    /// until everything is committed.
    ///
    /// # Errors
    /// Returns the first error. A store's failure lets the other stores go on where possible.
    pub async fn run(self) -> Result<(), AppError> {
        if self.shared.once {
            let drain: StoreWork<()> = Arc::new(|store| Box::pin(async { store.drain().await.map(|()| None) }));
            return self.run_once(drain).await.1;
        }
        let republishers = Republishers::default();
        let mut background = self.background();
        background.spawn(ControlSocket::open_and_serve(self.shared.spool.dir().to_owned(), republishers.clone()));
        let work: StoreWork<()> = Arc::new(move |StoreTask { drain, reconciler, .. }| {
            let takes_requests = republishers.add(&reconciler.store, reconciler.republisher());
            Box::pin(async move {
                let mut passes = JoinSet::new();
                passes.spawn(async move {
                    let _takes_requests = takes_requests;
                    reconciler.run().await;
                });
                let drained = drain.run().await;
                passes.join_all().await;
                Ok(drained.map(|()| None)?)
            })
        });
        let Self { shared, stores, changes: (_, changes), is_clustered } = self;
        let membership = is_clustered.then(|| shared.environment.broker.join()).transpose();
        let result = match membership {
            Ok(membership) => LaneManager::new(shared.clone(), stores, work).run(membership, changes).await,
            Err(fault) => Err(fault.into()),
        };
        close(&shared, background, result).await
    }

    /// Makes one reconciler pass over every store. Returns the summaries of the stores whose pass succeeded.
    pub async fn reconcile(self) -> End<PassSummary> {
        let pass: StoreWork<PassSummary> =
            Arc::new(|mut store| Box::pin(async move { store.reconcile().await.map(Some) }));
        let (mut summaries, result) = self.run_once(pass).await;
        summaries.sort_by(|one, other| one.store.cmp(&other.store));
        (summaries, result)
    }

    /// Publishes the given orders of one store again, after the pages that an earlier run left in the spool.
    pub async fn republish(self, store: &StoreName, orders: Vec<Wanted>) -> Result<Republished, AppError> {
        let wanted_store = store.clone();
        let republish: StoreWork<Republished> = Arc::new(move |StoreTask { reconciler, .. }| {
            let orders = (reconciler.store == wanted_store).then(|| orders.clone());
            Box::pin(async move {
                match orders {
                    Some(orders) => Ok(Some(reconciler.republisher().publish(orders, Source::Operator).await?)),
                    None => Ok(None),
                }
            })
        });
        let (mut republished, result) = self.run_once(republish).await;
        result.and(republished.pop().ok_or(AppError::Panicked))
    }

    async fn run_once<T: Send + 'static>(self, work: StoreWork<T>) -> End<T> {
        let background = self.background();
        let Self { shared, stores, .. } = self;
        let (done, result) = supervise::run(shared.clone(), stores, work).await;
        (done, close(&shared, background, result).await)
    }

    fn background(&self) -> JoinSet<()> {
        let Shared { spool, schemas, stop, .. } = &*self.shared;
        let mut background = JoinSet::new();
        background.spawn(spool.clone().keep());
        if schemas.registry().is_some() {
            background.spawn(schemas.clone().watch(stop.clone()));
        }
        background
    }
}

/// Ends what runs beside the lanes. It is awaited: the last hold on the spool is given up, and the socket is closed,
/// before a reload opens them again.
async fn close(shared: &Shared, mut background: JoinSet<()>, result: Result<(), AppError>) -> Result<(), AppError> {
    background.shutdown().await;
    in_place(|| shared.spans.close());
    result.and(shared.account.close().map_err(AppError::from))
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
