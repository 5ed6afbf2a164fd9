//! Counters and times since the start, written by the tasks and read by metrics and status. They never block: each
//! number is one atomic, and each task holds those of its own store or lane. What is no number has a lock that is held
//! for a moment.
//!
//! Counters outlive the parts that count: a reload restarts the parts and keeps the counters. Numbers are not read all
//! at once, so they may differ by a few orders.

mod latency;
mod number;
mod published;
mod recent;
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
pub use number::{Number, Start, Time};
pub use published::Published;
pub use recent::{RecentOrder, RecentOrders};
pub use summary::PassSummary;
pub use tally::Tally;
pub use trouble::{FailedTries, LastTrouble, Trouble};

/// Counters over all stores and lanes.
#[derive(Debug, Default)]
pub struct Counters {
    stores: RwLock<Stores>,
    lanes: RwLock<BTreeMap<i32, Arc<LaneCounters>>>,
    /// Minimum number of orders that reads of unknown outcome marked and that a reconciler pass did not find. See
    /// [`crate::pipeline::account`].
    pub unaccounted: Number,
    /// Reads that possibly lost orders, after a pass that found nothing missing.
    pub unaccounted_reads: Number,
    /// Maximum number of orders that those reads lost.
    pub possibly_unaccounted: Number,
    /// Time from the last byte of a page to its commit.
    pub page_commit: Latency,
    pub last_commit: Time,
    pub recent: RecentOrders,
}

/// The counters of all stores.
#[derive(Debug, Default)]
struct Stores {
    current: BTreeMap<StoreName, Arc<StoreCounters>>,
    /// Stores that are no longer among the settings. Pages of theirs may still be published, and no sum over all stores
    /// may ever shrink.
    removed: BTreeMap<StoreName, Arc<StoreCounters>>,
}

/// Counters of one store.
#[derive(Debug, Default)]
pub struct StoreCounters {
    /// When the counting began.
    pub since: Start,
    /// Pages made durable in the spool.
    pub pages_read: Number,
    /// Orders in those pages.
    pub orders_read: Number,
    /// Orders that the marketplace still holds, as it last reported.
    pub pending: Number,
    /// When a read last brought a page or found nothing pending.
    pub last_drained: Time,
    /// Why no read has brought a page or found nothing pending since.
    pub not_read: LastTrouble,
    /// Why no reconciler pass has completed since.
    pub not_reconciled: LastTrouble,
    /// Reads that the marketplace refused.
    pub refused: RefusedReads,
    /// Answers that were understood, although they are not a regular page.
    pub irregular: IrregularAnswers,
    /// Reads of unknown outcome.
    pub unknown_reads: Number,
    /// Reads of unknown outcome, of this run and earlier ones, that no reconciler pass has settled yet.
    pub unsettled_reads: Number,
    /// Listed orders that reconciler passes found neither published nor pending.
    pub missing: Number,
    /// Missing orders that were looked up, with any result.
    pub looked_up: Number,
    /// Missing orders that the marketplace no longer has.
    pub gone: Number,
    /// Pages that exist in memory only, because the disk failed while they were written.
    pub unspooled: Number,
    /// Events committed.
    pub published: published::Numbers,
    /// Dead letters committed.
    pub dead_letters: Number,
    /// Orders that needed no event: replayed, or not changed.
    pub skipped: Number,
    last_pass: Mutex<Option<LastPass>>,
}

/// Refused reads, by the marketplace's answer.
#[derive(Debug, Default)]
pub struct RefusedReads {
    /// 401: the token.
    pub token: Number,
    /// 403: the start date.
    pub start_date: Number,
    /// Any other 4xx status, and any answer of a proxy or firewall in front of the marketplace.
    pub other: Number,
}

/// Irregular answers to the destructive read, by kind.
#[derive(Debug, Default)]
pub struct IrregularAnswers {
    /// A page with other content beside the JSON.
    pub noise: Number,
    /// 204 instead of a page without orders.
    pub no_content: Number,
    /// 404 instead of a page without orders.
    pub not_found: Number,
    /// A message instead of a page without orders.
    pub message: Number,
}

