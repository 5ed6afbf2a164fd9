//! Finds orders that changed after they were published: paid, cancelled, sent. The marketplace never reports such
//! changes. So each listed order is fetched again, at a rate that the marketplace can bear, and a changed one is
//! published as the next revision.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::ask::Asker;
use super::hand_over::HandOver;
use super::{ReconcileError, or_stopped};
use crate::order::ids::{OrderId, OrderIds, ReadIds, StoreName};
use crate::pipeline::counters::Tally;
use crate::pipeline::publish::{LaneHandle, Source};

/// Number of consecutive failures after which the remaining orders are left to the next round.
const MAX_FAILURES: u32 = 16;

/// Checks one store's orders for changes.
#[derive(Clone)]
pub(super) struct Changes {
    pub(super) store: StoreName,
    pub(super) asker: Asker,
    pub(super) lane: LaneHandle,
    /// Maximum requests per second.
    pub(super) per_second: u16,
    pub(super) read_ids: ReadIds,
    pub(super) stop: CancellationToken,
}

/// The result of a round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    /// What became of the orders that were found.
    pub(super) tally: Tally,
    /// Orders that the marketplace lists but no longer has.
    pub(super) not_found: u64,
    /// Orders that could not be fetched, or were skipped after too many failures.
    pub(super) failed: u64,
}

impl Changes {
    /// Goes through the newest list again and again, until no further list can come or the stop. Runs beside the
    /// reconciler's passes: with many orders a round takes hours.
    pub(super) async fn run(self, mut lists: watch::Receiver<Arc<OrderIds>>) {
        while lists.changed().await.is_ok() {
            let listed = lists.borrow_and_update().clone();
            match self.round(&listed).await {
                Ok(_) => {}
                Err(error) if error.is_the_end() => return,
                Err(error) => tracing::warn!(store = %self.store, %error, "could not look for changed orders"),
            }
        }
    }

    /// Fetches each order once.
    pub(super) async fn round(&self, listed: &OrderIds) -> Result<Round, ReconcileError> {
        let round = or_stopped(&self.stop, self.ask_for_each(listed)).await??;
        let Round { tally: Tally { published, dead_letters, .. }, not_found, .. } = round;
        let published = published.total();
        if published + dead_letters + not_found > 0 {
            tracing::info!(store = %self.store, published, dead_letters, not_found, "looked for orders that have changed");
        }
        Ok(round)
    }

    async fn ask_for_each(&self, listed: &OrderIds) -> Result<Round, ReconcileError> {
        let mut hand_over = HandOver::new(&self.store, Source::Changes, self.read_ids.fresh(), &self.lane);
        let period = Duration::from_secs(1) / u32::from(self.per_second.max(1));
        // The previous round may have sent a request a moment ago.
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut not_found, mut failed, mut failures) = (0, 0, 0);
        let mut ids = listed.iter().map(OrderId::from);
        for id in ids.by_ref() {
            ticks.tick().await;
            hand_over.note_request();
            match self.asker.order(&id).await {
                Ok(answer) => {
                    failures = 0;
                    hand_over.take(id, answer).await?;
                }
                // The order was sold, and its published event stays true.
                Err(error) if error.is_not_found() => {
                    failures = 0;
                    not_found += 1;
                }
                Err(error) => {
                    failed += 1;
                    failures += if error.is_hopeless() { MAX_FAILURES } else { 1 };
                    tracing::debug!(store = %self.store, order = %id, %error, "can't be had");
                    if failures >= MAX_FAILURES {
                        tracing::warn!(store = %self.store, %error, "orders can't be looked at for changes now");
                        break;
                    }
                }
            }
        }
        failed += ids.count() as u64;
        Ok(Round { tally: hand_over.settled().await?, not_found, failed })
    }
}
