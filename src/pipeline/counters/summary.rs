//! What a pass of the reconciler did.

use serde::Serialize;

use super::tally::Tally;
use crate::order::ids::StoreName;

/// What a pass did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassSummary {
    /// The store.
    pub store: StoreName,
    /// IDs in the list.
    pub listed: u64,
    /// Orders in it that were neither published nor pending.
    pub missing: u64,
    /// Those of them that are published now.
    pub published: u64,
    /// Those that came by another way meanwhile.
    pub skipped: u64,
    /// Those that could not be mapped and are dead letters now.
    pub dead_letters: u64,
    /// Those that the marketplace does not have.
    pub gone: u64,
    /// Those that could not be fetched, or could not be looked at for changes; the next pass tries again.
    pub failed: u64,
    /// Orders that had been published, had changed, and are published anew.
    pub updated: u64,
    /// Orders that had been published and were not found when they were looked at for changes: there is nothing to publish.
    pub not_found: u64,
    /// Orders, at least, that reads of unknown outcome had marked and that are in no list: a person has to un-synchronise
    /// them.
    pub unaccounted: u64,
    /// Reads that have possibly lost orders, although nothing is missing that is listed.
    pub unaccounted_reads: u64,
    /// How many orders those reads can have lost at most.
    pub possibly_unaccounted: u64,
}

impl PassSummary {
    pub(crate) fn of(store: &StoreName) -> Self {
        Self {
            store: store.clone(),
            listed: 0,
            missing: 0,
            published: 0,
            skipped: 0,
            dead_letters: 0,
            gone: 0,
            failed: 0,
            updated: 0,
            not_found: 0,
            unaccounted: 0,
            unaccounted_reads: 0,
            possibly_unaccounted: 0,
        }
    }

    pub(crate) fn count(&mut self, tally: Tally) {
        self.published += tally.published.total();
        self.skipped += tally.skipped;
        self.dead_letters += tally.dead_letters;
        self.gone += tally.gone;
    }

    /// Adds a later pass over the same store: its list takes the place of the earlier one.
    pub fn add(&mut self, later: &Self) {
        self.listed = later.listed;
        self.missing += later.missing;
        self.published += later.published;
        self.skipped += later.skipped;
        self.dead_letters += later.dead_letters;
        self.gone += later.gone;
        self.failed += later.failed;
        self.updated += later.updated;
        self.not_found += later.not_found;
        self.unaccounted = later.unaccounted;
        self.unaccounted_reads = later.unaccounted_reads;
        self.possibly_unaccounted = later.possibly_unaccounted;
    }

    /// Whether orders are certainly not in the orders topic, although they were listed, or were marked and are in no list.
    #[must_use]
    pub fn is_beyond_repair(&self) -> bool {
        self.dead_letters + self.gone + self.failed + self.unaccounted > 0
    }
}
