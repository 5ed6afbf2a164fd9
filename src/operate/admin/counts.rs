//! What is counted of a store, as plain numbers that can be summed and subtracted.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::avro::event::Reason;
use crate::pipeline::account::{LossEntry, OpenLoss};
use crate::pipeline::counters::{Published, StoreCounters};

/// The counters of a store, or of many: none ever shrinks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub pages_read: u64,
    pub orders_read: u64,
    /// Committed events, by reason.
    #[serde(serialize_with = "by_reason")]
    pub published: Published,
    /// Orders written to the dead-letter topic.
    pub dead_letters: u64,
    /// Orders that needed no event, because they were known already.
    pub skipped: u64,
    /// Reads that the marketplace refused, by status.
    pub refused: Refused,
    /// Answers that were understood although they are no regular page.
    pub irregular_answers: Irregular,
    pub unknown_reads: u64,
    /// Orders that the marketplace listed and that had not arrived.
    pub missing: u64,
    /// Missing orders that the marketplace no longer has.
    pub gone: u64,
}

/// Refused reads, by the status of the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Status 401.
    #[serde(rename = "401")]
    pub token: u64,
    /// Status 403.
    #[serde(rename = "403")]
    pub start_date: u64,
    /// Any other 4xx status.
    pub other: u64,
}

impl Refused {
    #[must_use]
    pub fn total(self) -> u64 {
        self.token + self.start_date + self.other
    }
}

/// Irregular answers to the destructive read, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Irregular {
    /// Text before or behind the JSON.
    pub noise: u64,
    /// Status 204.
    pub no_content: u64,
    /// Status 404 that means: no orders.
    pub not_found: u64,
    /// A message that means: no orders.
    pub message: u64,
}

impl Counts {
    pub(super) fn of(store: &StoreCounters) -> Self {
        let StoreCounters { refused, irregular, .. } = store;
        Self {
            pages_read: store.pages_read.get(),
            orders_read: store.orders_read.get(),
            published: store.published.get(),
            dead_letters: store.dead_letters.get(),
            skipped: store.skipped.get(),
            refused: Refused {
                token: refused.token.get(),
                start_date: refused.start_date.get(),
                other: refused.other.get(),
            },
            irregular_answers: Irregular {
                noise: irregular.noise.get(),
                no_content: irregular.no_content.get(),
                not_found: irregular.not_found.get(),
                message: irregular.message.get(),
            },
            unknown_reads: store.unknown_reads.get(),
            missing: store.missing.get(),
            gone: store.gone.get(),
        }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, |number, more| number + more)
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.zip(other, |number, less| number - less)
    }

    fn zip(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let (refused, irregular) = (other.refused, other.irregular_answers);
        Self {
            pages_read: combine(self.pages_read, other.pages_read),
            orders_read: combine(self.orders_read, other.orders_read),
            published: self.published.zip(other.published, &combine),
            dead_letters: combine(self.dead_letters, other.dead_letters),
            skipped: combine(self.skipped, other.skipped),
            refused: Refused {
                token: combine(self.refused.token, refused.token),
                start_date: combine(self.refused.start_date, refused.start_date),
                other: combine(self.refused.other, refused.other),
            },
            irregular_answers: Irregular {
                noise: combine(self.irregular_answers.noise, irregular.noise),
                no_content: combine(self.irregular_answers.no_content, irregular.no_content),
                not_found: combine(self.irregular_answers.not_found, irregular.not_found),
                message: combine(self.irregular_answers.message, irregular.message),
            },
            unknown_reads: combine(self.unknown_reads, other.unknown_reads),
            missing: combine(self.missing, other.missing),
            gone: combine(self.gone, other.gone),
        }
    }
}

/// What rises and falls of a store, or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Gauges {
    /// Orders that the marketplace still holds, by its latest answers.
    pub pending: u64,
    /// When a read last returned a page or found nothing pending; of several stores the oldest such time, and null if
    /// one of them never was read.
    pub last_good_read_at: Option<Timestamp>,
    /// When a pass of the reconciler last completed; likewise.
    pub last_reconcile_at: Option<Timestamp>,
    /// Reads of unknown outcome that no pass of the reconciler has settled.
    pub unsettled_unknown_reads: u64,
    /// Orders that reads of unknown outcome have marked and that have not been found. A read that no pass has examined
    /// counts with the most that it can have marked.
    pub unaccounted_orders: u64,
    /// The most orders that such reads can have marked besides, although no listed order is missing.
    pub possibly_unaccounted_orders: u64,
    /// How long the marketplace still lists the missing orders that fall out of its list first.
    pub unaccounted_window_seconds: Option<u64>,
}

impl Gauges {
    pub(super) fn of(store: &StoreCounters, account: &[LossEntry], at: Timestamp) -> Self {
        let open = || account.iter().filter(|entry| open_orders(entry) > 0);
        Self {
            pending: store.pending.get(),
            last_good_read_at: store.last_drained.get(),
            last_reconcile_at: store.last_pass().map(|pass| pass.at),
            unsettled_unknown_reads: store.unsettled_reads.get(),
            unaccounted_orders: open().map(open_orders).sum(),
            possibly_unaccounted_orders: account.iter().map(possible_orders).sum(),
            unaccounted_window_seconds: open().map(|entry| seconds(at, entry.listed_until)).min(),
        }
    }

    /// Those of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let windows = [self.unaccounted_window_seconds, other.unaccounted_window_seconds];
        Self {
            pending: self.pending + other.pending,
            // No time at all is earlier than any.
            last_good_read_at: self.last_good_read_at.min(other.last_good_read_at),
            last_reconcile_at: self.last_reconcile_at.min(other.last_reconcile_at),
            unsettled_unknown_reads: self.unsettled_unknown_reads + other.unsettled_unknown_reads,
            unaccounted_orders: self.unaccounted_orders + other.unaccounted_orders,
            possibly_unaccounted_orders: self.possibly_unaccounted_orders + other.possibly_unaccounted_orders,
            unaccounted_window_seconds: windows.into_iter().flatten().min(),
        }
    }
}

/// Orders certainly missing. If no pass has examined the read yet, the most that it can have lost.
fn open_orders(entry: &LossEntry) -> u64 {
    match entry.open {
        OpenLoss::Nothing | OpenLoss::UnknownUpTo(_) => 0,
        OpenLoss::AtLeast(orders) => orders,
        OpenLoss::NotLookedFor => entry.marked.at_most.saturating_sub(entry.found),
    }
}

fn possible_orders(entry: &LossEntry) -> u64 {
    if let OpenLoss::UnknownUpTo(orders) = entry.open { orders } else { 0 }
}

/// Whole seconds from `from` to `to`, or 0 if `to` is earlier.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0)
}

fn by_reason<S: Serializer>(published: &Published, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Reason::WRITTEN.map(|reason| (reason.as_str().to_lowercase(), published.of(reason))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_stores_the_one_that_was_never_read_is_what_counts_and_the_least_time_that_is_left() {
        let store = StoreCounters::default();
        store.pending.set(2);
        let never = Gauges::of(&store, &[], Timestamp::UNIX_EPOCH);
        store.last_drained.now();
        let read = Gauges { unaccounted_window_seconds: Some(7), ..Gauges::of(&store, &[], Timestamp::UNIX_EPOCH) };
        assert!(read.last_good_read_at.is_some());
        for both in [never.with(read), read.with(never)] {
            assert_eq!((both.pending, both.last_good_read_at, both.unaccounted_window_seconds), (4, None, Some(7)));
        }
    }
}
