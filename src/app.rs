//! The whole: built from the settings (which may fail and reads nothing), then run to its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::api::{Client, ClientOptions, Paths};
use crate::config::{self, Config, ConfigError, SecretError};
use crate::drain::{Drain, DrainError, Until};
use crate::encoding::{EncoderSource, EncodingError};
use crate::ids::StoreName;
use crate::kafka::topics::{self, Layout, TopicNames, TopicPlan};
use crate::kafka::{Connection, KafkaFault};
use crate::mapping::Mapping;
use crate::publish::{self, Counters, Lane, LaneError, LaneParts, StoreFacts, Work};
use crate::shutdown::{Stop, Stopper};
use crate::spool::{Durable, Recovery, Spool, SpoolError, SpoolOptions, UnknownRead};
use crate::tracking_memory::{MemoryError, TrackingMemory, lane_of};

/// How long a command that comes to an end waits for a broker or a registry that is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the program could not start, or ended before its time. What was read is in the spool or in Kafka.
#[derive(Debug, Error)]
pub enum AppError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A password that can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Kafka, at the start.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The registry's client.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The tracking topic.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A store's drain.
    #[error(transparent)]
    Drain(#[from] DrainError),
    /// A lane.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The operating system or a library, at the start.
    #[error("{what}: {why}")]
    Start {
        /// What was tried.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// A task ended by a panic: a fault of this program.
    #[error("a task ended unexpectedly: please report this. What was read is in the spool")]
    Panicked,
}

/// Everything that runs.
pub struct App {
    lanes: BTreeMap<i32, Lane>,
    layout: Layout,
    recovered: Vec<Durable>,
    drains: Vec<Drain>,
    counters: Arc<Counters>,
    stopper: Stopper,
    // The receiver's end is held so that reads with an unknown outcome are not reported into the void.
    unknown: mpsc::UnboundedReceiver<UnknownRead>,
}

impl App {
    /// Opens the spool, then Kafka, and starts the lanes, which become owners on their own time. Reads nothing.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn build(config: &Config, once: bool, stopper: Stopper, stop: Stop) -> Result<Self, AppError> {
        Self::build_on(None, config, once, stopper, stop).await
    }

    /// The same on topics that are known to be there as `layout` says, and are not asked for: an embedded broker can't
    /// be asked.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn build_on(
        layout: Option<Layout>,
        config: &Config,
        once: bool,
        stopper: Stopper,
        stop: Stop,
    ) -> Result<Self, AppError> {
        let stores = config.stores_or_error()?;
        let (spool, recovery) =
            Spool::open(SpoolOptions { page_space: config.spool.page_space, ..SpoolOptions::new(&config.spool.dir) })?;
        let connection = connection(&config.kafka);
        let layout = match layout {
            Some(known) => known,
            None => ensure_topics(&connection, &topic_plan(&config.kafka), once, &stop).await?,
        };
        let memory = TrackingMemory::open(&config.spool.dir, &config.kafka.topics.tracking, layout.lanes)?;
        let counters = Arc::<Counters>::default();
        let template = LaneTemplate {
            connection,
            topics: topic_names(&config.kafka),
            spool: spool.clone(),
            encoder: EncoderSource::from_config(config)?,
            memory: Arc::new(memory),
            counters: counters.clone(),
            stop: stop.clone(),
            patience: once.then_some(PATIENCE),
        };
        let lanes = start_lanes(config, layout, &template)?;
        let (unknown_sender, unknown) = mpsc::unbounded_channel();
        let mut drains = Vec::new();
        for (name, store) in stores {
            let lane = &lanes[&lane_of(name, layout.lanes)];
            drains.push(Drain {
                store: name.clone(),
                client: client(store)?,
                token: store.token.clone(),
                spool: spool.clone(),
                lane: lane.handle.clone(),
                unknown: unknown_sender.clone(),
                counters: counters.clone(),
                stop: stop.clone(),
                until: if once { Until::Empty } else { Until::Stopped { poll_interval: store.api.poll_interval } },
            });
        }
        let recovered = accept(recovery, stores, &unknown_sender);
        Ok(Self { lanes, layout, recovered, drains, counters, stopper, unknown })
    }

    /// Counts that grow while it runs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// First what a former process left in the spool, in its order; then the drains, until they are over; then the
    /// lanes, until all is committed.
    ///
    /// # Errors
    /// The first thing that went wrong. The other stores go on to their end where they can.
    pub async fn run(self) -> Result<(), AppError> {
        let Self { lanes, layout, recovered, drains, counters: _, stopper, unknown } = self;
        for page in recovered {
            let lane = &lanes[&lane_of(page.store(), layout.lanes)];
            if lane.handle.work.send(Work::Page(page)).await.is_err() {
                break;
            }
        }
        let mut running = JoinSet::new();
        for drain in drains {
            running.spawn(drain.run());
        }
        let mut ends = JoinSet::new();
        for lane in lanes.into_values() {
            // The handle goes: a lane ends once the drains' handles are gone as well and all work is committed.
            drop(lane.handle);
            ends.spawn(lane.ended);
        }
        let mut result = Ok(());
        while let Some(ended) = running.join_next().await {
            let ended = ended.map_err(|_| AppError::Panicked).and_then(|drained| Ok(drained?));
            if ended.as_ref().is_err_and(|error| !matches!(error, AppError::Drain(DrainError::Refused { .. }))) {
                stopper.stop();
            }
            result = result.and(ended);
        }
        while let Some(ended) = ends.join_next().await {
            let ended = match ended {
                Ok(Ok(lane)) => lane.map_err(AppError::from),
                _ => Err(AppError::Panicked),
            };
            // A lane's end is why its drains ended, not the other way round.
            result = if ended.is_err() { ended } else { result };
        }
        drop(unknown);
        result
    }
}

