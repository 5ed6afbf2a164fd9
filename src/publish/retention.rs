//! Tracking records past their time: found by reading the partition beside the lane's work, and replaced by tombstones in
//! the lane's transactions, a few at a time.
//!
//! The marketplace gives an order back for 30 days at most, and the retention is longer than that: what is forgotten here
//! can't come again, which is why it may be forgotten at all.

use std::mem;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::LaneError;
use crate::decoder::Decoder;
use crate::index::{Index, Moment};
use crate::kafka::tracking_reader::TrackingReader;
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
    runtime: Handle,
    /// Keys whose record was too old when it was read.
    found: Vec<Vec<u8>>,
    scan: Option<JoinHandle<Result<Vec<Vec<u8>>, LaneError>>>,
    next_scan: Instant,
    next_idle: Instant,
}

impl Retention {
    pub(super) fn new(keep: Duration, runtime: Handle) -> Self {
        let now = Instant::now();
        Self { keep, runtime, found: Vec::new(), scan: None, next_scan: now, next_idle: now }
    }

    /// Whether an idle lane should make a transaction for tombstones alone. Looks for more when it is time.
    pub(super) fn is_due(&mut self, scan: impl FnOnce() -> (TrackingReader, Decoder)) -> bool {
        let now = Instant::now();
        if self.scan.as_ref().is_some_and(JoinHandle::is_finished) {
            self.take_found();
        } else if self.scan.is_none() && now >= self.next_scan {
            let (reader, decoder) = scan();
            let (before, runtime) = (self.before(), self.runtime.clone());
            self.scan = Some(self.runtime.spawn_blocking(move || older_than(before, reader, decoder, &runtime)));
            self.next_scan = now + BETWEEN_SCANS;
        }
        let due = !self.found.is_empty() && now >= self.next_idle;
        if due {
            self.next_idle = now + IDLE_PAUSE;
        }
        due
    }

    fn take_found(&mut self) {
        let Some(scan) = self.scan.take() else { return };
        match self.runtime.block_on(scan) {
            Ok(Ok(found)) => {
                if !found.is_empty() {
                    tracing::info!(records = found.len(), "tracking records are past their retention and are removed");
                }
                self.found = found;
            }
            Ok(Err(error)) => tracing::warn!(%error, "could not look for tracking records past their retention"),
            Err(_) => tracing::error!("looking for old tracking records ended unexpectedly: please report this"),
        }
    }

    /// Some keys to be forgotten now. What the index says counts: an order may have been published anew since.
    pub(super) fn take(&mut self, index: &Index, in_transaction: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let rest = self.found.split_off(self.found.len().min(AT_ONCE));
        let before = Moment::from(self.before());
        let is_old = |key: &Vec<u8>| index.get_by_text(key).is_some_and(|entry| entry.at < before);
        mem::replace(&mut self.found, rest).into_iter().filter(|key| is_old(key) && !in_transaction(key)).collect()
    }

    fn before(&self) -> Timestamp {
        Timestamp::now().checked_sub(self.keep).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Blocks, for as long as it takes to read the partition.
fn older_than(
    before: Timestamp,
    mut reader: TrackingReader,
    mut decoder: Decoder,
    runtime: &Handle,
) -> Result<Vec<Vec<u8>>, LaneError> {
    let mut found = Vec::new();
    reader.read_to_end(|key, value| {
        if let Some(value) = value.filter(|_| found.len() < FOUND_AT_MOST) {
            let tracking = runtime.block_on(decoder.decode::<OrderTracking>(value))?;
            if tracking.published_at < before.as_millisecond() {
                found.push(key.to_vec());
            }
        }
        Ok::<_, LaneError>(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ContentHash, Reason, Revision};
    use crate::ids::ReadId;
    use crate::index::{Entry, State};

    fn published(days_ago: i64) -> Entry {
        Entry {
            revision: Some(Revision::FIRST),
            state: State::Published,
            reason: Reason::Drained,
            read: ReadId::fresh().into(),
            content: ContentHash::of_bytes(b"x").into(),
            at: Moment::from_millis(Timestamp::now().as_millisecond() - days_ago * 86_400_000),
        }
    }

    #[tokio::test]
    async fn only_what_is_still_old_and_not_in_the_transaction_is_forgotten_and_a_few_at_a_time() {
        let mut index = Index::default();
        let keys: Vec<Vec<u8>> = (0..AT_ONCE + 5).map(|number| format!("bogota/{number}").into_bytes()).collect();
        for key in &keys {
            index.apply(key, Some(published(91)));
        }
        index.apply(&keys[0], Some(published(1)));
        index.apply(&keys[1], None);
        let mut retention = Retention::new(Duration::from_secs(90 * 86_400), Handle::current());
        retention.found = keys.clone();
        let first = retention.take(&index, |key| key == keys[2]);
        assert_eq!(first, keys[3..AT_ONCE]);
        assert_eq!(retention.take(&index, |_| false), keys[AT_ONCE..]);
        assert_eq!(retention.take(&index, |_| false), Vec::<Vec<u8>>::new());
    }
}
