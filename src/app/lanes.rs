//! Builds the lanes, and the tasks of each store, from the settings. Starts no read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::environment::Environment;
use super::error::AppError;
use crate::avro::schemas::SchemaResolver;
use crate::config::{self, Config};
use crate::kafka::topics::{Layout, TopicNames};
use crate::marketplace::client::{Hosts, Pace};
use crate::order::ids::StoreName;
use crate::order::mapping::Mapping;
use crate::pipeline::account::{Account, Unaccounted};
use crate::pipeline::counters::Counters;
use crate::pipeline::drain::{Drain, Seen, Until, caught_up};
use crate::pipeline::publish::{self, Lane, LaneParts, StoreFacts, Stores};
use crate::pipeline::reconcile::{Asker, Reconciler};
use crate::pipeline::tracking_memory::{TrackingMemory, lane_of};
use crate::platform::poll_schedule::PollSchedule;
use crate::spool::{Durable, Spool, UnknownRead};

pub(super) struct LaneTemplate {
    pub(super) environment: Environment,
    pub(super) hosts: Hosts,
    pub(super) topics: TopicNames,
    pub(super) spool: Spool,
    pub(super) account: Account,
    pub(super) schemas: SchemaResolver,
    pub(super) memory: Arc<TrackingMemory>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: CancellationToken,
    pub(super) patience: Option<Duration>,
}

/// Starts a lane for each partition that has a store. `left`: recovered pages, which the lanes get first.
pub(super) fn start_lanes(
    config: &Config,
    layout: Layout,
    template: &LaneTemplate,
    left: &[Durable],
) -> Result<BTreeMap<i32, Lane>, AppError> {
    let mapping = Arc::new(config.mapping.clone());
    let (stores, mut lanes) = (Stores::default(), BTreeSet::new());
    for (name, store) in &config.stores {
        let (mapping, counters) = (Arc::<Mapping>::clone(&mapping), template.counters.store(name));
        let facts = StoreFacts { country: store.country, mapping, counters };
        stores.set(name.clone(), facts);
        lanes.insert(lane_of(name, layout.lanes));
    }
    let bound = usize::try_from(config.spool.max_pages).unwrap_or(usize::MAX);
    lanes
        .into_iter()
        .map(|lane| {
            let parts = LaneParts {
                lane,
                broker: template.environment.broker.clone(),
                jobs: template.environment.jobs.clone(),
                topics: template.topics.clone(),
                stores: stores.clone(),
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

/// Builds a store's drain and reconciler without starting them.
pub(super) fn tasks(
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
    let asker = Asker::new(store, marketplace(name, store)?, Pace::new(name.clone(), &template.hosts, &store.base_url));
    let counters = template.counters.store(name);
    let polls = PollSchedule::new(store.api.poll_interval, store.api.longest_poll_interval());
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
        until: if once { Until::Empty } else { Until::Stopped { polls } },
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
