//! The state of a running instance at one moment. Metrics, status and page are all rendered from it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::AdminState;
use super::advice::Language;
use super::counts::{Counts, Gauges, seconds};
use super::group::GroupLook;
use super::health::{self, NotReady};
use super::problem::{self, Judge, Problem, State};
use super::state::{Phase, ProgramState, RunningPipeline};
use crate::operate::instances::Group;
use crate::order::ids::StoreName;
use crate::pipeline::account::LossEntry;
use crate::pipeline::counters::{Counters, LaneCounters, Latency, PassSummary, StoreCounters, Trouble};
use crate::pipeline::publish::LaneState;
use crate::pipeline::tracking_memory::lane_of;
use crate::platform::clock;
use crate::platform::text::natural_order;
use crate::spool::{Spool, Survey};

/// The answer of `/status`. Times are RFC 3339 in UTC, and null if the event has not happened yet.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// The program's version.
    pub version: &'static str,
    /// When the snapshot was taken.
    pub at: Timestamp,
    pub phase: Phase,
    pub started_at: Timestamp,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
    /// When the pipeline began to work with its present settings.
    pub settings_since: Option<Timestamp>,
    /// Whether `not_ready` is empty.
    pub ready: bool,
    /// The parts that are not ready, with the reasons.
    pub not_ready: Vec<NotReady>,
    pub totals: Totals,
    /// The wanted stores by their names, in natural order, or as many of them as fit.
    #[serde(serialize_with = "by_name")]
    pub stores: Vec<(StoreName, Store)>,
    /// How many stores are wanted.
    pub stores_found: u64,
    /// What to ask for with `after` to get the next ones, or null if these are the last.
    pub next_after: Option<StoreName>,
    /// The lanes of this instance.
    pub lanes: BTreeMap<i32, Lane>,
    /// All instances, or null if this one shares its stores with no other.
    pub group: Option<Group>,
    /// The spool, or null if it can't be read.
    pub spool: Option<SpoolView>,
    /// The time from the last byte of a page to its commit.
    pub page_commit: Commits,
}

/// All stores together.
#[derive(Debug, Clone, Serialize)]
pub struct Totals {
    pub stores: u64,
    /// Stores with which nothing is wrong.
    pub well: u64,
    pub not_well: u64,
    /// How many stores suffer from what. One store may suffer from several things.
    pub troubles: BTreeMap<&'static str, u64>,
    /// The counts, those of removed stores included.
    #[serde(flatten)]
    pub counts: Counts,
    #[serde(flatten)]
    pub gauges: Gauges,
}

#[derive(Debug, Clone, Serialize)]
pub struct Store {
    /// The worst that is wrong with the store, or `well`.
    pub state: State,
    /// What is wrong with it, the worst first.
    pub problems: Vec<Problem>,
    /// Why reads fail since the last good one, or null if they don't.
    pub not_read: Option<Trouble>,
    /// Why passes of the reconciler fail since the last good one, or null if they don't.
    pub not_reconciled: Option<Trouble>,
    #[serde(flatten)]
    pub counts: Counts,
    #[serde(flatten)]
    pub gauges: Gauges,
    pub last_reconcile: Option<Reconciled>,
    /// The reads that may have lost orders.
    pub account: Vec<LossEntry>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Reconciled {
    /// When the pass ended.
    pub at: Timestamp,
    #[serde(flatten)]
    pub summary: PassSummary,
}

#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    /// `opening`, `ready`, `stalled` or `ended`.
    pub state: &'static str,
    /// Why the lane is still opening.
    pub why: Option<String>,
    /// Since when the lane is this instance's.
    pub since: Option<Timestamp>,
    pub stores: u64,
    /// Pages in the spool that are to be published.
    pub pages: u64,
    pub index_orders: u64,
    /// Transactions that were seen to commit.
    pub committed: u64,
    /// Transactions that failed, and whose pages were decided on again.
    pub failed: u64,
    pub last_commit_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize)]