struct LaneTemplate {
    connection: Connection,
    topics: TopicNames,
    spool: Spool,
    encoder: EncoderSource,
    memory: Arc<TrackingMemory>,
    counters: Arc<Counters>,
    stop: Stop,
    patience: Option<Duration>,
}

/// A lane for each partition that has a store.
fn start_lanes(config: &Config, layout: Layout, template: &LaneTemplate) -> Result<BTreeMap<i32, Lane>, AppError> {
    let mapping = Arc::new(config.mapping.clone());
    let mut stores: BTreeMap<i32, HashMap<StoreName, StoreFacts>> = BTreeMap::new();
    for (name, store) in &config.stores {
        let facts = StoreFacts { country: store.country, mapping: Arc::<Mapping>::clone(&mapping) };
        stores.entry(lane_of(name, layout.lanes)).or_default().insert(name.clone(), facts);
    }
    let bound = usize::try_from(config.spool.max_pages).unwrap_or(usize::MAX);
    stores
        .into_iter()
        .map(|(lane, stores)| {
            let parts = LaneParts {
                lane,
                connection: template.connection.clone(),
                topics: template.topics.clone(),
                stores,
                spool: template.spool.clone(),
                resync: config.resync.policy,
                encoder: template.encoder.clone(),
                memory: template.memory.clone(),
                counters: template.counters.clone(),
                stop: template.stop.clone(),
                patience: template.patience,
            };
            let lane_started = publish::spawn(parts, bound)
                .map_err(|error| AppError::Start { what: "starting a lane's thread", why: error.to_string() })?;
            Ok((lane, lane_started))
        })
        .collect()
}

/// What a former process left: its pages are published first, its unknown reads are handed on.
fn accept(
    recovery: Recovery,
    stores: &BTreeMap<StoreName, config::Store>,
    unknown: &mpsc::UnboundedSender<UnknownRead>,
) -> Vec<Durable> {
    let Recovery { pages, unknown: reads, corrupt } = recovery;
    for file in &corrupt {
        tracing::error!(file = %file.path.display(), why = file.why, "spool file is damaged and was put aside");
    }
    for read in reads {
        tracing::warn!(
            store = %read.store, read = %read.read_id, reason = read.reason,
            "an earlier read has an unknown outcome: the marketplace may have marked orders that did not reach us"
        );
        if unknown.send(read).is_err() {
            tracing::debug!("no reconciler listens");
        }
    }
    let (known, strangers): (Vec<_>, Vec<_>) = pages.into_iter().partition(|page| stores.contains_key(page.store()));
    for page in strangers {
        tracing::error!(
            store = %page.store(), file = %page.path().display(),
            "the spool holds a page of a store that the settings no longer name: it stays there until they do"
        );
    }
    if !known.is_empty() {
        tracing::info!(pages = known.len(), "publishing what an earlier run left in the spool");
    }
    known
}

async fn ensure_topics(connection: &Connection, plan: &TopicPlan, once: bool, stop: &Stop) -> Result<Layout, AppError> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        match topics::ensure(connection, plan).await {
            Ok(layout) => return Ok(layout),
            Err(fault) if fault.needs_a_person() || stop.is_requested() => return Err(fault.into()),
            Err(fault) if once && start.elapsed() > PATIENCE / 2 => return Err(unreachable(connection, &fault).into()),
            Err(fault) => {
                tracing::warn!(%fault, servers = connection.bootstrap_servers, "Kafka is not ready; trying again")
            }
        }
        if stop.clone().within(pause).await {
            return Err(KafkaFault::Passing { what: "reaching Kafka", why: "stopped before it answered".into() }.into());
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn unreachable(connection: &Connection, fault: &KafkaFault) -> KafkaFault {
    KafkaFault::Passing {
        what: "reaching Kafka",
        why: format!(
            "{fault}. Is a broker running at `{}` (`kafka.bootstrap_servers`)? Nothing was read from the marketplace",
            connection.bootstrap_servers
        ),
    }
}

/// The cluster as the settings describe it.
#[must_use]
pub fn connection(kafka: &config::Kafka) -> Connection {
    Connection {
        bootstrap_servers: kafka.bootstrap_servers.clone(),
        properties: kafka.properties.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        transactional_id_prefix: kafka.transactional_id_prefix.clone(),
        transaction_timeout: kafka.transaction_timeout,
    }
}

/// The topics as the settings describe them.
#[must_use]
pub fn topic_plan(kafka: &config::Kafka) -> TopicPlan {
    TopicPlan {
        names: topic_names(kafka),
        create: kafka.create_topics,
        replication: kafka.replication_factor,
        orders_partitions: kafka.orders_partitions,
        lanes: kafka.lanes,
    }
}

fn topic_names(kafka: &config::Kafka) -> TopicNames {
    TopicNames {
        orders: kafka.topics.orders.clone(),
        tracking: kafka.topics.tracking.clone(),
        dead_letter: kafka.topics.dead_letter.clone(),
    }
}

fn client(store: &config::Store) -> Result<Client, AppError> {
    let api = &store.api;
    let options = ClientOptions {
        base_url: store.base_url.clone(),
        paths: Paths {
            new_orders: api.paths.new_orders.clone(),
            order_ids: api.paths.order_ids.clone(),
            order: api.paths.order.clone(),
        },
        connect_timeout: api.connect_timeout,
        idle_timeout: api.idle_timeout,
        total_timeout: api.total_timeout,
        max_body: usize::try_from(api.max_body).unwrap_or(usize::MAX),
    };
    Client::new(options).map_err(|error| AppError::Start { what: "making the HTTP client", why: error.to_string() })
}
