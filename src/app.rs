//! The application: `build` assembles all parts from the settings and reads nothing; `run` runs them to their end.

pub mod control_socket;
mod dry_run;
mod environment;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::control_socket::ControlSocket;
use crate::avro::schemas::{SchemaError, SchemaResolver};
use crate::config::{self, Config, ConfigError, SecretError};
use crate::kafka::topics::{self, Layout, TopicNames, TopicPlan};
use crate::kafka::{Connection, KafkaFault};
use crate::marketplace::body::PageVerdict;
use crate::order::ids::StoreName;
use crate::order::mapping::Mapping;
use crate::pipeline::account::{Account, AccountError, Unaccounted};
use crate::pipeline::counters::{Counters, PassSummary};
use crate::pipeline::drain::{Drain, DrainError, Seen, Until, caught_up};
use crate::pipeline::publish::{self, Lane, LaneError, LaneParts, LaneState, Source, StoreFacts, Work};
use crate::pipeline::reconcile::{Asker, ReconcileError, Reconciler, Republished, Wanted};
use crate::pipeline::tracking_memory::{MemoryError, TrackingMemory, lane_of};
use crate::platform::shutdown::cancelled_within;
use crate::spool::{Durable, Recovery, Spool, SpoolError, SpoolOptions, UnknownRead};

pub use dry_run::{Missing, dry_run};
pub(crate) use environment::client;
pub use environment::{Environment, MarketplaceFactory};
use store::StoreTask;

