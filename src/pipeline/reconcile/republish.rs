//! Publishes orders that somebody names again: fetches them by their IDs and hands them to the lane.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::ask::Asker;
use super::hand_over::HandOver;
use super::{ReconcileError, or_stopped};
use crate::order::ids::{OrderId, ReadIds, StoreName};
use crate::pipeline::publish::{LaneHandle, Source};

/// An order to be published again.
#[derive(Clone)]
pub struct Wanted {
    pub id: OrderId,
    /// An earlier answer that holds the order, in case the marketplace no longer has it. Personal data.
    pub kept: Option<Bytes>,
}

impl From<OrderId> for Wanted {
    fn from(id: OrderId) -> Self {
        Self { id, kept: None }
    }
}

/// What became of the orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Republished {
    pub store: StoreName,
    /// Orders that are published again.
    pub published: u64,
    /// Orders that could not be mapped and are dead letters now.
    pub dead_letters: u64,
    /// Orders that the marketplace does not have.
    pub not_found: Vec<OrderId>,
    /// Orders that could not be fetched.
    pub failed: Vec<Unfetched>,
}

/// An order that could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfetched {
    pub order_id: OrderId,
    pub why: String,
}

impl Republished {
    /// Whether each requested order is in the orders topic again.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.dead_letters == 0 && self.not_found.is_empty() && self.failed.is_empty()
    }
}

/// Publishes orders of one store again. Do not keep it beyond the stop: a lane ends only when its last handle is
/// dropped.
#[derive(Debug, Clone)]
pub struct Republisher {
    pub(super) store: StoreName,
    pub(super) asker: Asker,
    pub(super) lane: LaneHandle,
    pub(super) read_ids: ReadIds,
    pub(super) stop: CancellationToken,
}

impl Republisher {
    /// Returns once every order that could be fetched is committed. `source` determines what is published, and with
    /// which reason: [`Source::Operator`] everything, [`Source::Changes`] only tracked orders that have changed.
    ///
    /// # Errors
    /// [`ReconcileError::LaneGone`], or the stop.
    pub async fn publish(&self, orders: Vec<impl Into<Wanted>>, source: Source) -> Result<Republished, ReconcileError> {
        let orders = orders.into_iter().map(Into::into).collect();
        or_stopped(&self.stop, self.fetch_and_hand_over(orders, source)).await?
    }

    async fn fetch_and_hand_over(&self, orders: Vec<Wanted>, source: Source) -> Result<Republished, ReconcileError> {
        let mut hand_over = HandOver::new(&self.store, source, self.read_ids.fresh(), &self.lane);
        let (mut not_found, mut failed) = (Vec::new(), Vec::new());
        let mut too_busy = None;
        for Wanted { id, kept } in orders {
            if let Some(why) = &too_busy {
                failed.push(Unfetched { order_id: id, why: String::clone(why) });
                continue;
            }
            hand_over.note_request();
            match (self.asker.order(&id).await, kept) {
                (Ok(answer), _) => hand_over.take(id, answer).await?,
                (Err(error), Some(kept)) if error.is_not_found() => hand_over.take(id, kept).await?,
                (Err(error), None) if error.is_not_found() => not_found.push(id),
                (Err(error), _) => {
                    let why = error.to_string();
                    too_busy = error.is_busy().then(|| why.clone());
                    failed.push(Unfetched { order_id: id, why });
                }
            }
        }
        let tally = hand_over.settled().await?;
        let (store, published, dead_letters) = (self.store.clone(), tally.published.total(), tally.dead_letters);
        Ok(Republished { store, published, dead_letters, not_found, failed })
    }
}
