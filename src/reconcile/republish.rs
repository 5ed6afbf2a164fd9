//! Orders that an operator wants to see again: fetched by their IDs and published, whatever is known of them.

use serde::Serialize;

use super::ReconcileError;
use super::ask::Asker;
use super::hand_over::HandOver;
use crate::ids::{OrderId, ReadId, StoreName};
use crate::publish::{LaneHandle, Source};

/// What became of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Republished {
    /// The store.
    pub store: StoreName,
    /// Orders that are published anew.
    pub published: u64,
    /// Those that could not be mapped and are dead letters now.
    pub dead_letters: u64,
    /// Those that the marketplace does not have.
    pub not_found: Vec<OrderId>,
    /// Those that could not be fetched.
    pub failed: Vec<Unfetched>,
}

/// An order that could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unfetched {
    /// Its ID.
    pub order_id: OrderId,
    /// What stood in the way.
    pub why: String,
}

impl Republished {
    /// Whether each order that was asked for is in the orders topic anew.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.dead_letters == 0 && self.not_found.is_empty() && self.failed.is_empty()
    }
}

/// Returns once all that could be fetched is committed.
///
/// # Errors
/// [`ReconcileError::LaneGone`].
pub(super) async fn republish(
    store: &StoreName,
    asker: &Asker,
    lane: &LaneHandle,
    orders: Vec<OrderId>,
) -> Result<Republished, ReconcileError> {
    let mut hand_over = HandOver::new(store, Source::Operator, ReadId::fresh(), lane);
    let (mut not_found, mut failed) = (Vec::new(), Vec::new());
    for id in orders {
        match asker.order(&id).await {
            Ok(answer) => hand_over.take(id, answer).await?,
            Err(error) if error.is_not_found() => not_found.push(id),
            Err(error) => failed.push(Unfetched { order_id: id, why: error.to_string() }),
        }
    }
    let tally = hand_over.settled().await?;
    let (store, published, dead_letters) = (store.clone(), tally.published.total(), tally.dead_letters);
    Ok(Republished { store, published, dead_letters, not_found, failed })
}
