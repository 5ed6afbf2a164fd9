//! All there is to know of a running instance, at one moment: what metrics, status and page are made from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::AdminState;
use super::health::{self, NotReady};
use super::state::{Phase, ProgramState, RunningPipeline};
use crate::avro::event::Reason;
use crate::order::ids::StoreName;
use crate::pipeline::account::{LossEntry, OpenLoss};
use crate::pipeline::counters::{Counters, LaneCounters, Latency, PassSummary, Published, StoreCounters, Trouble};
use crate::pipeline::publish::LaneState;
use crate::platform::clock;
use crate::spool::{Spool, Survey};

/// What `/status` answers. Times are RFC 3339 in UTC, and null before they came.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// Of the program.
    pub version: &'static str,
    /// When this was taken.
    pub at: Timestamp,
    /// What the program is at.
    pub phase: Phase,
    /// When the process started.
    pub started_at: Timestamp,
    /// Since then.
    pub uptime_seconds: u64,
    /// When it began to work with its present settings.
    pub settings_since: Option<Timestamp>,
    /// Whether it can do its work.
    pub ready: bool,
    /// What stands in the way.
    pub not_ready: Vec<NotReady>,
    /// The stores.
    pub stores: BTreeMap<StoreName, Store>,
    /// The lanes.
    pub lanes: BTreeMap<i32, Lane>,
    /// The spool; null if it can't be looked at.
    pub spool: Option<SpoolView>,
    /// From the last byte of a page to its commit.
    pub page_commit: Commits,
}

/// A store.
#[derive(Debug, Clone, Serialize)]
pub struct Store {
    /// Orders that the marketplace still holds, as it last said.
    pub pending: u64,
    /// When a read last brought a page, or found nothing pending.
    pub last_good_read_at: Option<Timestamp>,
    /// Why no read has gone well since; null while they do.
    pub not_read: Option<Trouble>,
    /// Pages that were read.
    pub pages_read: u64,
    /// Orders in them.
    pub orders_read: u64,
    /// Events that were committed, by reason.
    #[serde(serialize_with = "by_reason")]
    pub published: Published,
    /// Orders that went to the dead-letter topic.
    pub dead_letters: u64,
    /// Orders that needed no event.
    pub skipped: u64,
    /// Reads that the marketplace refused.
    pub refused: Refused,
    /// Answers that were understood, and are no page as it should be.
    pub irregular_answers: Irregular,
    /// Reads of unknown outcome.
    pub unknown_reads: u64,
    /// Those that no pass of the reconciler has settled.
    pub unsettled_unknown_reads: u64,
    /// Listed orders that had not arrived.
    pub missing: u64,
    /// Those of them that the marketplace no longer has.
    pub gone: u64,
    /// Why no pass of the reconciler has come to its end since; null while they do.
    pub not_reconciled: Option<Trouble>,
    /// The last pass of the reconciler.
    pub last_reconcile: Option<Reconciled>,
    /// Orders that reads of unknown outcome have marked and that have not been found. Those of reads that no pass has
    /// looked into count as many as there may be.
    pub unaccounted_orders: u64,
    /// Orders that such reads can have marked besides, at most, although nothing is missing that is listed.
    pub possibly_unaccounted_orders: u64,
    /// For how long the marketplace still lists those that are next to fall out of its list.
    pub unaccounted_window_seconds: Option<u64>,
    /// The account of such reads.
    pub account: Vec<LossEntry>,
}

/// Refused reads by the marketplace's answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Refused {
    /// 401.
    #[serde(rename = "401")]
    pub token: u64,
    /// 403.
    #[serde(rename = "403")]
    pub start_date: u64,
    /// Any other of 4xx.
    pub other: u64,
}

/// Answers to the destructive read by what is odd about them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Irregular {
    /// Something stood beside the JSON.
    pub noise: u64,
    /// 204.
    pub no_content: u64,
    /// 404 for: no orders.
    pub not_found: u64,
    /// A message for: no orders.
    pub message: u64,
}

/// A pass of the reconciler.
#[derive(Debug, Clone, Serialize)]
pub struct Reconciled {
    /// When it was over.
    pub at: Timestamp,
    /// What it did.
    #[serde(flatten)]
    pub summary: PassSummary,
}

/// A lane.
#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    /// In a word.
    pub state: &'static str,
    /// What stands in the way.
    pub why: Option<String>,
    /// Orders in its index.
    pub index_orders: u64,
    /// Transactions whose commit was seen.
    pub committed: u64,
    /// Transactions that were given up, and decided anew.
    pub failed: u64,
    /// When a commit was last seen.
    pub last_commit_at: Option<Timestamp>,
}

/// The spool.
#[derive(Debug, Clone, Serialize)]
pub struct SpoolView {
    /// Pages that are not published yet.
    pub pages: u64,
    /// When the oldest of them was read.
    pub oldest_page_at: Option<Timestamp>,
    /// Reads of unknown outcome.
    pub unknown: u64,
    /// Files that were put aside.
    pub damaged: u64,
    /// Bytes.
    pub free_bytes: u64,
}

