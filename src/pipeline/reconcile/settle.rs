//! Settles the reads of unknown outcome that a pass covers.

use jiff::Timestamp;

use super::ReconcileError;
use crate::order::ids::{ReadId, StoreName};
use crate::pipeline::account::{Account, Covered, KnownBefore, LISTED, Unaccounted};
use crate::pipeline::counters::StoreCounters;
use crate::spool::{Spool, UnknownRead};

/// Where the reads of unknown outcome of one store are recorded.
#[derive(Debug, Clone, Copy)]
pub struct Books<'a> {
    pub store: &'a StoreName,
    pub account: &'a Account,
    pub spool: &'a Spool,
    pub counters: &'a StoreCounters,
}

impl Books<'_> {
    /// Records in the account, durably, what a pass found, before it removes the traces of the unknown reads that the
    /// pass covers: the first `covers` of the unsettled ones, or none if it proves nothing. Returns what is missing for
    /// good.
    pub async fn record(
        self,
        found: u64,
        covers: Option<usize>,
        listed_at: Timestamp,
        known: &[KnownBefore],
        unsettled: &mut Vec<UnknownRead>,
    ) -> Result<Unaccounted, ReconcileError> {
        let Self { store, account, spool, counters } = self;
        let reads: Option<Vec<ReadId>> =
            covers.map(|covers| unsettled[..covers].iter().map(|read| read.read_id).collect());
        let covered = reads.as_deref().map(|reads| Covered { reads, listed_at, known });
        account.end(store, found, covered)?;
        for read in unsettled.drain(..covers.unwrap_or(0)) {
            tracing::info!(store = %read.store, read = %read.read_id, "an unknown read is settled: nothing listed is missing");
            spool.settle(read).await?;
            counters.unsettled_reads.take_one();
        }
        account.forget_settled(store, unsettled)?;
        Ok(account.unaccounted_of(store))
    }

    /// Tells a person what is missing, and what to do about it.
    pub fn warn_missing(self, missing: Unaccounted) {
        let Self { store, account, .. } = self;
        let Unaccounted { orders, reads, possible } = missing;
        if reads > 0 {
            tracing::warn!(
                %store, reads, orders_at_most = possible,
                "nothing is missing that the marketplace lists. Reads without an answer may still have marked orders that \
                 it does not list, because they are older than {} days: see that none was waiting in the shop. \
                 `imotriz-kafka spool account` shows the reads; they lapse by themselves",
                LISTED.as_hours() / 24
            );
        }
        if orders == 0 {
            return;
        }
        let entries = account.entries();
        let before = entries.iter().filter(|entry| entry.store == *store).filter_map(|entry| entry.placed_before).max();
        let Some(before) = before else { return };
        tracing::warn!(
            %store, orders_at_least = orders,
            placed_before = %before.strftime("%Y-%m-%d %H:%MZ"),
            "orders were marked that did not reach us and are too old for the list of IDs ({} days): un-synchronise by hand, \
             in the shop, those that were placed before that time and are not in the orders topic; they then come by \
             themselves. `imotriz-kafka spool account` shows the reads, and settles them if nothing is missing",
            LISTED.as_hours() / 24
        );
    }
}