pub struct SpoolView {
    /// Pages that are not published yet.
    pub pages: u64,
    /// When the oldest of these pages was read.
    pub oldest_page_at: Option<Timestamp>,
    pub unknown: u64,
    /// Corrupt files that were put aside.
    pub damaged: u64,
    /// Free bytes on the spool's disk.
    pub free_bytes: u64,
}

/// Latency from the last byte of a page to its commit.
#[derive(Debug, Clone, Serialize)]
pub struct Commits {
    /// Number of pages.
    pub count: u64,
    /// The median.
    pub p50_seconds: f64,
    /// The 99th percentile.
    pub p99_seconds: f64,
    /// The sum over all pages.
    #[serde(skip)]
    pub sum_seconds: f64,
    /// Upper bounds in seconds, with the number of pages in each bucket. Not cumulative.
    #[serde(skip)]
    pub buckets: Vec<(f64, u64)>,
}

/// Which stores to show. Each condition that is set must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// The store with this name.
    pub store: Option<String>,
    /// Stores whose names contain this text.
    pub search: Option<String>,
    /// Stores in this state.
    #[serde(deserialize_with = "state")]
    pub state: Option<State>,
    /// At most this many.
    pub limit: Option<usize>,
    /// Stores behind this name, in natural order.
    pub after: Option<String>,
}

impl Wanted {
    /// How many stores are shown if nothing else is wanted.
    pub const LIMIT: usize = 100;
    /// How many stores are shown at most.
    pub const MAX_LIMIT: usize = 1000;

    /// Whether not all stores are wanted.
    pub(super) fn is_narrowed(&self) -> bool {
        let Self { store, search, state, after, limit: _ } = self;
        store.is_some() || search.as_ref().is_some_and(|text| !text.is_empty()) || state.is_some() || after.is_some()
    }

    fn has_name(&self, name: &StoreName) -> bool {
        let Self { store, search, .. } = self;
        store.as_ref().is_none_or(|store| name.as_str() == store)
            && search.as_ref().is_none_or(|text| name.as_str().contains(text.trim().to_lowercase().as_str()))
    }

    fn is_behind(&self, name: &StoreName) -> bool {
        let Self { after, .. } = self;
        after.as_ref().is_none_or(|after| natural_order(name.as_str(), after) == Ordering::Greater)
    }
}

/// What a snapshot begins with, before it looks at the stores.
pub(super) struct Look {
    pub(super) at: Timestamp,
    pub(super) not_ready: Vec<NotReady>,
    pub(super) judge: Judge,
    pub(super) account: BTreeMap<StoreName, Vec<LossEntry>>,
    pub(super) lanes: BTreeMap<i32, Lane>,
    pub(super) spool: Option<SpoolView>,
    phase: Phase,
    settings_since: Option<Timestamp>,
    group: Option<Arc<GroupLook>>,
}

impl Look {
    /// Reads the spool's folder, so don't call it on a thread of the async runtime.
    pub(super) fn of(admin: &AdminState) -> Self {
        let (at, state) = (clock::now(), admin.program());
        let survey =
            state.pipeline.as_ref().map(|pipeline| Spool::survey(&pipeline.spool).map_err(|error| error.to_string()));
        let not_ready = health::not_ready(&state, survey.as_ref());
        let judge = Judge { at, reading: state.reading() };
        let ProgramState { phase, pipeline } = state;
        let pages = match &survey {
            Some(Ok(survey)) => survey.pages_of.clone(),
            _ => BTreeMap::new(),
        };
        let account = pipeline.as_ref().map(|pipeline| pipeline.account.entries()).unwrap_or_default();
        Self {
            at,
            not_ready,
            judge,
            account: problem::by_store(account),
            lanes: pipeline.as_ref().map(|pipeline| lanes(pipeline, &admin.counters, &pages)).unwrap_or_default(),
            group: pipeline.as_ref().and_then(|pipeline| pipeline.group.clone()),
            spool: survey.and_then(Result::ok).map(SpoolView::from),
            phase,
            settings_since: pipeline.as_ref().map(|pipeline| pipeline.since),
        }
    }

