//! What has been done since the start, and when: noted by whoever does it, read by whoever watches. Nobody waits for
//! anybody here: a number is one atomic, and each task holds those of its own store or lane.
//!
//! They outlive the parts that count: a reload starts those anew and goes on counting. Numbers of one moment may be a few
//! orders apart from each other, for they are not read all at once.

mod latency;
mod number;
mod published;
mod summary;
mod tally;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jiff::Timestamp;

use crate::marketplace::client::Refusal;
use crate::order::ids::StoreName;
use crate::platform::clock;

pub use latency::Latency;
pub use number::{Number, Time};
pub use published::Published;
pub use summary::PassSummary;
pub use tally::Tally;
pub use trouble::{LastTrouble, Trouble};

/// Over all stores and lanes.
#[derive(Debug, Default)]
pub struct Counters {
    stores: RwLock<BTreeMap<StoreName, Arc<StoreCounters>>>,
    lanes: RwLock<BTreeMap<i32, Arc<LaneCounters>>>,
    /// Orders, at least, that reads of unknown outcome marked, and that a pass of the reconciler has looked for in vain.
    /// See [`crate::pipeline::account`].
    pub unaccounted: Number,
    /// Reads that have possibly lost orders, after a pass that found nothing missing.
    pub unaccounted_reads: Number,
    /// How many orders those reads can have lost at most.
    pub possibly_unaccounted: Number,
    /// From the last byte of a page to its commit.
    pub page_commit: Latency,
    /// When the last commit was seen.
    pub last_commit: Time,
}

/// Of one store.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// Pages in the spool.
    pub pages_read: Number,
    /// Orders that came with them.
    pub orders_read: Number,
    /// Orders that the marketplace still holds, as it last said.
    pub pending: Number,
    /// When a read last brought a page, or found nothing pending.
    pub last_drained: Time,
    /// Why no read brought a page, or found nothing pending, since.
    pub not_read: LastTrouble,
    /// Why no pass of the reconciler came to its end since.
    pub not_reconciled: LastTrouble,
    /// Reads that the marketplace refused.
    pub refused: RefusedReads,
    /// Answers that were understood, and are no page as it should be.
    pub irregular: IrregularAnswers,
    /// Reads with an unknown outcome.
    pub unknown_reads: Number,
    /// Those of them, and of earlier runs', that no pass of the reconciler has settled yet.
    pub unsettled_reads: Number,
    /// Listed orders that were neither published nor pending, as the reconciler's passes found them.
    pub missing: Number,
    /// Those of them that were looked up, whatever came of it.
    pub looked_up: Number,
    /// Those of them that the marketplace no longer has.
    pub gone: Number,
    /// Pages that exist in memory alone, since the disk failed under them.
    pub unspooled: Number,
    /// Events committed.
    pub published: published::Numbers,
    /// Dead letters committed.
    pub dead_letters: Number,
    /// Orders that needed no event: replayed, or not changed.
    pub skipped: Number,
    last_pass: Mutex<Option<LastPass>>,
}

/// Refused reads, by what the marketplace answered.
#[derive(Debug, Default)]
pub struct RefusedReads {
    /// 401: the token.
    pub token: Number,
    /// 403: the start date.
    pub start_date: Number,
    /// Any other status of 4xx, and any that something in front of the marketplace answered.
    pub other: Number,
}

/// Answers to the destructive read by what is odd about them.
#[derive(Debug, Default)]
pub struct IrregularAnswers {
    /// A page with something beside the JSON.
    pub noise: Number,
    /// 204 in the place of a page without orders.
    pub no_content: Number,
    /// 404 in its place.
    pub not_found: Number,
    /// A message in its place.
    pub message: Number,
}

/// Of one lane.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// Transactions whose commit was seen.
    pub committed: Number,
    /// Transactions whose outcome was open when they were given up: what they held was decided anew.
    pub failed: Number,
    /// When the last commit was seen.
    pub last_commit: Time,
    /// Orders in the index.
    pub index_orders: Number,
}

