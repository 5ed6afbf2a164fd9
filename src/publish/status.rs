//! How a lane fares, for the drain, which must not read into a wall, and for whoever watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Latency, Tally};

/// A transaction that takes longer than this is a broker in trouble: no more reads until it is through.
const STALL: Duration = Duration::from_secs(3);

/// Whether a lane takes work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneState {
    /// Becoming the owner and loading the index.
    Opening {
        /// What went wrong at the last attempt.
        why: Option<String>,
    },
    /// Ready.
    Ready,
    /// In a transaction for too long.
    Stalled,
    /// Gone.
    Ended,
}

/// A lane's own side of its state.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    state: watch::Sender<LaneState>,
    born: Instant,
    /// Milliseconds after `born` at which the transaction was begun; 0 while there is none.
    busy_since: Arc<AtomicU64>,
}

pub(super) fn channel() -> (LaneStatus, watch::Receiver<LaneState>) {
    let (state, watched) = watch::channel(LaneState::Opening { why: None });
    (LaneStatus { state, born: Instant::now(), busy_since: Arc::default() }, watched)
}

impl LaneStatus {
    pub(super) fn set(&self, state: LaneState) {
        self.busy_since.store(0, Ordering::Relaxed);
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
    }

    pub(super) fn busy(&self) {
        self.busy_since.store(self.now(), Ordering::Relaxed);
    }

    /// Since when the present transaction is open.
    pub(super) fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now() - since),
        }
    }

    pub(super) fn idle(&self) {
        self.set(LaneState::Ready);
    }

    pub(super) async fn watch_for_stalls(self) {
        while *self.state.borrow() != LaneState::Ended {
            tokio::time::sleep(STALL / 6).await;
            let since = self.busy_since.load(Ordering::Relaxed);
            if since > 0 && self.now() - since > u64::try_from(STALL.as_millis()).unwrap_or(u64::MAX) {
                let stalled = self.state.send_if_modified(|state| {
                    // It may have come to its end since: nothing would ever call the lane ready again.
                    let still = *state == LaneState::Ready && self.busy_since.load(Ordering::Relaxed) == since;
                    if still {
                        *state = LaneState::Stalled;
                    }
                    still
                });
                if stalled {
                    tracing::warn!("a transaction takes long: no further reads until it is through");
                }
            }
        }
    }

    /// Never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

/// What has been done since the start, over all lanes and stores.
#[derive(Debug, Default)]
pub struct Counters {
    /// Pages in the spool.
    pub pages_read: AtomicU64,
    /// Orders that came with them.
    pub orders_read: AtomicU64,
    /// Orders that the marketplace still holds, as it last said.
    pub pending: AtomicU64,
    /// Reads with an unknown outcome.
    pub unknown_reads: AtomicU64,
    /// Those of them, and of earlier runs', that no pass of the reconciler has settled yet.
    pub unsettled_reads: AtomicU64,
    /// Orders, at least, that such reads marked, and that a pass of the reconciler has looked for in vain. See
    /// [`crate::account`].
    pub unaccounted: AtomicU64,
    /// Such reads of which it is unknown how many orders they lost, after a pass that has looked for them.
    pub unaccounted_reads: AtomicU64,
    /// Listed orders that were neither published nor pending, as the reconciler's passes found them.
    pub missing: AtomicU64,
    /// Those of them that were looked up, whatever came of it.
    pub looked_up: AtomicU64,
    /// Those of them that the marketplace no longer has.
    pub gone: AtomicU64,
    /// Pages that exist in memory alone, since the disk failed under them.
    pub unspooled: AtomicU64,
    /// Events committed.
    pub published: AtomicU64,
    /// Dead letters committed.
    pub dead_letters: AtomicU64,
    /// Orders that needed no event: replayed, or not changed.
    pub skipped: AtomicU64,
    /// From the last byte of a page to its commit.
    pub page_commit: Latency,
    /// When the last commit was seen, in milliseconds since 1970; 0 before the first.
    pub last_commit: AtomicI64,
}

impl Counters {
    pub(super) fn add(&self, tally: Tally) {
        self.published.fetch_add(tally.published, Ordering::Relaxed);
        self.dead_letters.fetch_add(tally.dead_letters, Ordering::Relaxed);
        self.skipped.fetch_add(tally.skipped, Ordering::Relaxed);
        self.gone.fetch_add(tally.gone, Ordering::Relaxed);
    }
}
