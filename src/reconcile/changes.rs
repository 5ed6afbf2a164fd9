//! Orders that changed after they were published: paid, cancelled, sent. The marketplace never reports them again, so each
//! one that is listed is asked for, at a rate that the marketplace can bear, and what says something else than before is
//! published as the next revision.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::ask::Asker;
use super::hand_over::HandOver;
use super::{ReconcileError, or_stopped};
use crate::ids::{OrderId, OrderIds, ReadId, StoreName};
use crate::publish::{LaneHandle, Source, Tally};
use crate::shutdown::Stop;

/// Orders in a row that could not be had, after which the others are left to the next round.
const PATIENCE: u32 = 16;

/// Looks for changes in one store's orders.
#[derive(Clone)]
pub(super) struct Changes {
    pub(super) store: StoreName,
    pub(super) asker: Asker,
    pub(super) lane: LaneHandle,
    /// Requests a second at most.
    pub(super) per_second: u16,
    pub(super) stop: Stop,
}

impl Changes {
    /// Goes through each list that comes, until no more can come or the stop is asked for. Beside the passes of the
    /// reconciler and not in them: a round takes hours where a store has many orders.
    pub(super) async fn run(self, mut lists: mpsc::Receiver<OrderIds>) {
        while let Some(listed) = lists.recv().await {
            match self.round(listed).await {
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
    pub(super) async fn round(&self, listed: OrderIds) -> Result<Tally, ReconcileError> {
        let mut stop = self.stop.clone();
        let tally = or_stopped(&mut stop, self.ask_for_each(listed)).await??;
        let orders = tally.published.total();
        if orders > 0 {
            tracing::info!(store = %self.store, orders, "orders had changed and are published anew");
        }
        Ok(tally)
    }

    async fn ask_for_each(&self, listed: OrderIds) -> Result<Tally, ReconcileError> {
        let mut hand_over = HandOver::new(&self.store, Source::Changes, ReadId::fresh(), &self.lane);
        let mut ticks = interval(Duration::from_secs(1) / u32::from(self.per_second.max(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0;
        for id in listed.iter().map(OrderId::from) {
            ticks.tick().await;
            match self.asker.order(&id).await {
                Ok(answer) => {
                    failures = 0;
                    hand_over.take(id, answer).await?;
                }
                // It was sold, and what is published of it stays true.
                Err(error) if error.is_not_found() => tracing::debug!(store = %self.store, order = %id, "not found"),
                Err(error) => {
                    failures += if error.needs_a_person() { PATIENCE } else { 1 };
                    tracing::debug!(store = %self.store, order = %id, %error, "can't be had");
                    if failures >= PATIENCE {
                        tracing::warn!(store = %self.store, %error, "orders can't be looked at for changes now");
                        break;
                    }
                }
            }
        }
        hand_over.settled().await
    }
}
