//! Tells what a former process left in the spool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::countries::StoreCountries;
use crate::config;
use crate::order::country::Country;
use crate::order::ids::StoreName;
use crate::pipeline::account::Account;
use crate::spool::{Recovery, Spool, SpoolError};

/// The stores of which pages are left, and which the settings no longer name, where their country is known.
pub(super) fn removed_stores(
    recovery: &Recovery,
    stores: &BTreeMap<StoreName, Arc<config::Store>>,
    countries: &StoreCountries,
) -> BTreeMap<StoreName, Country> {
    let left = recovery.pages.iter().map(|page| page.store()).filter(|store| !stores.contains_key(store));
    left.filter_map(|store| Some((store.clone(), countries.of(store)?))).collect()
}

/// Removes the traces of reads that a pass has looked into: the former process ended before it could.
pub(super) async fn settle_looked_for(
    recovery: &mut Recovery,
    spool: &Spool,
    account: &Account,
) -> Result<(), SpoolError> {
    for read in std::mem::take(&mut recovery.unknown) {
        if account.was_looked_for(read.read_id) {
            spool.settle(read).await?;
        } else {
            recovery.unknown.push(read);
        }
    }
    Ok(())
}

/// Logs what was found. Returns the stores that may have lost a page to damage.
pub(super) fn report(recovery: Recovery, is_known: impl Fn(&StoreName) -> bool) -> BTreeSet<StoreName> {
    let Recovery { pages, unknown: reads, corrupt, polls_cut_off } = recovery;
    if let Some(alive) = polls_cut_off {
        tracing::warn!(
            last_seen = %alive,
            "the program did not end well the last time: polls may have been under way. What they marked is in the list of \
             IDs, and the next pass over each store finds it"
        );
    }
    for file in &corrupt {
        tracing::error!(file = %file.path.display(), why = file.why, "a part of the spool is damaged or gone");
    }
    for read in reads {
        tracing::warn!(
            store = %read.store, read = %read.read_id, reason = read.reason,
            "an earlier read has an unknown outcome: the marketplace may have marked orders that did not reach us"
        );
    }
    let (pages, unconfigured): (Vec<_>, Vec<_>) = pages.into_iter().partition(|page| is_known(page.store()));
    for page in unconfigured {
        tracing::error!(
            store = %page.store(), read = %page.read_id(),
            "the spool holds a page of a store that the settings no longer name: it stays there until they do"
        );
    }
    if !pages.is_empty() {
        tracing::info!(pages = pages.len(), "publishing what an earlier run left in the spool");
    }
    corrupt.into_iter().filter_map(|file| file.store).collect()
}