/// How long a one-shot command waits at its start for a broker or schema registry that is not reachable.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the program could not start, or ended early. Whatever it has read is in the spool or in Kafka.
#[derive(Debug, Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    #[error(transparent)]
    Encoding(#[from] SchemaError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The account of lost orders can't be read or written.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The tracking topic is not the one that this spool remembers.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Drain(#[from] DrainError),
    #[error(transparent)]
    Lane(#[from] LaneError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The operating system or a library refused something at the start.
    #[error("{what}: {why}")]
    Start { what: &'static str, why: String },
    /// A task panicked: a bug in this program.
    #[error("a task ended unexpectedly: please report this. What was read is in the spool")]
    Panicked,
}

/// The assembled program, ready to run.
pub struct App {
    lanes: BTreeMap<i32, Lane>,
    layout: Layout,
    recovered: Vec<Durable>,
    stores: Vec<StoreTask>,
    once: bool,
    counters: Arc<Counters>,
    account: Account,
    schemas: SchemaResolver,
    stop: CancellationToken,
}

/// Result of one store's task, with a summary where the command produces one.
type StoreResult<T> = Result<Option<T>, AppError>;

/// The summaries of all tasks, and the first error.
type End<T> = (Vec<T>, Result<(), AppError>);

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
        let options = SpoolOptions { page_space: config.spool.page_space, ..SpoolOptions::new(dir) };
        let (spool, mut recovery) = Spool::open_on(disk.clone(), options)?;
        // guard: what a kill left is looked into
        recovery.disown(PageVerdict::why_no_page)?;
        counters.set_stores(stores.keys());
        let account = Account::open_on(disk.clone(), dir, &recovery, counters.clone())?;
        let layout = match layout {
            Some(known) => known,
            None => {
                ensure_topics(&Connection::from(&config.kafka), &TopicPlan::from(&config.kafka), once, &stop).await?
            }
        };
        let memory = TrackingMemory::open_on(disk.clone(), dir, &config.kafka.topics.tracking, layout.lanes)?;
        let template = LaneTemplate {
            environment,
            topics: TopicNames::from(&config.kafka),
            spool,
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
        Ok(Self { lanes, layout, recovered: pages, stores, once, counters, account, schemas, stop })
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
        let start = move |tasks: &mut JoinSet<StoreResult<()>>, store: StoreTask| {
            if once {
                tasks.spawn(async move { store.drain().await.map(|()| None) });
                return;
            }
            let StoreTask { drain, reconciler, .. } = store;
            tasks.spawn(async move { Ok(drain.run().await.map(|()| None)?) });
            tasks.spawn(async move {
                // The control socket ends with the reconciler, because its lane handle keeps the lane open.
                let control_socket = open_control_socket(&reconciler);
                tokio::select! {
                    () = reconciler.run() => Ok(None),
                    () = serve(control_socket) => unreachable!("it goes on until the reconciler ends"),
                }
            });
        };
        self.run_stores(start).await.1
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
        let Self { lanes, layout, recovered, stores, once: _, counters: _, account: _, schemas, stop } = self;
        // Dropping this set at the end of the function stops the background task.
        let mut background = JoinSet::new();
        if schemas.registry().is_some() {
            background.spawn(schemas.watch(stop.clone()));
        }
        let mut pages = by_lane(recovered, |page| lane_of(page.store(), layout.lanes));
        let mut stores = by_lane(stores, |store| lane_of(&store.drain.store, layout.lanes));
        let mut ends = JoinSet::new();
        for (number, lane) in lanes {
            let pages = pages.remove(&number).unwrap_or_default();
            let stores = stores.remove(&number).unwrap_or_default();
            // The lane ends once its stores have dropped their handles and all work is committed.
            let (work, ended) = (lane.handle.work, lane.ended);
            ends.spawn(serve_lane(work, pages, stores, start.clone(), stop.clone()));
            ends.spawn(async { (Vec::new(), ended.await.map_err(|_| AppError::Panicked).and_then(|lane| Ok(lane?))) });
        }
        join_all(ends, &stop).await
    }
}

fn by_lane<T>(all: Vec<T>, lane: impl Fn(&T) -> i32) -> BTreeMap<i32, Vec<T>> {
    let mut sorted = BTreeMap::<i32, Vec<T>>::new();
    for one in all {
        sorted.entry(lane(&one)).or_default().push(one);
    }
    sorted
}

/// Without a control socket the program still runs; `republish` then needs the program to be stopped first.
fn open_control_socket(reconciler: &Reconciler) -> Option<ControlSocket> {
    let Reconciler { store, spool, .. } = reconciler;
    let control_socket = ControlSocket::open(spool.dir(), store, reconciler.republisher());
    control_socket
        .inspect_err(|error| tracing::warn!(%store, %error, "no requests can be taken: `republish` wants a stop"))
        .ok()
}

/// Never returns.
async fn serve(control_socket: Option<ControlSocket>) {
    match control_socket {
        Some(control_socket) => control_socket.serve().await,
        None => std::future::pending().await,
    }
}

/// Queues the pages of a former process before it starts the lane's stores. Otherwise an order's older content could
/// follow its newer one, and an order in a waiting page could be taken for missing.
async fn serve_lane<T: Send + 'static>(
    work: mpsc::Sender<Work>,
    pages: Vec<Durable>,
    stores: Vec<StoreTask>,
    start: impl Fn(&mut JoinSet<StoreResult<T>>, StoreTask),
    stop: CancellationToken,
) -> End<T> {
    for page in pages {
        if work.send(Work::Page(page)).await.is_err() {
            // The lane reports its own error.
            return (Vec::new(), Ok(()));
        }
    }
    drop(work);
    let mut tasks = JoinSet::new();
    for store in stores {
        start(&mut tasks, store);
    }
    join_stores(tasks, &stop).await
}

async fn join_stores<T: Send + 'static>(mut tasks: JoinSet<StoreResult<T>>, stop: &CancellationToken) -> End<T> {
    let (mut summaries, mut result) = (Vec::new(), Ok(()));
    while let Some(ended) = tasks.join_next().await {
        match ended.map_err(|_| AppError::Panicked).flatten() {
            Ok(summary) => summaries.extend(summary),
            Err(error) => {
                if !concerns_one_store(&error) {
                    stop.cancel();
                }
                result = result.and(Err(error));
            }
        }
    }
    (summaries, result)
}

