//! Removes tracking records past their retention: scans the partition in the background, and writes tombstones in the
//! lane's transactions, a few at a time.
//!
//! The marketplace hands an order over for at most 30 days, and the retention is longer, so a removed order can't come
//! again. If it did, it would be published as revision 1 once more.
//!
//! This machine's clock alone is no proof: it may have been weeks behind when a record was written, and may be weeks
//! ahead now. So an order is removed only if all of these hold:
//!
//! - Its record is past the retention, and so is the order's own date, which the marketplace's clock set. For an order
//!   without a date the record alone counts. An order dated in the future is not removed before that date.
//! - Both hold relative to the newest order in the partition, if the clock is ahead of that.
//! - A list of IDs that was taken after the scan does not name it. A listed order can come at any time, however old it
//!   is, and the reconciler would publish it at once. Without a list, or with an empty one, nothing is removed.
//!
//! The lane removes nothing before it has published the pages of an earlier process: after a kill such a page may hold
//! orders that are already published, and only the index knows.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::load::read_tracking_entry;
use super::{LaneError, Stores};
use crate::avro::decoder::Decoder;
use crate::avro::tracking::TrackingEntry;
use crate::kafka::KafkaFault;
use crate::kafka::broker::TrackingLog;
use crate::order::ids::{OrderIds, StoreName};
use crate::pipeline::index::{Fingerprint, Index, Millis48};
use crate::platform::clock;
use crate::platform::jobs::{Job, Jobs};

/// Maximum tombstones per transaction.
const MAX_TOMBSTONES: usize = 100;
/// Pause between two transactions that hold only tombstones.
const IDLE_PAUSE: Duration = Duration::from_secs(2);
/// Time between two scans of the partition.
const SCAN_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Maximum keys that one scan collects; the next scan finds the others.
const MAX_FOUND: usize = 100_000;
/// An order dated further ahead of its publication than this, in milliseconds, says nothing about the current time. A
/// shop's time zone may be wrong, so a day is allowed.
const MAX_DATE_AHEAD_MS: i64 = 24 * 3600 * 1000;

/// The retention of one lane.
pub(super) struct Retention {
    lane: i32,
    keep: Duration,
    jobs: Arc<dyn Jobs>,
    scans: Arc<Semaphore>,
    stop: CancellationToken,
    /// Pages of an earlier process that are not published yet.
    left: usize,
    /// Stores whose lists come to this lane.
    stores: Stores,
    old: Old,
    /// Old keys that a list did not name, or that no list can name: due for removal.
    unlisted: Vec<Vec<u8>>,
    scan: Option<Job<Result<Old, LaneError>>>,
    next_scan: Instant,
    next_idle: Instant,
}

/// The result of one scan of the partition.
#[derive(Debug)]
struct Old {
    /// Only records written before this may be removed.
    before: Millis48,
    /// Keys whose record was too old in the scan. Each waits for a list of its store.
    keys: Vec<Vec<u8>>,
}

impl Retention {
    pub(super) fn new(
        lane: i32,
        keep: Duration,
        jobs: Arc<dyn Jobs>,
        scans: Arc<Semaphore>,
        stop: CancellationToken,
        left: usize,
        stores: Stores,
    ) -> Self {
        let now = Instant::now();
        let old = Old { before: Millis48::from_millis(0), keys: Vec::new() };
        let unlisted = Vec::new();
        Self { lane, keep, jobs, scans, stop, left, stores, old, unlisted, scan: None, next_scan: now, next_idle: now }
    }

    /// Counts published pages; those of an earlier process come first.
    pub(super) fn published(&mut self, pages: usize) {
        self.left = self.left.saturating_sub(pages);
    }

    /// Starts a scan when it is due, and takes over the result of one that is done.
    pub(super) async fn look(&mut self, scan: impl FnOnce() -> (Box<dyn TrackingLog>, Decoder)) {
        if self.left > 0 {
            return;
        }
        let now = Instant::now();
        if self.scan.as_ref().is_some_and(Job::is_over) {
            self.take_found().await;
        } else if self.scan.is_none()
            && now >= self.next_scan
            && let Ok(turn) = self.scans.clone().try_acquire_owned()
        {
            let (reader, decoder) = scan();
            let (keep, stop) = (self.keep, self.stop.clone());
            self.scan = Some(Job::start(&*self.jobs, &format!("lane-{}", self.lane), move || {
                let _turn = turn;
                find_old(keep, reader, decoder, &stop)
            }));
            self.next_scan = now + SCAN_INTERVAL;
        }
    }

