//! Tracking records past their time: found by reading the partition beside the lane's work, and replaced by tombstones in
//! the lane's transactions, a few at a time.
//!
//! The marketplace gives an order back for 30 days at most, and the retention is longer than that: what is forgotten here
//! can't come again, which is why it may be forgotten at all.
//!
//! That rests on the clock, and a clock that runs weeks ahead would make the lane forget orders that still come: they would
//! be published anew, as revision 1 once more. So it is never taken to be later than the partition itself shows: a lane
//! forgets nothing that is younger than the retention, counted back from the newest order of which it has heard.
//!
//! Nor does it forget anything before the pages that an earlier process left are published: after a kill such a page may
//! hold orders that are out, and only the index knows.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::LaneError;
use super::load::decoded;
use crate::clock;
use crate::decoder::Decoder;
use crate::index::{Index, Moment};
use crate::jobs::{Job, Jobs};
use crate::kafka::KafkaFault;
use crate::kafka::broker::TrackingLog;
use crate::shutdown::Stop;
use crate::tracking::OrderTracking;

/// Tombstones in one transaction.
const AT_ONCE: usize = 100;
/// Between two transactions that have nothing else in them.
const IDLE_PAUSE: Duration = Duration::from_secs(2);
/// From one look at the partition to the next.
const BETWEEN_SCANS: Duration = Duration::from_secs(24 * 3600);
/// Keys that one look finds at most; the next one finds the others.
const FOUND_AT_MOST: usize = 100_000;

/// One lane's.
pub(super) struct Retention {
    keep: Duration,
    jobs: Arc<dyn Jobs>,
    stop: Stop,
    /// Pages of an earlier process that are still to be published.
    left: usize,
    old: Old,
    scan: Option<Job<Result<Old, LaneError>>>,
    next_scan: Instant,
    next_idle: Instant,
}

/// What one look at the partition found.
#[derive(Debug)]
struct Old {
    /// Whose record was written before this may be forgotten.
    before: Moment,
    /// Keys whose record was too old when it was read.
    keys: Vec<Vec<u8>>,
}

impl Retention {
    pub(super) fn new(keep: Duration, jobs: Arc<dyn Jobs>, stop: Stop, left: usize) -> Self {
        let now = Instant::now();
        let old = Old { before: Moment::from_millis(0), keys: Vec::new() };
        Self { keep, jobs, stop, left, old, scan: None, next_scan: now, next_idle: now }
    }

    /// So many pages are published. Those of an earlier process come first.
    pub(super) fn published(&mut self, pages: usize) {
        self.left = self.left.saturating_sub(pages);
    }

    /// Begins to look for old records when it is time, and takes over what was found.
    pub(super) async fn look(&mut self, scan: impl FnOnce() -> (Box<dyn TrackingLog>, Decoder)) {
        if self.left > 0 {
            return;
        }
        let now = Instant::now();
        if self.scan.as_ref().is_some_and(Job::is_over) {
            self.take_found().await;
        } else if self.scan.is_none() && now >= self.next_scan {
            let (reader, decoder) = scan();
            let (keep, stop) = (self.keep, self.stop.clone());
            self.scan = Some(Job::start(&*self.jobs, move || find_old(keep, reader, decoder, &stop)));
            self.next_scan = now + BETWEEN_SCANS;
        }
    }

    /// Whether an idle lane should make a transaction for tombstones alone.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = !self.old.keys.is_empty() && now >= self.next_idle;
        if due {
            self.next_idle = now + IDLE_PAUSE;
        }
        due
    }

    async fn take_found(&mut self) {
        let Some(scan) = self.scan.take() else { return };
        match scan.ended().await {
            Ok(old) => {
                if !old.keys.is_empty() {
                    tracing::info!(
                        records = old.keys.len(),
                        "tracking records are past their retention and are removed"
                    );
                }
                self.old = old;
            }
            Err(error) => tracing::warn!(%error, "could not look for tracking records past their retention"),
        }
    }

    /// Some keys to be forgotten now. What the index says counts: an order may have been published anew since.
    pub(super) fn take(&mut self, index: &Index, in_transaction: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let Old { before, keys } = &mut self.old;
        let rest = keys.split_off(keys.len().min(AT_ONCE));
        let is_old = |key: &Vec<u8>| index.get_by_text(key).is_some_and(|entry| entry.at < *before);
        mem::replace(keys, rest).into_iter().filter(|key| is_old(key) && !in_transaction(key)).collect()
    }
}

