//! Builds the lanes, and the tasks of each store, from the settings. Starts no read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::countries::StoreCountries;
use super::environment::Environment;
use super::error::AppError;
use super::startup::STARTUP_TIMEOUT;
use crate::avro::event::Readers;
use crate::avro::schemas::SchemaResolver;
use crate::config::{self, ResyncPolicy};
use crate::kafka::topics::{Layout, TopicNames};
use crate::marketplace::body::PageVerdict;
use crate::marketplace::client::{Hosts, Pace};
use crate::order::country::Country;
use crate::order::ids::StoreName;
use crate::order::mapping::Mapping;
use crate::pipeline::account::{Account, Unaccounted};
use crate::pipeline::counters::Counters;
use crate::pipeline::drain::{Drain, Seen, Until, caught_up};
use crate::pipeline::publish::{self, Lane, LaneHandle, LaneParts, LaneState, Ownership, StoreFacts, Stores};
use crate::pipeline::reconcile::{Asker, Reconciler};
use crate::pipeline::tracking_memory::{TrackingMemory, lane_of};
use crate::platform::clock;
use crate::platform::jobs::in_place;
use crate::platform::otlp::Spans;
use crate::platform::poll_schedule::PollSchedule;
use crate::spool::{Recovery, Spool, SpoolError, UnknownRead};

/// The state of each lane that was started, by its number. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LaneStates(Arc<RwLock<States>>);

#[derive(Debug, Default)]
struct States {
    /// With the time since when the lane is this process's.
    lanes: BTreeMap<i32, (Timestamp, watch::Receiver<LaneState>)>,
    /// Whether the group has not yet said which lanes are this instance's.
    is_unassigned: bool,
}

impl LaneStates {
    /// Before the group has said which lanes are this instance's.
    pub(super) fn unassigned() -> Self {
        Self(Arc::new(RwLock::new(States { is_unassigned: true, ..States::default() })))
    }

    pub(super) fn assigned(&self) {
        self.write().is_unassigned = false;
    }

    /// A lane that is about to be started.
    pub(super) fn expect(&self, lane: i32) {
        self.set(lane, watch::channel(LaneState::Opening { why: None }).1);
    }

    pub(super) fn set(&self, lane: i32, state: watch::Receiver<LaneState>) {
        match self.write().lanes.entry(lane) {
            Entry::Occupied(mut known) => known.get_mut().1 = state,
            Entry::Vacant(new) => drop(new.insert((clock::now(), state))),
        }
    }

    /// Forgets a lane that is no longer this process's.
    pub(super) fn remove(&self, lane: i32) {
        self.write().lanes.remove(&lane);
    }

    /// Whether the group has not yet said which lanes are this instance's.
    #[must_use]
    pub fn is_unassigned(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_unassigned
    }

    /// The states at this moment.
    #[must_use]
    pub fn now(&self) -> BTreeMap<i32, LaneState> {
        let states = self.0.read().unwrap_or_else(PoisonError::into_inner);
        states.lanes.iter().map(|(lane, (_, state))| (*lane, state.borrow().clone())).collect()
    }

    /// Since when each lane is this process's.
    #[must_use]
    pub fn since(&self) -> BTreeMap<i32, Timestamp> {
        let states = self.0.read().unwrap_or_else(PoisonError::into_inner);
        states.lanes.iter().map(|(lane, (since, _))| (*lane, *since)).collect()
    }

    fn write(&self) -> RwLockWriteGuard<'_, States> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all lanes and stores of one run of the program share.
pub(super) struct Shared {
    pub(super) environment: Environment,
    pub(super) layout: Layout,
    pub(super) hosts: Hosts,
    pub(super) topics: TopicNames,
    /// What the lanes know of the stores.
    pub(super) stores: Stores,
    /// Stores that the settings no longer name, and of which the spool holds pages.
    pub(super) removed: BTreeMap<StoreName, Country>,
    pub(super) countries: StoreCountries,
    pub(super) mapping: Arc<Mapping>,
    pub(super) readers: Readers,
    pub(super) resync: ResyncPolicy,
    pub(super) reconcile: config::Reconcile,
    /// Capacity of a lane's queue, in pages.
    pub(super) max_pages: usize,
    /// One lane at a time looks for old tracking records. That has time, and would take memory of all lanes, and threads
    /// of the pool in which pages are mapped, while they have just started.
    pub(super) scans: Arc<Semaphore>,
    pub(super) spool: Spool,
    pub(super) account: Account,
    pub(super) schemas: SchemaResolver,
    pub(super) memory: Arc<TrackingMemory>,
    pub(super) counters: Arc<Counters>,
    pub(super) spans: Spans,
    pub(super) lane_states: LaneStates,
    /// Stores that may have lost a page to damage in the spool.
    pub(super) damaged: BTreeSet<StoreName>,
    pub(super) stop: CancellationToken,
    /// Whether this is a command that ends when its work is done.
    pub(super) once: bool,
}

impl Shared {
    pub(super) fn lane_of(&self, store: &StoreName) -> i32 {
        lane_of(store, self.layout.lanes)
    }

