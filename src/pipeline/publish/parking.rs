//! Stores whose records Kafka refuses: their work waits, with growing pauses, and the other stores of the lane go on.
//!
//! A record can be too large for its topic. The transaction is lost with it, and so are the records of others that went
//! into the same batch. So what was refused is sent again record by record, which tells whose it is. The work of that
//! store then waits here, in its order, and so does all that comes for the store later: a page must not overtake an
//! earlier one, nor a question the pages before it. The store's drain makes no further read meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::reading::Mapped;
use crate::order::ids::StoreName;
use crate::platform::backoff::Backoff;

/// Pauses between two attempts to publish what was refused.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How long each record is sent by itself after a refusal.
const ONE_BY_ONE: Duration = Duration::from_secs(60);

/// The stores whose work waits, for their drains. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct ParkedStores(Arc<(RwLock<BTreeSet<StoreName>>, Notify)>);

impl ParkedStores {
    pub(super) fn has(&self, store: &StoreName) -> bool {
        self.0.0.read().unwrap_or_else(PoisonError::into_inner).contains(store)
    }

    /// Returns when the store's work does not wait, or may not any more.
    pub(super) async fn without(&self, store: &StoreName) {
        let changed = self.0.1.notified();
        if self.has(store) {
            changed.await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<StoreName>) -> bool) {
        if change(&mut self.0.0.write().unwrap_or_else(PoisonError::into_inner)) {
            self.0.1.notify_waiters();
        }
    }
}

struct Parked {
    work: Vec<Mapped>,
    pauses: Backoff,
    /// When it is tried again; none while it is being tried.
    retry_at: Option<Instant>,
}

/// The work of one lane that waits.
pub(super) struct Parking {
    stores: BTreeMap<StoreName, Parked>,
    shown: ParkedStores,
    one_by_one_until: Option<Instant>,
}

impl Parking {
    pub(super) fn new(shown: ParkedStores) -> Self {
        Self { stores: BTreeMap::new(), shown, one_by_one_until: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    /// How many pieces of work wait.
    pub(super) fn len(&self) -> usize {
        self.stores.values().map(|parked| parked.work.len()).sum()
    }

    /// A record was refused: for a while each one is sent by itself.
    pub(super) fn look_for_the_refused(&mut self) {
        self.one_by_one_until = Some(Instant::now() + ONE_BY_ONE);
    }

    /// Whether each record is to be sent by itself.
    pub(super) fn is_looking(&self) -> bool {
        self.one_by_one_until.is_some_and(|until| Instant::now() < until)
    }

    /// Parks a store with its work, which comes before what waits of it already.
    pub(super) fn park(&mut self, store: StoreName, mut work: Vec<Mapped>) {
        let pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let parked = self.stores.entry(store.clone()).or_insert(Parked { work: Vec::new(), pauses, retry_at: None });
        work.append(&mut parked.work);
        parked.work = work;
        parked.retry_at = Some(Instant::now() + parked.pauses.pause());
        self.shown.change(|shown| shown.insert(store));
    }

    /// Keeps the work of parked stores, and returns the rest.
    pub(super) fn sort_out(&mut self, work: Vec<Mapped>) -> Vec<Mapped> {
        let mut rest = Vec::with_capacity(work.len());
        for mapped in work {
            match self.stores.get_mut(mapped.work.store()) {
                Some(parked) => parked.work.push(mapped),
                None => rest.push(mapped),
            }
        }
        rest
    }

    /// The work of a store that is to be tried again now.
    pub(super) fn due(&mut self) -> Vec<Mapped> {
        let now = Instant::now();
        let due = self.stores.values_mut().find(|parked| parked.retry_at.is_some_and(|at| at <= now));
        due.map(|parked| {
            parked.retry_at = None;
            std::mem::take(&mut parked.work)
        })
        .unwrap_or_default()
    }

    /// What was tried again is committed. Returns work that came meanwhile; when there is none, the store is free.
    pub(super) fn tried(&mut self, is_pending: impl Fn(&StoreName) -> bool) -> Vec<Mapped> {
        let is_done = |(store, parked): &(&StoreName, &mut Parked)| parked.retry_at.is_none() && !is_pending(store);
        let Some((store, parked)) = self.stores.iter_mut().find(is_done) else { return Vec::new() };
        let more = std::mem::take(&mut parked.work);
        if more.is_empty() {
            let store = store.clone();
            self.stores.remove(&store);
            tracing::info!(%store, "Kafka takes the store's records again");
            self.shown.change(|shown| shown.remove(&store));
        }
        more
    }
}

/// A lane that ends leaves no drain waiting.
impl Drop for Parking {
    fn drop(&mut self) {
        self.shown.change(|shown| {
            shown.clear();
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::marketplace::body::RecordPlaces;
    use crate::order::ids::ReadId;
    use crate::pipeline::publish::{Unspooled, Work};
    use crate::platform::clock;

    fn page(store: &str, seq: u64) -> Mapped {
        let (store, read_id, read_at) = (store.parse().unwrap(), ReadId::fresh(), clock::now());
        let page = Unspooled { store, read_id, seq, read_at, body: Bytes::new(), records: RecordPlaces::default() };
        Mapped { work: Work::Unspooled(page), origin: None, records: Vec::new() }
    }

    fn pages(work: &[Mapped]) -> Vec<u64> {
        let seq = |mapped: &Mapped| match &mapped.work {
            Work::Unspooled(page) => page.seq,
            other => panic!("{other:?}"),
        };
        work.iter().map(seq).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_overtakes_what_waits_of_its_store_and_others_pass() {
        let [one, two]: [StoreName; 2] = ["one", "two"].map(|name| name.parse().unwrap());
        let shown = ParkedStores::default();
        let mut parking = Parking::new(shown.clone());
        parking.park(one.clone(), vec![page("one", 1), page("one", 2)]);
        assert!(shown.has(&one) && !shown.has(&two));
        assert_eq!(pages(&parking.sort_out(vec![page("one", 3), page("two", 4)])), [4]);
        assert!(parking.due().is_empty(), "it is not time yet");
        tokio::time::advance(FIRST_PAUSE * 2).await;
        let tried = parking.due();
        assert_eq!(pages(&tried), [1, 2, 3]);
        assert!(parking.sort_out(vec![page("one", 5)]).is_empty(), "while it is tried");

        parking.park(one.clone(), tried);
        tokio::time::advance(FIRST_PAUSE * 8).await;
        assert_eq!(pages(&parking.due()), [1, 2, 3, 5]);
        assert!(parking.sort_out(vec![page("one", 6)]).is_empty());
        assert!(parking.tried(|store| *store == one).is_empty(), "some of it is still to be committed");
        assert_eq!(pages(&parking.tried(|_| false)), [6]);
        assert!(shown.has(&one));
        assert!(parking.tried(|_| false).is_empty() && parking.is_empty() && !shown.has(&one));
    }

    #[tokio::test]
    async fn a_drain_waits_for_its_own_store_and_for_no_longer_than_the_lane_lives() {
        let one: StoreName = "one".parse().unwrap();
        let shown = ParkedStores::default();
        let mut parking = Parking::new(shown.clone());
        parking.park(one.clone(), Vec::new());
        shown.without(&"two".parse().unwrap()).await;
        let waiting = tokio::spawn({
            let (shown, one) = (shown.clone(), one.clone());
            async move { shown.without(&one).await }
        });
        drop(parking);
        waiting.await.unwrap();
        assert!(!shown.has(&one));
    }
}