/// Blocks, for as long as it takes to read the partition.
fn find_old(
    keep: Duration,
    mut reader: Box<dyn TrackingLog>,
    mut decoder: Decoder,
    stop: &Stop,
) -> Result<Old, LaneError> {
    let (now, mut shown, mut found) = (clock::now().as_millisecond(), Shown::default(), Vec::new());
    let before = |now: i64| now.saturating_sub_unsigned(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
    reader.try_each(|key, value| {
        if stop.is_requested() {
            let why = "the program stops".to_owned();
            return Err(LaneError::from(KafkaFault::Passing { what: "looking for old records", why }));
        }
        let Some(value) = value else { return Ok(()) };
        let tracking = decoded(&mut decoder, value)?;
        shown.see(&tracking);
        if found.len() < FOUND_AT_MOST && tracking.published_at < before(now) {
            found.push((key.to_vec(), tracking.published_at));
        }
        Ok(())
    })?;
    let before = before(shown.at_most(now));
    let keys = found.into_iter().filter(|(_, published_at)| *published_at < before).map(|(key, _)| key).collect();
    Ok(Old { before: Moment::from_millis(before), keys })
}

/// The latest that the partition's records know of.
#[derive(Debug, Default)]
struct Shown {
    /// By the marketplace's clock.
    placed: Option<i64>,
    /// By ours, as it went then.
    published: Option<i64>,
}

impl Shown {
    fn see(&mut self, tracking: &OrderTracking) {
        self.placed = self.placed.max(tracking.order_created_at);
        self.published = self.published.max(Some(tracking.published_at));
    }

    /// The marketplace's clock is the better witness: ours may have gone wrong before the last orders were published.
    fn at_most(&self, now: i64) -> i64 {
        self.placed.or(self.published).map_or(now, |shown| shown.min(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::ORDER_TRACKING;
    use crate::event::{ContentHash, Reason, Revision};
    use crate::ids::ReadId;
    use crate::index::{Entry, Record, State};
    use crate::jobs::Threads;
    use crate::kafka::broker::Apply;
    use crate::shutdown::stopper;

    const DAY: i64 = 86_400_000;

    fn published(days_ago: i64) -> Entry {
        Entry {
            revision: Some(Revision::FIRST),
            state: State::Published,
            reason: Reason::Drained,
            read: ReadId::fresh().into(),
            content: ContentHash::of_bytes(b"x").into(),
            at: Moment::from_millis(clock::now().as_millisecond() - days_ago * DAY),
        }
    }

    #[tokio::test]
    async fn only_what_is_still_old_and_not_in_the_transaction_is_forgotten_and_a_few_at_a_time() {
        let mut index = Index::default();
        let keys: Vec<Vec<u8>> = (0..AT_ONCE + 5).map(|number| format!("bogota/{number}").into_bytes()).collect();
        for key in &keys {
            index.apply(Record::new(key, Some(published(91))));
        }
        index.apply(Record::new(&keys[0], Some(published(1))));
        index.apply(Record::new(&keys[1], None));
        let before = Moment::from_millis(clock::now().as_millisecond() - 90 * DAY);
        let mut retention = Retention::new(Duration::from_secs(90 * 86_400), Threads::shared(), stopper().1, 0);
        retention.old = Old { before, keys: keys.clone() };
        let first = retention.take(&index, |key| key == keys[2]);
        assert_eq!(first, keys[3..AT_ONCE]);
        assert_eq!(retention.take(&index, |_| false), keys[AT_ONCE..]);
        assert_eq!(retention.take(&index, |_| false), Vec::<Vec<u8>>::new());
    }

    #[tokio::test]
    async fn nothing_is_forgotten_before_the_pages_of_an_earlier_process_are_published() {
        let mut retention = Retention::new(Duration::from_secs(1), Threads::shared(), stopper().1, 2);
        let scan = || (Box::new(Empty) as Box<dyn TrackingLog>, Decoder::new(&ORDER_TRACKING, None));
        retention.published(1);
        retention.look(scan).await;
        assert!(retention.scan.is_none());
        retention.published(1);
        retention.look(scan).await;
        assert!(retention.scan.is_some());
    }

    struct Empty;

    impl TrackingLog for Empty {
        fn lane(&self) -> i32 {
            0
        }

        fn position(&self) -> i64 {
            0
        }

        fn read_to_end(&mut self, _: &mut Apply<'_>) -> Result<(), KafkaFault> {
            Ok(())
        }
    }

    #[test]
    fn a_clock_that_runs_ahead_is_not_believed() {
        let shown = |placed, published| Shown { placed, published };
        let (now, ahead) = (1_764_000_000_000, 1_764_000_000_000 + 365 * DAY);
        assert_eq!(shown(Some(now - DAY), Some(now)).at_most(ahead), now - DAY);
        assert_eq!(shown(Some(now - DAY), Some(ahead)).at_most(ahead), now - DAY);
        assert_eq!(shown(None, Some(now)).at_most(ahead), now);
        // An order from the future makes nothing older than it is.
        assert_eq!(shown(Some(ahead), Some(now)).at_most(now), now);
    }
}