    /// Tells the lanes what they have to know of a store. This comes before its first page is handed to one.
    pub(super) fn introduce(&self, name: &StoreName, country: Country) {
        let (mapping, counters) = (self.mapping.clone(), self.counters.store(name));
        self.stores.set(name.clone(), StoreFacts { country, mapping, readers: self.readers, counters });
    }

    /// Whether the spool holds pages of this lane whose store was removed before this run.
    pub(super) fn has_removed_stores(&self, lane: i32) -> bool {
        self.removed.keys().any(|store| self.lane_of(store) == lane)
    }

    /// What the spool holds of these stores from an earlier time, of this process or another one. Pages of a store that
    /// nobody introduced stay where they are. Nobody may be at work with these stores.
    pub(super) async fn left_of(
        &self,
        is_wanted: &(dyn Fn(&StoreName) -> bool + Sync),
    ) -> Result<Recovery, SpoolError> {
        let mut left = in_place(|| self.spool.left_of(is_wanted))?;
        left.disown(&self.spool, PageVerdict::why_no_page).await?;
        left.pages.retain(|page| self.stores.knows(page.store()));
        Ok(left)
    }

    /// Builds a store's client, for requests that are safe to repeat.
    pub(super) fn asker(&self, name: &StoreName, store: &config::Store) -> Result<Asker, AppError> {
        let client = (self.environment.marketplace)(name, store)?;
        Ok(Asker::new(store, client, Pace::new(name.clone(), &self.hosts, &store.base_url)))
    }

    /// Starts a lane. `left`: how many pages of an earlier time it gets first.
    pub(super) fn start_lane(
        &self,
        lane: i32,
        left: usize,
        stop: CancellationToken,
        ownership: Ownership,
    ) -> Result<Lane, AppError> {
        let parts = LaneParts {
            lane,
            broker: self.environment.broker.clone(),
            jobs: self.environment.jobs.clone(),
            topics: self.topics.clone(),
            stores: self.stores.clone(),
            spool: self.spool.clone(),
            account: self.account.clone(),
            resync: self.resync,
            schemas: self.schemas.clone(),
            memory: self.memory.clone(),
            counters: self.counters.clone(),
            stop,
            patience: self.once.then_some(STARTUP_TIMEOUT),
            // A one-shot command has no time to remove old tracking records.
            retention: (!self.once && !matches!(ownership, Ownership::Borrowed)).then_some(self.reconcile.retention),
            scans: self.scans.clone(),
            left,
            ownership,
            spans: self.spans.clone(),
        };
        publish::spawn(parts, self.max_pages)
            .map_err(|error| AppError::Start { what: "starting a lane's thread", why: error.to_string() })
    }
}

/// Builds a store's drain and reconciler without starting them.
pub(super) fn tasks(
    name: &StoreName,
    store: &config::Store,
    lane: &LaneHandle,
    shared: &Shared,
    unsettled: Vec<UnknownRead>,
    stop: &CancellationToken,
) -> Result<(Drain, Reconciler), AppError> {
    let (unknown_sender, unknown) = mpsc::unbounded_channel();
    let reconcile = &shared.reconcile;
    let (caught_up_sender, caught_up_receiver) = caught_up();
    let jobs = &shared.environment.jobs;
    let asker = shared.asker(name, store)?;
    let counters = shared.counters.store(name);
    let polls = PollSchedule::new(store.api.poll_interval, store.api.longest_poll_interval());
    let drain = Drain {
        store: name.clone(),
        client: asker.client.clone(),
        documented_path: store.api.paths.new_orders == config::Paths::default().new_orders,
        seen: Seen::default(),
        token: asker.token.clone(),
        pace: asker.pace.clone(),
        spool: shared.spool.clone(),
        jobs: jobs.clone(),
        account: shared.account.clone(),
        lane: lane.clone(),
        unknown: unknown_sender,
        caught_up: caught_up_sender,
        counters: counters.clone(),
        stop: stop.clone(),
        until: if shared.once { Until::Empty } else { Until::Stopped { polls } },
    };
    let reconciler = Reconciler {
        store: name.clone(),
        asker,
        spool: shared.spool.clone(),
        account: shared.account.clone(),
        reported: Unaccounted::default(),
        lane: lane.clone(),
        caught_up: caught_up_receiver,
        unknown,
        unsettled,
        concurrency: reconcile.concurrency.into(),
        changes_per_second: reconcile.detect_changes.then_some(reconcile.changes_per_second),
        interval: reconcile.interval,
        counters,
        stop: stop.clone(),
    };
    Ok((drain, reconciler))
}