    pub(super) fn losses(&self, store: &StoreName) -> &[LossEntry] {
        self.account.get(store).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn gauges(&self, name: &StoreName, store: &StoreCounters) -> Gauges {
        Gauges::of(store, self.losses(name), self.at)
    }

    pub(super) fn totals(&self, counters: &Counters, stores: &BTreeMap<StoreName, Arc<StoreCounters>>) -> Totals {
        let mut totals = Totals {
            stores: stores.len() as u64,
            well: 0,
            not_well: 0,
            troubles: State::TROUBLES.map(|trouble| (trouble.word(), 0)).into(),
            counts: counters
                .removed_stores()
                .values()
                .map(|store| Counts::of(store))
                .fold(Counts::default(), Counts::plus),
            gauges: Gauges::default(),
        };
        let mut all: Option<Gauges> = None;
        for (name, store) in stores {
            let gauges = self.gauges(name, store);
            totals.counts = totals.counts.plus(Counts::of(store));
            all = Some(all.map_or(gauges, |all| all.with(gauges)));
            for trouble in State::TROUBLES.iter().filter(|trouble| self.judge.is_in(**trouble, store, &gauges)) {
                *totals.troubles.entry(trouble.word()).or_default() += 1;
            }
            totals.not_well += u64::from(self.judge.is_in(State::NotWell, store, &gauges));
        }
        totals.well = totals.stores - totals.not_well;
        totals.gauges = all.unwrap_or_default();
        totals
    }

    pub(super) fn store(&self, name: &StoreName, counters: &StoreCounters, language: Language) -> Store {
        let (gauges, account) = (self.gauges(name, counters), self.losses(name).to_vec());
        let problems = self.judge.problems(counters, &gauges, &account, language);
        Store {
            state: problems.first().map_or(State::Well, |problem| problem.state),
            problems,
            not_read: counters.not_read.get(),
            not_reconciled: counters.not_reconciled.get(),
            counts: Counts::of(counters),
            gauges,
            last_reconcile: counters.last_pass().map(|pass| Reconciled { at: pass.at, summary: pass.summary }),
            account,
        }
    }
}

impl Snapshot {
    /// Takes a snapshot. It reads the spool's folder, so don't call it on a thread of the async runtime.
    #[must_use]
    pub fn of(admin: &AdminState, wanted: &Wanted, language: Language) -> Self {
        let look = Look::of(admin);
        let stores = admin.counters.stores();
        let totals = look.totals(&admin.counters, &stores);
        let is_wanted = |(name, store): &(&StoreName, &Arc<StoreCounters>)| {
            let in_state = |state| look.judge.is_in(state, store, &look.gauges(name, store));
            wanted.has_name(name) && wanted.state.is_none_or(in_state)
        };
        let mut found: Vec<_> = stores.iter().filter(is_wanted).collect();
        let stores_found = found.len() as u64;
        found.retain(|(name, _)| wanted.is_behind(name));
        found.sort_by(|(one, _), (other, _)| natural_order(one.as_str(), other.as_str()));
        let limit = wanted.limit.unwrap_or(Wanted::LIMIT).clamp(1, Wanted::MAX_LIMIT);
        let next_after = found.get(limit - 1).filter(|_| found.len() > limit).map(|(name, _)| (*name).clone());
        let shown = found.into_iter().take(limit);
        let shown = shown.map(|(name, store)| (name.clone(), look.store(name, store, language))).collect();
        let Look { at, not_ready, lanes, spool, phase, settings_since, group, .. } = look;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            at,
            phase,
            started_at: admin.started_at,
            uptime_seconds: seconds(admin.started_at, at),
            settings_since,
            ready: not_ready.is_empty(),
            not_ready,
            totals,
            stores: shown,
            stores_found,
            next_after,
            lanes,
            group: group.map(|group| group.now(stores.keys())),
            spool,
            page_commit: Commits::of(&admin.counters.page_commit),
        }
    }
}

