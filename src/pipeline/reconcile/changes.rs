//! Orders that changed after they were published: paid, cancelled, sent. The marketplace never reports them again, so each
//! one that is listed is asked for, at a rate that the marketplace can bear, and what says something else than before is
//! published as the next revision.

use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::ask::Asker;
use super::hand_over::HandOver;
use super::{ReconcileError, or_stopped};
use crate::order::ids::{OrderId, OrderIds, ReadId, StoreName};
use crate::pipeline::counters::Tally;
use crate::pipeline::publish::{LaneHandle, Source};

/// Orders in a row that could not be had, after which the others are left to the next round.
const MAX_FAILURES: u32 = 16;

/// Looks for changes in one store's orders.
#[derive(Clone)]
pub(super) struct Changes {
    pub(super) store: StoreName,
    pub(super) asker: Asker,
    pub(super) lane: LaneHandle,
    /// Requests a second at most.
    pub(super) per_second: u16,
    pub(super) stop: CancellationToken,
}

/// What a round saw.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    /// What became of those that were found.
    pub(super) tally: Tally,
    /// Orders that the marketplace lists and no longer gives.
    pub(super) not_found: u64,
    /// Orders that could not be had, or were not asked for since those before them could not.
    pub(super) failed: u64,
}

impl Changes {
    /// Goes through the newest list, then through the newest again, until no more can come or the stop is asked for.
    /// Beside the passes of the reconciler and not in them: a round takes hours where a store has many orders.
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

    /// Asks for each order once.
    ///
    /// # Errors
    /// See [`ReconcileError`].
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
        let mut hand_over = HandOver::new(&self.store, Source::Changes, ReadId::fresh(), &self.lane);
        let period = Duration::from_secs(1) / u32::from(self.per_second.max(1));
        // The round before may have asked a moment ago.
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut not_found, mut failed, mut failures) = (0, 0, 0);
        let mut ids = listed.iter().map(OrderId::from);
        for id in ids.by_ref() {
            ticks.tick().await;
            hand_over.asking();
            match self.asker.order(&id).await {
                Ok(answer) => {
                    failures = 0;
                    hand_over.take(id, answer).await?;
                }
                // It was sold, and what is published of it stays true.
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
