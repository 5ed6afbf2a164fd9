//! The orders that were published last, for people who want to see orders come in. Nothing personal is among them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::avro::event::{Reason, Revision};
use crate::order::amount::Amount;
use crate::order::ids::{OrderId, StoreName};

/// An order as it was published.
#[derive(Clone, PartialEq, Eq)]
pub struct RecentOrder {
    pub store: StoreName,
    pub order_id: OrderId,
    pub revision: Revision,
    pub reason: Reason,
    /// As in the event.
    pub total: Option<Amount>,
    pub currency: String,
    /// As in the tracking record.
    pub published_at: Timestamp,
}

/// Shows only what identifies the event: a log must not tell for how much somebody bought.
impl fmt::Debug for RecentOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, order_id, revision, reason, .. } = self;
        write!(f, "RecentOrder({store}/{order_id}, revision {revision}, {})", reason.as_str())
    }
}

/// The last orders that were seen to be committed, of all lanes.
#[derive(Debug, Default)]
pub struct RecentOrders(Mutex<VecDeque<RecentOrder>>);

impl RecentOrders {
    /// How many are kept. Of a transaction, no more than that need be noted.
    pub const KEPT: usize = 50;

    /// Notes the orders of a committed transaction, the oldest first.
    pub fn note(&self, orders: Vec<RecentOrder>) {
        let mut kept = self.lock();
        kept.extend(orders);
        let excess = kept.len().saturating_sub(Self::KEPT);
        kept.drain(..excess);
    }

    /// The newest first.
    #[must_use]
    pub fn newest_first(&self) -> Vec<RecentOrder> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<RecentOrder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::clock;

    fn orders(numbers: std::ops::Range<usize>) -> Vec<RecentOrder> {
        let order = |number: usize| RecentOrder {
            store: "bogota".parse().unwrap(),
            order_id: number.to_string().parse().unwrap(),
            revision: Revision::FIRST,
            reason: Reason::Drained,
            total: None,
            currency: "COP".to_owned(),
            published_at: clock::now(),
        };
        numbers.map(order).collect()
    }

    fn ids(recent: &RecentOrders) -> Vec<usize> {
        recent.newest_first().iter().map(|order| order.order_id.as_str().parse().unwrap()).collect()
    }

    #[test]
    fn the_last_orders_are_kept_and_the_newest_comes_first() {
        let recent = RecentOrders::default();
        recent.note(orders(0..3));
        recent.note(Vec::new());
        recent.note(orders(3..5));
        assert_eq!(ids(&recent), [4, 3, 2, 1, 0]);
        recent.note(orders(5..52));
        assert_eq!(ids(&recent), (2..52).rev().collect::<Vec<_>>());
        recent.note(orders(100..400));
        assert_eq!(ids(&recent), (350..400).rev().collect::<Vec<_>>());
    }
}