    /// Whether an idle lane should make a transaction for tombstones alone.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = !self.unlisted.is_empty() && now >= self.next_idle;
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
                        "tracking records are past their retention and are removed once a list of IDs does not name them"
                    );
                }
                self.take_over(old);
            }
            Err(error) => tracing::warn!(%error, "could not look for tracking records past their retention"),
        }
    }

    fn take_over(&mut self, Old { before, keys }: Old) {
        // A store that the settings no longer name has no list, and brings no orders.
        let (keys, unlisted) = keys.into_iter().partition(|key| store_of(key).is_none_or(|s| self.stores.knows(&s)));
        self.old = Old { before, keys };
        self.unlisted = unlisted;
    }

    /// Takes note of a complete list of a store's orders.
    pub(super) fn see_list(&mut self, store: &StoreName, listed: &OrderIds) {
        // A wrong path answers with an empty list too.
        if listed.is_empty() || (self.old.keys.is_empty() && self.unlisted.is_empty()) {
            return;
        }
        let listed: HashSet<&[u8]> = listed.iter().map(|id| id.as_str().as_bytes()).collect();
        let prefix = format!("{store}/").into_bytes();
        let is_listed = |key: &[u8]| key.strip_prefix(&*prefix).is_some_and(|id| listed.contains(id));
        self.unlisted.retain(|key| !is_listed(key));
        for key in mem::take(&mut self.old.keys) {
            // guard: a listed order is not forgotten
            if !key.starts_with(&prefix) {
                self.old.keys.push(key);
            } else if !is_listed(&key) {
                self.unlisted.push(key);
            }
        }
    }

    /// Takes some keys to remove now. The index decides: an order may have been published again since the scan.
    pub(super) fn take(&mut self, index: &Index, in_transaction: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let Self { old: Old { before, .. }, unlisted, .. } = self;
        let rest = unlisted.split_off(unlisted.len().min(MAX_TOMBSTONES));
        let is_old = |key: &Vec<u8>| index.get(Fingerprint::of(key)).is_some_and(|entry| entry.at < *before);
        mem::replace(unlisted, rest).into_iter().filter(|key| is_old(key) && !in_transaction(key)).collect()
    }
}

fn store_of(key: &[u8]) -> Option<StoreName> {
    let (store, _) = std::str::from_utf8(key).ok()?.split_once('/')?;
    store.parse().ok()
}