/// How long pages took.
#[derive(Debug, Clone, Serialize)]
pub struct Commits {
    /// Pages.
    pub count: u64,
    /// Half of them took less, in seconds.
    pub p50_seconds: f64,
    /// Nearly all took less, in seconds.
    pub p99_seconds: f64,
    /// All together, in seconds.
    #[serde(skip)]
    pub sum_seconds: f64,
    /// How many took so many seconds at most, and longer than those before.
    #[serde(skip)]
    pub buckets: Vec<(f64, u64)>,
}

impl Snapshot {
    /// All there is to know at this moment. Looks at the spool's folder, so not for a thread of the runtime.
    #[must_use]
    pub fn of(admin: &AdminState) -> Self {
        let (at, state) = (clock::now(), admin.program());
        let survey =
            state.pipeline.as_ref().map(|pipeline| Spool::survey(&pipeline.spool).map_err(|error| error.to_string()));
        let not_ready = health::not_ready(&state, survey.as_ref());
        let ProgramState { phase, pipeline } = state;
        let account = pipeline.as_ref().map(|pipeline| pipeline.account.entries()).unwrap_or_default();
        let counters = &admin.counters;
        let store = |(name, store): (StoreName, Arc<StoreCounters>)| {
            let entries = account.iter().filter(|entry| entry.store == name).cloned().collect();
            (name, Store::of(&store, entries, at))
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            at,
            phase,
            started_at: admin.started_at,
            uptime_seconds: seconds(admin.started_at, at),
            settings_since: pipeline.as_ref().map(|pipeline| pipeline.since),
            ready: not_ready.is_empty(),
            not_ready,
            stores: counters.stores().into_iter().map(store).collect(),
            lanes: pipeline.as_ref().map(|pipeline| lanes(pipeline, counters)).unwrap_or_default(),
            spool: survey.and_then(Result::ok).map(SpoolView::from),
            page_commit: Commits::of(&counters.page_commit),
        }
    }
}

impl Store {
    fn of(counters: &StoreCounters, account: Vec<LossEntry>, at: Timestamp) -> Self {
        let StoreCounters { refused, irregular, .. } = counters;
        let open: Vec<_> = account.iter().filter(|entry| open_orders(entry) > 0).collect();
        Self {
            pending: counters.pending.get(),
            last_good_read_at: counters.last_drained.get(),
            not_read: counters.not_read.get(),
            pages_read: counters.pages_read.get(),
            orders_read: counters.orders_read.get(),
            published: counters.published.get(),
            dead_letters: counters.dead_letters.get(),
            skipped: counters.skipped.get(),
            refused: Refused {
                token: refused.token.get(),
                start_date: refused.start_date.get(),
                other: refused.other.get(),
            },
            irregular_answers: Irregular {
                noise: irregular.noise.get(),
                no_content: irregular.no_content.get(),
                not_found: irregular.not_found.get(),
                message: irregular.message.get(),
            },
            unknown_reads: counters.unknown_reads.get(),
            unsettled_unknown_reads: counters.unsettled_reads.get(),
            missing: counters.missing.get(),
            gone: counters.gone.get(),
            not_reconciled: counters.not_reconciled.get(),
            last_reconcile: counters.last_pass().map(|pass| Reconciled { at: pass.at, summary: pass.summary }),
            possibly_unaccounted_orders: account.iter().map(possible_orders).sum(),
            unaccounted_orders: open.iter().map(|entry| open_orders(entry)).sum(),
            unaccounted_window_seconds: open.iter().map(|entry| seconds(at, entry.listed_until)).min(),
            account,
        }
    }
}

/// Certainly so many; where no pass has looked yet, the worst that it can find.
fn open_orders(entry: &LossEntry) -> u64 {
    match entry.open {
        OpenLoss::Nothing | OpenLoss::UnknownUpTo(_) => 0,
        OpenLoss::AtLeast(orders) => orders,
        OpenLoss::NotLookedFor => entry.marked.at_most.saturating_sub(entry.found),
    }
}

fn possible_orders(entry: &LossEntry) -> u64 {
    if let OpenLoss::UnknownUpTo(orders) = entry.open { orders } else { 0 }
}

fn lanes(pipeline: &RunningPipeline, counters: &Counters) -> BTreeMap<i32, Lane> {
    let lane = |(number, state): (&i32, &tokio::sync::watch::Receiver<LaneState>)| {
        (*number, Lane::of(&state.borrow(), &counters.lane(*number)))
    };
    pipeline.lanes.iter().map(lane).collect()
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
            index_orders: counters.index_orders.get(),
            committed: counters.committed.get(),
            failed: counters.failed.get(),
            last_commit_at: counters.last_commit.get(),
        }
    }
}

impl From<Survey> for SpoolView {
    fn from(survey: Survey) -> Self {
        let Survey { pages, oldest, unknown, damaged, free_bytes } = survey;
        Self { pages, oldest_page_at: oldest, unknown, damaged, free_bytes }
    }
}

impl Commits {
    /// Powers of two in microseconds, from 1 ms to 67 s: those are counted exactly.
    const BOUNDS: std::ops::RangeInclusive<u32> = 10..=26;

    fn of(latency: &Latency) -> Self {
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
        // Counted last: pages may have come since, and a histogram must not hold more than its count.
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

/// Whole seconds; 0 for a moment that has passed.
fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

fn by_reason<S: Serializer>(published: &Published, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Reason::WRITTEN.map(|reason| (reason.as_str().to_lowercase(), published.of(reason))))
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