/// An early end stops everything else at once, and is logged: without its lane a store has nobody to publish its pages.
async fn join_all<T: Send + 'static>(mut ends: JoinSet<End<T>>, stop: &CancellationToken) -> End<T> {
    let (mut summaries, mut result) = (Vec::new(), Ok(()));
    while let Some(ended) = ends.join_next().await {
        let (more, ended) = ended.unwrap_or((Vec::new(), Err(AppError::Panicked)));
        summaries.extend(more);
        if let Err(error) = ended {
            if !concerns_one_store(&error) {
                tracing::error!(%error, "stopping");
                stop.cancel();
            }
            // A lane's error is the cause of its stores' errors, so it takes precedence.
            result = if matches!(error, AppError::Lane(_)) { Err(error) } else { result.and(Err(error)) };
        }
    }
    (summaries, result)
}

fn concerns_one_store(error: &AppError) -> bool {
    matches!(error, AppError::Drain(DrainError::Refused { .. }) | AppError::Reconcile(_))
}

/// Builds a store's drain and reconciler without starting them.
fn tasks(
    name: &StoreName,
    store: &config::Store,
    reconcile: &config::Reconcile,
    lane: &Lane,
    template: &LaneTemplate,
    unsettled: Vec<UnknownRead>,
    once: bool,
) -> Result<(Drain, Reconciler), AppError> {
    let (unknown_sender, unknown) = mpsc::unbounded_channel();
    let (caught_up_sender, caught_up_receiver) = caught_up();
    let Environment { jobs, marketplace, .. } = &template.environment;
    let asker = Asker::new(name, store, marketplace(name, store)?);
    let counters = template.counters.store(name);
    let drain = Drain {
        store: name.clone(),
        client: marketplace(name, store)?,
        documented_path: store.api.paths.new_orders == config::Paths::default().new_orders,
        seen: Seen::default(),
        token: asker.token.clone(),
        pace: asker.pace.clone(),
        spool: template.spool.clone(),
        jobs: jobs.clone(),
        account: template.account.clone(),
        lane: lane.handle.clone(),
        unknown: unknown_sender,
        caught_up: caught_up_sender,
        counters: counters.clone(),
        stop: template.stop.clone(),
        until: if once { Until::Empty } else { Until::Stopped { poll_interval: store.api.poll_interval } },
    };
    let reconciler = Reconciler {
        store: name.clone(),
        asker,
        spool: template.spool.clone(),
        account: template.account.clone(),
        reported: Unaccounted::default(),
        lane: lane.handle.clone(),
        caught_up: caught_up_receiver,
        unknown,
        unsettled,
        concurrency: reconcile.concurrency.into(),
        changes_per_second: reconcile.detect_changes.then_some(reconcile.changes_per_second),
        interval: reconcile.interval,
        counters,
        stop: template.stop.clone(),
    };
    Ok((drain, reconciler))
}

struct LaneTemplate {
    environment: Environment,
    topics: TopicNames,
    spool: Spool,
    account: Account,
    schemas: SchemaResolver,
    memory: Arc<TrackingMemory>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    patience: Option<Duration>,
}

/// Starts a lane for each partition that has a store. `left`: recovered pages, which the lanes get first.
fn start_lanes(
    config: &Config,
    layout: Layout,
    template: &LaneTemplate,
    left: &[Durable],
) -> Result<BTreeMap<i32, Lane>, AppError> {
    let mapping = Arc::new(config.mapping.clone());
    let mut stores: BTreeMap<i32, HashMap<StoreName, StoreFacts>> = BTreeMap::new();
    for (name, store) in &config.stores {
        let (mapping, counters) = (Arc::<Mapping>::clone(&mapping), template.counters.store(name));
        let facts = StoreFacts { country: store.country, mapping, counters };
        stores.entry(lane_of(name, layout.lanes)).or_default().insert(name.clone(), facts);
    }
    let bound = usize::try_from(config.spool.max_pages).unwrap_or(usize::MAX);
    stores
        .into_iter()
        .map(|(lane, stores)| {
            let parts = LaneParts {
                lane,
                broker: template.environment.broker.clone(),
                jobs: template.environment.jobs.clone(),
                topics: template.topics.clone(),
                stores: Arc::new(stores),
                spool: template.spool.clone(),
                account: template.account.clone(),
                resync: config.resync.policy,
                schemas: template.schemas.clone(),
                memory: template.memory.clone(),
                counters: template.counters.clone(),
                stop: template.stop.clone(),
                patience: template.patience,
                // A one-shot command has no time to remove old tracking records.
                retention: template.patience.is_none().then_some(config.reconcile.retention),
                left: left.iter().filter(|page| lane_of(page.store(), layout.lanes) == lane).count(),
            };
            let lane_started = publish::spawn(parts, bound)
                .map_err(|error| AppError::Start { what: "starting a lane's thread", why: error.to_string() })?;
            Ok((lane, lane_started))
        })
        .collect()
}

