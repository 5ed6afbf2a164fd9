//! The state of a lane, for the drain, which must not read while the lane can't publish, and for metrics and status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A transaction that takes longer than this means a broker in trouble: no reads until it is over.
const STALL: Duration = Duration::from_secs(3);

/// Whether a lane takes work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneState {
    /// Fencing the former owner and loading the index.
    Opening {
        /// Why the last attempt failed.
        why: Option<NotReadyReason>,
    },
    Ready,
    /// In a transaction for too long.
    Stalled,
    Ended,
}

/// What keeps a lane from becoming ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReadyReason {
    /// Whether the cause is the schema registry; otherwise it is Kafka.
    pub registry: bool,
    /// The error message, without secrets.
    pub why: String,
}

/// The lane's end of its state.
#[derive(Debug, Clone)]
pub struct LaneStatus {
    state: watch::Sender<LaneState>,
    /// Wakes those who wait for the lane in the order in which they came.
    changed: Arc<Notify>,
    born: Instant,
    /// Milliseconds after `born` at which the transaction began; 0 while there is none.
    busy_since: Arc<AtomicU64>,
}

pub(super) fn channel() -> (LaneStatus, watch::Receiver<LaneState>, Arc<Notify>) {
    let (state, watched) = watch::channel(LaneState::Opening { why: None });
    let changed = Arc::<Notify>::default();
    (LaneStatus { state, changed: changed.clone(), born: Instant::now(), busy_since: Arc::default() }, watched, changed)
}

impl LaneStatus {
    pub(super) fn set(&self, state: LaneState) {
        self.busy_since.store(0, Ordering::Relaxed);
        self.state.send_if_modified(|current| {
            let changed = *current != state;
            *current = state;
            changed
        });
        self.changed.notify_waiters();
    }

    /// Marks a new attempt to open. Keeps the reason of the last failure until this attempt is over.
    pub(super) fn opening(&self) {
        if !matches!(*self.state.borrow(), LaneState::Opening { .. }) {
            self.set(LaneState::Opening { why: None });
        }
    }

    pub(super) fn busy(&self) {
        self.busy_since.store(self.now(), Ordering::Relaxed);
    }

    /// Whether a transaction is open, or its outcome is.
    pub(super) fn is_busy(&self) -> bool {
        self.busy_since.load(Ordering::Relaxed) != 0
    }

    /// How long the current transaction has been open.
    pub(super) fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now() - since),
        }
    }

    /// The transaction is over.
    pub(super) fn committed(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
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
                    // The transaction may have ended since: nothing would ever set the lane ready again.
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

    /// Milliseconds since `born`, never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}
