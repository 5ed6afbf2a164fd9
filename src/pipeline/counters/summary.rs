//! The summary of a reconciler pass.

use serde::Serialize;

use super::tally::Tally;
use crate::order::ids::StoreName;

/// What a reconciler pass did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassSummary {
    pub store: StoreName,
    /// IDs in the list.
    pub listed: u64,
    /// Listed orders that were neither published nor pending.
    pub missing: u64,
    /// Missing orders that are published now.
    pub published: u64,
    /// Missing orders that came by another way meanwhile.
    pub skipped: u64,
    /// Missing orders that could not be mapped and are dead letters now.
    pub dead_letters: u64,
    /// Missing orders that the marketplace does not have.
    pub gone: u64,
    /// Orders that could not be fetched, for the repair or to look for changes; the next pass tries again.
    pub failed: u64,
    /// Published orders that had changed and are published again.
    pub updated: u64,
    /// Published orders that were not found when the pass looked for changes: there is nothing to publish.
    pub not_found: u64,
    /// Minimum number of orders that reads of unknown outcome had marked and that no list names: a person has to
    /// un-synchronise them.
    pub unaccounted: u64,
    /// Reads that possibly lost orders, although no listed order is missing.
    pub unaccounted_reads: u64,
    /// Maximum number of orders that those reads lost.
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

    /// Adds a later pass over the same store, whose list replaces the earlier one.
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

    /// Whether the orders topic certainly lacks orders that were listed, or that were marked and are in no list.
    #[must_use]
    pub fn is_beyond_repair(&self) -> bool {
        self.dead_letters + self.gone + self.failed + self.unaccounted > 0
    }
}
