//! What `/metrics` shows: the sums over all stores, and those stores that have series of their own.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::AdminState;
use super::counts::{Counts, Gauges};
use super::problem::State;
use super::series::Scraped;
use super::snapshot::{Commits, Lane, Look, SpoolView, Totals};
use crate::order::ids::StoreName;

/// The numbers of one scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) version: &'static str,
    pub(super) started_at: Timestamp,
    pub(super) totals: Totals,
    /// What stores without series of their own have together.
    pub(super) rest: Part,
    pub(super) own: Vec<(StoreName, Part)>,
    pub(super) lanes: std::collections::BTreeMap<i32, Lane>,
    pub(super) spool: Option<SpoolView>,
    pub(super) page_commit: Commits,
}

/// The numbers of one store, or of the rest.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) counts: Counts,
    /// Whether counters are shown that are 0: only those that may still grow need to be.
    pub(super) grows: bool,
    pub(super) gauges: Option<Gauges>,
}

impl Scrape {
    /// Reads all counters once. It reads the spool's folder, so don't call it on a thread of the async runtime.
    pub(super) fn of(admin: &AdminState) -> Self {
        let look = Look::of(admin);
        let counters = &admin.counters;
        let mut series = admin.series.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: the counts of one scrape are never older than those of the scrape before.
        let (current, removed) = (counters.stores(), counters.removed_stores());
        let totals = look.totals(counters, &current);
        let all: Vec<_> =
            current.iter().map(|store| (store, true)).chain(removed.iter().map(|store| (store, false))).collect();
        let scraped: Vec<_> = all
            .iter()
            .map(|((store, counters), is_current)| Scraped {
                store,
                counts: Counts::of(counters),
                in_trouble: *is_current && look.judge.is_lasting(counters, &look.gauges(store, counters)),
            })
            .collect();
        let total = scraped.iter().map(|store| store.counts).fold(Counts::default(), Counts::plus);
        let own = series.scrape(scraped.into_iter());
        drop(series);
        let rest = own.iter().map(|own| own.counts).fold(total, Counts::minus);
        let has_own = |name: &StoreName| own.iter().any(|own| own.grows && own.store == *name);
        let gauges = current.iter().filter(|(name, _)| !has_own(name)).map(|(name, store)| look.gauges(name, store));
        let rest = Part { counts: rest, grows: true, gauges: gauges.reduce(Gauges::with) };
        let own = own.into_iter().map(|own| {
            let store = current.get(&own.store).filter(|_| own.grows);
            let gauges = store.map(|store| look.gauges(&own.store, store));
            (own.store, Part { counts: own.counts, grows: own.grows, gauges })
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started_at: admin.started_at,
            totals,
            rest,
            own: own.collect(),
            lanes: look.lanes,
            spool: look.spool,
            page_commit: Commits::of(&counters.page_commit),
        }
    }

    /// How many stores are in each state of trouble.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (State, u64)> {
        State::TROUBLES
            .into_iter()
            .map(|trouble| (trouble, self.totals.troubles.get(trouble.word()).copied().unwrap_or(0)))
    }
}