/// The recovered spool content of the stores that the settings name.
struct Recovered {
    pages: Vec<Durable>,
    unknown: BTreeMap<StoreName, Vec<UnknownRead>>,
    /// Stores that may have lost a page to damage.
    damaged: BTreeSet<StoreName>,
}

fn accept(recovery: Recovery, stores: &BTreeMap<StoreName, config::Store>) -> Recovered {
    let Recovery { pages, unknown: reads, corrupt } = recovery;
    for file in &corrupt {
        tracing::error!(file = %file.path.display(), why = file.why, "spool file is damaged and was put aside");
    }
    let mut unknown: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for read in reads {
        tracing::warn!(
            store = %read.store, read = %read.read_id, reason = read.reason,
            "an earlier read has an unknown outcome: the marketplace may have marked orders that did not reach us"
        );
        unknown.entry(read.store.clone()).or_default().push(read);
    }
    let (pages, unconfigured): (Vec<_>, Vec<_>) = pages.into_iter().partition(|page| stores.contains_key(page.store()));
    for page in unconfigured {
        tracing::error!(
            store = %page.store(), file = %page.path().display(),
            "the spool holds a page of a store that the settings no longer name: it stays there until they do"
        );
    }
    if !pages.is_empty() {
        tracing::info!(pages = pages.len(), "publishing what an earlier run left in the spool");
    }
    let damaged = corrupt.into_iter().filter_map(|file| file.store).collect();
    Recovered { pages, unknown, damaged }
}

async fn ensure_topics(
    connection: &Connection,
    plan: &TopicPlan,
    once: bool,
    stop: &CancellationToken,
) -> Result<Layout, AppError> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        // guard: whether topics can be written to is known before a read
        match topics::ensure_writable(connection, plan).await {
            Ok(layout) => return Ok(layout),
            Err(fault) if fault.needs_a_person() || stop.is_cancelled() => return Err(fault.into()),
            Err(fault) if once && (fault.ends_a_command() || start.elapsed() > STARTUP_TIMEOUT / 2) => {
                return Err(unreachable(connection, fault).into());
            }
            Err(fault) => {
                tracing::warn!(%fault, servers = connection.bootstrap_servers, "Kafka is not ready; trying again")
            }
        }
        if cancelled_within(stop, pause).await {
            return Err(KafkaFault::Passing { what: "reaching Kafka", why: "stopped before it answered".into() }.into());
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn unreachable(connection: &Connection, fault: KafkaFault) -> KafkaFault {
    let nothing = "Nothing was read from the marketplace";
    match fault {
        KafkaFault::NoConnection { what, why } => KafkaFault::NoConnection { what, why: format!("{why}. {nothing}") },
        fault => KafkaFault::Passing {
            what: "reaching Kafka",
            why: format!("{fault}. {} {nothing}", connection.is_it_running()),
        },
    }
}

/// Checks the settings without contacting anybody: that there are stores, that their HTTP clients can be built, and
/// that tokens and the registry's password can be read.
pub fn check(config: &Config) -> Result<(), AppError> {
    SchemaResolver::from_config(config)?;
    config.kafka.properties.check_files()?;
    for store in config.stores_or_error()?.values() {
        client(store)?;
        store.token.read()?;
    }
    Ok(())
}