/// Counters of one lane.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// Transactions whose commit succeeded.
    pub committed: Number,
    /// Transactions given up with an open outcome: their orders were decided again.
    pub failed: Number,
    pub last_commit: Time,
    pub index_orders: Number,
}

/// The last reconciler pass that completed.
#[derive(Debug, Clone)]
pub struct LastPass {
    /// When it completed.
    pub at: Timestamp,
    pub summary: PassSummary,
}

impl Counters {
    /// Sets the current stores. The others keep their counters, and are no longer among [`Self::stores`].
    pub fn set_stores<'a>(&self, names: impl IntoIterator<Item = &'a StoreName>) {
        let names: BTreeSet<_> = names.into_iter().collect();
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        let Stores { current, removed } = &mut *stores;
        removed.extend(current.extract_if(.., |name, _| !names.contains(name)));
        for name in names {
            let returned = removed.remove(name);
            current.entry(name.clone()).or_insert_with(|| returned.unwrap_or_default());
        }
    }

    /// The counters of a store, also of one that was removed. A name that was never heard of becomes a current store.
    #[must_use]
    pub fn store(&self, name: &StoreName) -> Arc<StoreCounters> {
        let known = |stores: &Stores| stores.current.get(name).or_else(|| stores.removed.get(name)).cloned();
        if let Some(counters) = known(&self.stores.read().unwrap_or_else(PoisonError::into_inner)) {
            return counters;
        }
        let mut stores = self.stores.write().unwrap_or_else(PoisonError::into_inner);
        known(&stores).unwrap_or_else(|| stores.current.entry(name.clone()).or_default().clone())
    }

    #[must_use]
    pub fn lane(&self, lane: i32) -> Arc<LaneCounters> {
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).entry(lane).or_default().clone()
    }

    #[must_use]
    pub fn stores(&self) -> BTreeMap<StoreName, Arc<StoreCounters>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// Stores that were counted and are no longer among the settings.
    #[must_use]
    pub fn removed_stores(&self) -> BTreeMap<StoreName, Arc<StoreCounters>> {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).removed.clone()
    }

    #[must_use]
    pub fn lanes(&self) -> BTreeMap<i32, Arc<LaneCounters>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sums a number over all current stores.
    #[must_use]
    pub fn total(&self, number: impl Fn(&StoreCounters) -> u64) -> u64 {
        self.stores.read().unwrap_or_else(PoisonError::into_inner).current.values().map(|store| number(store)).sum()
    }
}

impl StoreCounters {
    /// Adds the result of a piece of work.
    pub fn add(&self, tally: Tally) {
        self.published.add(tally.published);
        self.dead_letters.add(tally.dead_letters);
        self.skipped.add(tally.skipped);
        self.gone.add(tally.gone);
    }

    /// Orders that are decided and committed.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.published.total() + self.dead_letters.get() + self.skipped.get()
    }

    /// Records a completed pass.
    pub fn reconciled(&self, summary: PassSummary) {
        self.not_reconciled.clear();
        *self.last_pass.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastPass { at: clock::now(), summary });
    }

    /// The last pass that completed.
    #[must_use]
    pub fn last_pass(&self) -> Option<LastPass> {
        self.last_pass.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RefusedReads {
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
    fn a_store_that_was_removed_keeps_its_counts_and_goes_on_with_them_when_it_returns() {
        let counters = Counters::default();
        let (bogota, cdmx) = (name("bogota"), name("cdmx"));
        counters.set_stores([&bogota, &cdmx]);
        let publisher = counters.store(&bogota);
        publisher.dead_letters.add(1);
        counters.set_stores([&cdmx]);
        publisher.dead_letters.add(1);
        assert_eq!(counters.store(&bogota).dead_letters.get(), 2, "a page that waited");
        assert!(counters.stores().into_keys().eq([cdmx.clone()]));
        assert_eq!(counters.removed_stores()[&bogota].dead_letters.get(), 2);
        counters.set_stores([&bogota, &cdmx]);
        assert_eq!((counters.stores()[&bogota].dead_letters.get(), counters.removed_stores().len()), (2, 0));
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
