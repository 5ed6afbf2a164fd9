//! Orders that another instance has published since this instance last took the lane over.
//!
//! A page that this instance left in its spool when it lost the lane is older than what others published of the same
//! orders since: they read those orders later, or fetched them because the page was missing. To publish the page as well
//! would let an older content follow a newer one, and make one request of the seller two events. What came after what is
//! told by the tracking topic, whose offsets all instances share, and by no clock: this instance's reads for the lane
//! began after the offset at which it took the lane over, and the fence lets nobody else publish before it is lost.

use std::collections::HashSet;

use crate::order::ids::{ReadId, ReadIds};
use crate::pipeline::index::Fingerprint;

/// The orders of one lane.
#[derive(Debug)]
pub(super) struct Superseded {
    /// Where the lane ended when this instance took it over. `None` if it never shared the lane.
    since: Option<i64>,
    ours: ReadIds,
    orders: HashSet<Fingerprint>,
    /// Whether another instance has published since, which need not have left an order in it.
    has_others: bool,
    tells: bool,
    is_lost: bool,
}

impl Superseded {
    pub(super) fn new(since: Option<i64>, ours: ReadIds) -> Self {
        Self { since, ours, orders: HashSet::new(), has_others: false, tells: since.is_some(), is_lost: false }
    }

    /// Takes note of a tracking record. `read`: what brought the order; none for a tombstone.
    pub(super) fn see(&mut self, offset: i64, order: Fingerprint, read: Option<ReadId>) {
        if self.since.is_none_or(|since| offset < since) {
            return;
        }
        // guard: a page that was left is no news where another instance has published since
        if read.is_some_and(|read| !self.ours.made(read)) {
            self.orders.insert(order);
            self.has_others = true;
        } else {
            self.orders.remove(&order);
        }
    }

    fn has(&self, order: Fingerprint) -> bool {
        self.orders.contains(&order)
    }

    /// Whether offsets tell what a page is older than. Otherwise only clocks do.
    pub(super) fn tells(&self) -> bool {
        self.tells
    }

    /// Whether another instance has published since this one last took the lane over.
    pub(super) fn has_others(&self) -> bool {
        self.has_others
    }

    /// This instance takes the lane over, which ends at this offset. Nothing is left of an earlier time.
    pub(super) fn take_over(&mut self, end: i64) {
        (self.since, self.tells, self.is_lost) = (Some(end), true, false);
        (self.orders, self.has_others) = (HashSet::new(), false);
    }

    /// Whether the lane is another instance's by now, and this one only publishes what exists in its memory alone. Then
    /// what it read itself is as old as what is left in a spool.
    pub(super) fn set_lost(&mut self, is_lost: bool) {
        self.is_lost = is_lost;
    }

    /// Whether a page holds no news of the order. `is_left`: it was found in the spool.
    pub(super) fn is_older(&self, is_left: bool, order: Fingerprint) -> bool {
        (is_left || self.is_lost) && self.has(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_instance_published_last_since_the_takeover_counts() {
        let (ours, other) = (ReadIds::like(ReadId::fresh()), ReadId::fresh());
        let order = |name: &str| Fingerprint::of(name.as_bytes());
        let mut superseded = Superseded::new(Some(10), ours);
        superseded.see(9, order("before"), Some(other));
        superseded.see(10, order("theirs"), Some(other));
        superseded.see(11, order("ours"), Some(other));
        superseded.see(12, order("ours"), Some(ours.fresh()));
        superseded.see(13, order("gone"), Some(other));
        superseded.see(14, order("gone"), None);
        assert_eq!(
            ["before", "theirs", "ours", "gone"].map(|name| superseded.has(order(name))),
            [false, true, false, false]
        );
        assert!(superseded.has_others());
        superseded.take_over(14);
        assert!(!superseded.has_others());
        let mut alone = Superseded::new(None, ours);
        alone.see(10, order("theirs"), Some(other));
        assert!(!alone.has(order("theirs")) && !alone.has_others());
    }
}
