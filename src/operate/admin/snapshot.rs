//! The state of a running instance at one moment. Metrics, status and page are all rendered from it.

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
    pub stores: BTreeMap<StoreName, Store>,
    pub lanes: BTreeMap<i32, Lane>,
    /// The spool, or null if it can't be read.
    pub spool: Option<SpoolView>,
    /// The time from the last byte of a page to its commit.
    pub page_commit: Commits,
}

#[derive(Debug, Clone, Serialize)]
pub struct Store {
    /// Orders that the marketplace still holds, by its latest answer.
    pub pending: u64,
    /// When a read last returned a page or found nothing pending.
    pub last_good_read_at: Option<Timestamp>,
    /// Why reads fail since then, or null if they don't.
    pub not_read: Option<Trouble>,
    pub pages_read: u64,
    pub orders_read: u64,
    /// Committed events, by reason.
    #[serde(serialize_with = "by_reason")]
    pub published: Published,
    /// Orders written to the dead-letter topic.
    pub dead_letters: u64,
    /// Orders that needed no event, because they were known already.
    pub skipped: u64,
    /// Reads that the marketplace refused, by status.
    pub refused: Refused,
    /// Answers that were understood although they are no regular page.
    pub irregular_answers: Irregular,
    pub unknown_reads: u64,
    /// Reads of unknown outcome that no pass of the reconciler has settled.
    pub unsettled_unknown_reads: u64,
    /// Orders that the marketplace listed and that had not arrived.
    pub missing: u64,
    /// Missing orders that the marketplace no longer has.
    pub gone: u64,
    /// Why passes of the reconciler fail since the last good one, or null if they don't.
    pub not_reconciled: Option<Trouble>,
    pub last_reconcile: Option<Reconciled>,
    /// Orders that reads of unknown outcome have marked and that have not been found. A read that no pass has examined
    /// counts with the most that it can have marked.
    pub unaccounted_orders: u64,
    /// The most orders that such reads can have marked besides, although no listed order is missing.
    pub possibly_unaccounted_orders: u64,
    /// How long the marketplace still lists the missing orders that fall out of its list first.
    pub unaccounted_window_seconds: Option<u64>,
    /// The reads that may have lost orders.
    pub account: Vec<LossEntry>,
}

/// Refused reads, by the status of the answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Refused {
    /// Status 401.
    #[serde(rename = "401")]
    pub token: u64,
    /// Status 403.
    #[serde(rename = "403")]
    pub start_date: u64,
    /// Any other 4xx status.
    pub other: u64,
}

/// Irregular answers to the destructive read, by kind.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Irregular {
    /// Text before or behind the JSON.
    pub noise: u64,
    /// Status 204.
    pub no_content: u64,
    /// Status 404 that means: no orders.
    pub not_found: u64,
    /// A message that means: no orders.
    pub message: u64,
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

impl Snapshot {
    /// Takes a snapshot. It reads the spool's folder, so don't call it on a thread of the async runtime.
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

/// Orders certainly missing. If no pass has examined the read yet, the most that it can have lost.
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
    /// Bounds in microseconds, as powers of two from 1 ms to 67 s: [`Latency`] counts these exactly.
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

/// Whole seconds from `from` to `to`, or 0 if `to` is earlier.
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
