//! Compares what the marketplace handed over with what a consumer saw. Pure.

use std::collections::HashMap;

use serde::Serialize;

use crate::avro::event::{OrderEvent, Reason};
use crate::sandbox::OrderState;

/// Counts the events that the consumer saw.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Number of events by order ID.
    seen: HashMap<String, u64>,
    events: u64,
    reconciled: u64,
}

/// Whether orders were lost or doubled, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Orders in the shop.
    pub orders: u64,
    /// Orders that no read has marked: they are safe, and still to come.
    pub pending: u64,
    /// Events that the consumer saw.
    pub events: u64,
    /// Orders that were marked as handed over and of which no event was seen.
    pub lost: u64,
    /// Events beyond one for each time that the marketplace handed an order over.
    pub doubled: u64,
}

impl Ledger {
    /// Counts an event.
    pub fn note(&mut self, event: &OrderEvent) {
        self.enter(&event.order_id);
        self.reconciled += u64::from(event.reason == Reason::Reconciled);
    }

    fn enter(&mut self, order_id: &str) {
        self.events += 1;
        match self.seen.get_mut(order_id) {
            Some(count) => *count += 1,
            None => drop(self.seen.insert(order_id.to_owned(), 1)),
        }
    }

    /// Number of events.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Number of events that the reconciler published.
    #[must_use]
    pub fn reconciled(&self) -> u64 {
        self.reconciled
    }

    /// Compares the events with all orders of the shop.
    #[must_use]
    pub fn verdict(&self, shop: &[OrderState]) -> Verdict {
        let mut verdict = Verdict { orders: shop.len() as u64, pending: 0, events: self.events, lost: 0, doubled: 0 };
        for order in shop {
            let seen = order.id.as_ref().and_then(|id| self.seen.get(id.as_str())).copied().unwrap_or(0);
            // The reconciler may find an order that no read returned: it counts as handed over once.
            let asked_for = order.marked_by.as_ref().map_or(1, |marked| marked.len().max(1) as u64);
            verdict.pending += u64::from(order.pending);
            verdict.lost += u64::from(!order.pending && seen == 0);
            verdict.doubled += seen.saturating_sub(asked_for);
        }
        verdict
    }
}

impl Verdict {
    /// Whether nothing was lost and nothing doubled.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn order(id: u32, marked_by: &[u64]) -> OrderState {
        OrderState {
            id: Some(id.to_string().parse().unwrap()),
            pending: marked_by.is_empty(),
            marked_by: (!marked_by.is_empty()).then(|| marked_by.to_vec()),
            deliveries: Vec::new(),
            delivered: None,
            created: Timestamp::UNIX_EPOCH,
        }
    }

    fn ledger(seen: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        seen.iter().for_each(|id| ledger.enter(id));
        ledger
    }

    #[test]
    fn an_order_that_was_marked_and_not_seen_is_lost_and_one_that_is_pending_is_not() {
        let verdict = ledger(&["1"]).verdict(&[order(1, &[1]), order(2, &[1]), order(3, &[])]);
        assert_eq!(verdict, Verdict { orders: 3, pending: 1, events: 1, lost: 1, doubled: 0 });
        assert!(!verdict.is_clean());
    }

    #[test]
    fn an_order_may_be_seen_as_often_as_the_seller_asked_for_it_and_no_oftener() {
        let verdict = ledger(&["1", "1", "2", "2", "2"]).verdict(&[order(1, &[1, 5]), order(2, &[1])]);
        assert_eq!(verdict, Verdict { orders: 2, pending: 0, events: 5, lost: 0, doubled: 2 });
        assert!(!verdict.is_clean());
        assert!(ledger(&["1", "1"]).verdict(&[order(1, &[1, 5])]).is_clean());
    }
}