/// A pass of the reconciler that came to its end.
#[derive(Debug, Clone)]
pub struct LastPass {
    /// When it was over.
    pub at: Timestamp,
    /// What it did.
    pub summary: PassSummary,
}

impl Counters {
    /// From now on these are the stores; what was counted for others is forgotten, and what was counted for these stays.
    pub fn set_stores<'a>(&self, names: impl IntoIterator<Item = &'a StoreName>) {
        let names: BTreeSet<_> = names.into_iter().collect();
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|name, _| names.contains(name));
        for name in names {
            stores.entry(name.clone()).or_default();
        }
    }

    /// A store's own.
    #[must_use]
    pub fn store(&self, name: &StoreName) -> Arc<StoreCounters> {
        self.stores.write().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone()
    }

    /// A lane's own.
    #[must_use]
    pub fn lane(&self, lane: i32) -> Arc<LaneCounters> {
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).entry(lane).or_default().clone()
    }

    /// All stores.
    #[must_use]
    pub fn stores(&self) -> BTreeMap<StoreName, Arc<StoreCounters>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All lanes.
    #[must_use]
    pub fn lanes(&self) -> BTreeMap<i32, Arc<LaneCounters>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A number over all stores.
    #[must_use]
    pub fn total(&self, number: impl Fn(&StoreCounters) -> u64) -> u64 {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).values().map(|store| number(store)).sum()
    }
}

impl StoreCounters {
    /// What became of a piece of work.
    pub fn add(&self, tally: Tally) {
        self.published.add(tally.published);
        self.dead_letters.add(tally.dead_letters);
        self.skipped.add(tally.skipped);
        self.gone.add(tally.gone);
    }

    /// Orders whose fate is committed.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.published.total() + self.dead_letters.get() + self.skipped.get()
    }

    /// A pass is over.
    pub fn reconciled(&self, summary: PassSummary) {
        self.not_reconciled.clear();
        *self.last_pass.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastPass { at: clock::now(), summary });
    }

    /// The last pass that came to its end.
    #[must_use]
    pub fn last_pass(&self) -> Option<LastPass> {
        self.last_pass.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RefusedReads {
    /// Counts one.
    pub fn count(&self, refusal: &Refusal) {
        match refusal {
            Refusal::Token => &self.token,
            Refusal::StartDate => &self.start_date,
            Refusal::InFront(_) | Refusal::NotFound | Refusal::Status(_) => &self.other,
        }
        .add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::event::Reason;

    fn name(text: &str) -> StoreName {
        text.parse().unwrap()
    }

    #[test]
    fn stores_count_for_themselves_and_sum_up() {
        let counters = Counters::default();
        counters.store(&name("bogota")).pending.set(3);
        counters.store(&name("cdmx")).pending.set(4);
        assert_eq!(counters.total(|store| store.pending.get()), 7);
        counters.store(&name("cdmx")).pending.set(0);
        assert_eq!(counters.store(&name("bogota")).pending.get(), 3);
    }

    #[test]
    fn other_stores_after_a_reload_leave_the_counts_of_those_that_stay() {
        let counters = Counters::default();
        let (bogota, cdmx, quito) = (name("bogota"), name("cdmx"), name("quito"));
        counters.set_stores([&bogota, &cdmx]);
        counters.store(&cdmx).orders_read.add(30);
        counters.set_stores([&cdmx, &quito]);
        assert_eq!(counters.stores().keys().cloned().collect::<Vec<_>>(), [cdmx.clone(), quito]);
        assert_eq!(counters.store(&cdmx).orders_read.get(), 30);
    }

    #[test]
    fn events_are_counted_by_their_reasons() {
        let store = StoreCounters::default();
        let mut tally = Tally { dead_letters: 1, ..Tally::default() };
        for reason in [Reason::Drained, Reason::Drained, Reason::Updated] {
            tally.published.count(reason);
        }
        store.add(tally);
        store.add(tally);
        assert_eq!(store.published.get().of(Reason::Drained), 4);
        assert_eq!(store.published.get().of(Reason::Updated), 2);
        assert_eq!((store.published.get().total(), store.dead_letters.get()), (6, 2));
    }
}