fn lanes(pipeline: &RunningPipeline, counters: &Counters, pages: &BTreeMap<StoreName, u64>) -> BTreeMap<i32, Lane> {
    let (stores, since) = (counters.stores(), pipeline.lanes.since());
    let lane = |(number, state)| {
        let is_home = |store: &StoreName| lane_of(store, pipeline.lane_count) == number;
        let lane = Lane {
            since: since.get(&number).copied(),
            stores: stores.keys().filter(|store| is_home(store)).count() as u64,
            pages: pages.iter().filter(|(store, _)| is_home(store)).map(|(_, pages)| pages).sum(),
            ..Lane::of(&state, &counters.lane(number))
        };
        (number, lane)
    };
    pipeline.lanes.now().into_iter().map(lane).collect()
}

impl Lane {
    fn of(state: &LaneState, counters: &LaneCounters) -> Self {
        let (word, why) = match state {
            LaneState::Opening { why } => ("opening", why.as_ref().map(|reason| reason.why.clone())),
            LaneState::Ready => ("ready", None),
            LaneState::Stalled => ("stalled", None),
            LaneState::Ended => ("ended", None),
        };
        Self {
            state: word,
            why,
            since: None,
            stores: 0,
            pages: 0,
            index_orders: counters.index_orders.get(),
            committed: counters.committed.get(),
            failed: counters.failed.get(),
            last_commit_at: counters.last_commit.get(),
        }
    }
}

impl From<Survey> for SpoolView {
    fn from(survey: Survey) -> Self {
        let Survey { pages, oldest, unknown, damaged, free_bytes, pages_of: _ } = survey;
        Self { pages, oldest_page_at: oldest, unknown, damaged, free_bytes }
    }
}

impl Commits {
    /// Bounds in microseconds, as powers of two from 1 ms to 67 s: [`Latency`] counts these exactly.
    const BOUNDS: std::ops::RangeInclusive<u32> = 10..=26;

    pub(super) fn of(latency: &Latency) -> Self {
        let mut counted = 0;
        let mut buckets: Vec<_> = Self::BOUNDS
            .map(|bits| {
                let bound = Duration::from_micros(1 << bits);
                let below = latency.below(bound).max(counted);
                let more = below - counted;
                counted = below;
                (bound.as_secs_f64(), more)
            })
            .collect();
        // Reads the total last. Pages may be counted meanwhile, and the buckets must not hold more than the total.
        let count = latency.count().max(counted);
        buckets.push((f64::INFINITY, count - counted));
        Self {
            count,
            p50_seconds: latency.quantile(0.5).as_secs_f64(),
            p99_seconds: latency.quantile(0.99).as_secs_f64(),
            sum_seconds: latency.sum().as_secs_f64(),
            buckets,
        }
    }
}

/// A form that leaves the state open sends an empty text.
fn state<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<State>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = [State::NotWell, State::Well].into_iter().chain(State::TROUBLES);
    match known.clone().find(|state| state.word() == text) {
        None if !text.is_empty() => {
            let words: Vec<_> = known.map(State::word).collect();
            Err(D::Error::custom(format!("there is no state `{text}`, but {}", words.join(", "))))
        }
        state => Ok(state),
    }
}

fn by_name<S: Serializer>(stores: &[(StoreName, Store)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(stores.iter().map(|(name, store)| (name, store)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_in_one_bucket_and_the_last_has_no_bound() {
        let latency = Latency::default();
        for millis in [0, 1, 3, 100, 70_000] {
            latency.record(Duration::from_millis(millis));
        }
        let commits = Commits::of(&latency);
        assert_eq!(commits.buckets.iter().map(|(_, count)| count).sum::<u64>(), commits.count);
        assert_eq!(commits.buckets.first(), Some(&(0.001_024, 2)));
        assert_eq!(commits.buckets.last(), Some(&(f64::INFINITY, 1)));
    }
}