/// Scans the partition. Blocks until it is read to its end.
fn find_old(
    keep: Duration,
    mut reader: Box<dyn TrackingLog>,
    mut decoder: Decoder,
    stop: &CancellationToken,
) -> Result<Old, LaneError> {
    let (now, mut shown, mut found) = (clock::now().as_millisecond(), LatestTimes::default(), Vec::new());
    let before = |now: i64| now.saturating_sub_unsigned(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
    reader.try_each(|_, key, value| {
        if stop.is_cancelled() {
            let why = "the program stops".to_owned();
            return Err(LaneError::from(KafkaFault::Passing { what: "looking for old records", why }));
        }
        let Some(value) = value else { return Ok(()) };
        let tracking = read_tracking_entry(&mut decoder, key, value)?;
        shown.see(&tracking);
        let latest = latest_of(&tracking);
        if found.len() < MAX_FOUND && latest < before(now) {
            found.push((key.to_vec(), latest));
        }
        Ok(())
    })?;
    let before = before(shown.at_most(now));
    let keys = found.into_iter().filter(|(_, latest)| *latest < before).map(|(key, _)| key).collect();
    Ok(Old { before: Millis48::from_millis(before), keys })
}

// guard: an order's own date must be past the retention
/// The later of two times: when this machine's clock says the record was written, and when the marketplace's clock says
/// the order was placed. An order published while the clock was weeks behind is not as old as its record looks.
fn latest_of(tracking: &TrackingEntry) -> i64 {
    tracking.order_created_at.map_or(tracking.published_at, |placed| placed.max(tracking.published_at))
}

/// The latest times in the partition's records.
#[derive(Debug, Default)]
struct LatestTimes {
    /// By the marketplace's clock.
    placed: Option<i64>,
    /// By this machine's clock at that time.
    published: Option<i64>,
}

impl LatestTimes {
    fn see(&mut self, tracking: &TrackingEntry) {
        // An order from the future says nothing about the time: its date is wrong, or the clock was behind.
        let is_past = |placed: &i64| *placed <= tracking.published_at.saturating_add(MAX_DATE_AHEAD_MS);
        self.placed = self.placed.max(tracking.order_created_at.filter(is_past));
        self.published = self.published.max(Some(tracking.published_at));
    }

    /// Limits `now` to the latest time in the partition. The marketplace's clock is the better witness: ours may have
    /// gone wrong before the last orders were published.
    fn at_most(&self, now: i64) -> i64 {
        self.placed.or(self.published).map_or(now, |shown| shown.min(now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::avro::contract::ORDER_TRACKING;
    use crate::avro::event::Readers;
    use crate::avro::event::{ContentHash, Reason, Revision};
    use crate::avro::tracking::{OrderState, OrderTracking};
    use crate::kafka::broker::Apply;
    use crate::order::country::Country;
    use crate::order::ids::{OrderId, ReadId};
    use crate::pipeline::index::{IndexEntry, IndexUpdate};
    use crate::pipeline::publish::StoreFacts;
    use crate::platform::jobs::Threads;

    const DAY: i64 = 86_400_000;

    fn published(days_ago: i64) -> IndexEntry {
        IndexEntry {
            revision: Some(Revision::FIRST),
            state: OrderState::Published,
            reason: Reason::Drained,
            read: ReadId::fresh().into(),
            content: ContentHash::of_bytes(b"x").into(),
            at: Millis48::from_millis(clock::now().as_millisecond() - days_ago * DAY),
        }
    }

    fn retention(left: usize) -> Retention {
        retention_with(left, Arc::new(Semaphore::new(1)))
    }

    fn retention_with(left: usize, scans: Arc<Semaphore>) -> Retention {
        let facts = StoreFacts {
            country: Country::Co,
            mapping: Arc::default(),
            readers: Readers::default(),
            counters: Arc::default(),
        };
        let stores = Stores::default();
        stores.set("bogota".parse().unwrap(), facts);
        let (keep, stop) = (Duration::from_secs(90 * 86_400), CancellationToken::new());
        Retention::new(0, keep, Threads::shared(), scans, stop, left, stores)
    }

    fn old(keys: &[&str]) -> Old {
        let before = Millis48::from_millis(clock::now().as_millisecond() - 90 * DAY);
        Old { before, keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect() }
    }

    fn listed(ids: &[&str]) -> OrderIds {
        ids.iter().map(|id| id.parse::<OrderId>().unwrap()).collect()
    }

    fn texts(keys: &[Vec<u8>]) -> Vec<&str> {
        keys.iter().map(|key| std::str::from_utf8(key).unwrap()).collect()
    }

    #[tokio::test]
    async fn only_what_is_still_old_and_not_in_the_transaction_is_forgotten_and_a_few_at_a_time() {
        let mut index = Index::default();
        let keys: Vec<Vec<u8>> =
            (0..MAX_TOMBSTONES + 5).map(|number| format!("bogota/{number}").into_bytes()).collect();
        for key in &keys {
            index.apply(IndexUpdate::new(key, Some(published(91))));
        }
        index.apply(IndexUpdate::new(&keys[0], Some(published(1))));
        index.apply(IndexUpdate::new(&keys[1], None));
        let mut retention = retention(0);
        retention.take_over(Old { keys: keys.clone(), ..old(&[]) });
        retention.see_list(&"bogota".parse().unwrap(), &listed(&["x"]));
        let first = retention.take(&index, |key| key == keys[2]);
        assert_eq!(first, keys[3..MAX_TOMBSTONES]);
        assert_eq!(retention.take(&index, |_| false), keys[MAX_TOMBSTONES..]);
        assert_eq!(retention.take(&index, |_| false), Vec::<Vec<u8>>::new());
    }

    #[tokio::test]
    async fn an_order_that_is_listed_is_not_forgotten_however_old_it_looks() {
        let mut index = Index::default();
        for key in ["bogota/1", "bogota/2", "bogota/3", "quito/1"] {
            index.apply(IndexUpdate::new(key.as_bytes(), Some(published(91))));
        }
        let (bogota, mut retention) = ("bogota".parse().unwrap(), retention(0));
        retention.take_over(old(&["bogota/1", "bogota/2", "bogota/3"]));
        assert!(!retention.is_due(), "no list yet");
        retention.see_list(&bogota, &listed(&[]));
        retention.see_list(&"lima".parse().unwrap(), &listed(&["9"]));
        assert!(!retention.is_due(), "a list that is empty, and one of another store, say nothing");
        retention.see_list(&bogota, &listed(&["1", "9"]));
        assert!(retention.is_due());
        // Nor is an order removed that a later list names again.
        retention.see_list(&bogota, &listed(&["3"]));
        assert_eq!(texts(&retention.take(&index, |_| false)), ["bogota/2"]);

        // A store that the settings no longer name has no list, and brings no orders.
        retention.take_over(old(&["bogota/1", "quito/1"]));
        assert_eq!(texts(&retention.take(&index, |_| false)), ["quito/1"]);
    }

    #[tokio::test]
    async fn nothing_is_forgotten_before_the_pages_of_an_earlier_process_are_published() {
        let mut retention = retention(2);
        let scan = || (Box::new(Records(Vec::new())) as Box<dyn TrackingLog>, Decoder::new(&ORDER_TRACKING, None));
        retention.published(1);
        retention.look(scan).await;
        assert!(retention.scan.is_none());
        retention.published(1);
        retention.look(scan).await;
        assert!(retention.scan.is_some());
    }

    #[tokio::test]
    async fn one_lane_at_a_time_looks_for_old_records() {
        let scans = Arc::new(Semaphore::new(1));
        let [mut first, mut second] = [(); 2].map(|()| retention_with(0, scans.clone()));
        let (end, ended) = mpsc::channel();
        let decoder = || Decoder::new(&ORDER_TRACKING, None);
        first.look(|| (Box::new(EndsWhenTold(ended)) as Box<dyn TrackingLog>, decoder())).await;
        second.look(|| panic!("it is not its turn")).await;
        assert!(first.scan.is_some());
        end.send(()).unwrap();
        let turn = async {
            while second.scan.is_none() {
                second.look(|| (Box::new(Records(Vec::new())) as Box<dyn TrackingLog>, decoder())).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), turn).await.unwrap();
    }

    /// A partition without a record, whose end is not reached before that.
    struct EndsWhenTold(mpsc::Receiver<()>);

    impl TrackingLog for EndsWhenTold {
        fn lane(&self) -> i32 {
            0
        }

        fn position(&self) -> i64 {
            0
        }

        fn read_to_end(&mut self, _apply: &mut Apply<'_>) -> Result<(), KafkaFault> {
            self.0.recv().unwrap();
            Ok(())
        }
    }

    /// Orders 0, 1, …: how many days ago each was published, by this machine's clock, and placed.
    fn found(records: &[(i64, Option<i64>)]) -> Vec<String> {
        let now = clock::now().as_millisecond();
        let record = |(number, (published, placed)): (usize, &(i64, Option<i64>))| OrderTracking {
            store: "bogota".parse().unwrap(),
            order_id: number.to_string().parse().unwrap(),
            state: OrderState::Published,
            revision: Some(Revision::FIRST),
            reason: Reason::Drained,
            read_id: ReadId::fresh(),
            content_hash: None,
            published_at: now - published * DAY,
            event_partition: None,
            order_created_at: placed.map(|days| now - days * DAY),
        };
        let log = Box::new(Records(records.iter().enumerate().map(record).collect()));
        let keep = Duration::from_secs(90 * 86_400);
        let old = find_old(keep, log, Decoder::new(&ORDER_TRACKING, None), &CancellationToken::new()).unwrap();
        texts(&old.keys).iter().map(|key| key.trim_start_matches("bogota/").to_owned()).collect()
    }

    #[test]
    fn an_order_is_as_old_as_the_later_of_its_record_and_its_date() {
        let today = (0, Some(0));
        assert_eq!(found(&[(91, Some(92)), (91, None), (89, Some(120)), (89, None), today]), ["0", "1"]);
        // Published while the clock was weeks or years behind.
        assert_eq!(found(&[(99, Some(1)), (20_000, Some(89)), (20_000, Some(91)), today]), ["2"]);
        // An absurd date makes nothing older, and an order from the future stays.
        assert_eq!(found(&[(99, Some(-27_000)), (1, Some(20_000)), (99, Some(20_000)), today]), ["2"]);
    }

    #[test]
    fn an_order_from_the_future_does_not_tell_the_time() {
        // This machine's clock is a year ahead: it shows 365 days more than when the last order was placed.
        let newest = (366, Some(366));
        assert_eq!(found(&[(420, Some(420)), newest, (366, Some(-27_000))]), Vec::<String>::new());
        assert_eq!(found(&[(466, Some(466)), newest, (366, Some(-27_000))]), ["0"]);
        // Nor does a clock that was behind: an order published by it is dated in its future.
        assert_eq!(found(&[(500, Some(500)), (480, Some(300))]), Vec::<String>::new());
    }

    struct Records(Vec<OrderTracking>);

    impl TrackingLog for Records {
        fn lane(&self) -> i32 {
            0
        }

        fn position(&self) -> i64 {
            0
        }

        fn read_to_end(&mut self, apply: &mut Apply<'_>) -> Result<(), KafkaFault> {
            for record in &self.0 {
                let (key, value) = (record.key().to_string(), record.to_message(ORDER_TRACKING.frame()));
                if apply(0, key.as_bytes(), Some(&value)).is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_clock_that_runs_ahead_is_not_believed() {
        let shown = |placed, published| LatestTimes { placed, published };
        let (now, ahead) = (1_764_000_000_000, 1_764_000_000_000 + 365 * DAY);
        assert_eq!(shown(Some(now - DAY), Some(now)).at_most(ahead), now - DAY);
        assert_eq!(shown(Some(now - DAY), Some(ahead)).at_most(ahead), now - DAY);
        assert_eq!(shown(None, Some(now)).at_most(ahead), now);
        // An order from the future makes nothing older than it is.
        assert_eq!(shown(Some(ahead), Some(now)).at_most(now), now);
    }
}
