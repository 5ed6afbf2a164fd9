//! Which stores have metrics of their own.
//!
//! Ten thousand stores with twenty series each are more than Prometheus should keep. So series are sums over all stores,
//! except for stores that are named in `admin.metrics_stores`, and for those in trouble, at most [`PLACES`].
//!
//! A counter must neither shrink nor jump, or `rate()` reports what never happened. So each event counts in one series
//! for good: in its store's own series if the store has one at that time, else in the rest. A store's own counters begin
//! with 0 when it gets into trouble, and stop when it is well again; those that are not 0 stay. The sum over all series is
//! the number of events at every scrape, and no series shrinks.
//!
//! One case is left: when all places are taken, the store that has been well for longest leaves its place to the next
//! one, and its counts join the rest. There `rate()` sees them once more. A query that forms the sum over the stores
//! first, and then its increase, is right even then.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::Counts;
use crate::order::ids::StoreName;

/// How many stores have series of their own because they are, or were, in trouble.
pub const PLACES: usize = 50;

/// The stores that have series of their own.
#[derive(Debug, Default)]
pub(super) struct OwnSeries {
    named: BTreeSet<StoreName>,
    kept: BTreeMap<StoreName, Kept>,
    scrapes: u64,
}

#[derive(Debug)]
struct Kept {
    /// What was counted in the store's own series.
    own: Counts,
    /// What was counted in the rest. While the series grow it stays as it is.
    rest: Counts,
    grows: bool,
    /// The last scrape at which they grew.
    grew_at: u64,
}

/// What a scrape shows of a store by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) store: StoreName,
    pub(super) counts: Counts,
    /// Whether the store is named or in trouble. Otherwise only what it had counted is left.
    pub(super) grows: bool,
}

/// A store as a scrape finds it.
pub(super) struct Scraped<'a> {
    pub(super) store: &'a StoreName,
    pub(super) counts: Counts,
    pub(super) in_trouble: bool,
}

impl OwnSeries {
    /// Sets the stores that always have series of their own.
    pub(super) fn name(&mut self, stores: impl IntoIterator<Item = StoreName>) {
        self.named = stores.into_iter().collect();
    }

    /// Decides which stores have series of their own from now on, and returns these.
    pub(super) fn scrape<'a>(&mut self, stores: impl Iterator<Item = Scraped<'a>>) -> Vec<Own> {
        self.scrapes += 1;
        let mut wanting = Vec::new();
        for Scraped { store, counts, in_trouble } in stores {
            let is_named = self.named.contains(store);
            let grows = is_named || in_trouble;
            match self.kept.get_mut(store) {
                Some(kept) => kept.count(counts, grows, self.scrapes),
                None if grows => wanting.push((store, counts, is_named)),
                None => {}
            }
        }
        self.kept.retain(|_, kept| kept.grows || kept.own != Counts::default());
        for (store, rest, is_named) in wanting {
            if is_named || self.has_place() {
                let kept = Kept { own: Counts::default(), rest, grows: true, grew_at: self.scrapes };
                self.kept.insert(store.clone(), kept);
            }
        }
        let own =
            |(store, kept): (&StoreName, &Kept)| Own { store: store.clone(), counts: kept.own, grows: kept.grows };
        self.kept.iter().map(own).collect()
    }

    /// Whether one more store in trouble can have series, if need be in the place of one that is well.
    fn has_place(&mut self) -> bool {
        let unnamed = || self.kept.iter().filter(|(store, _)| !self.named.contains(*store));
        if unnamed().count() < PLACES {
            return true;
        }
        let well_for_longest = unnamed().filter(|(_, kept)| !kept.grows).min_by_key(|(_, kept)| kept.grew_at);
        let Some(store) = well_for_longest.map(|(store, _)| store.clone()) else { return false };
        self.kept.remove(&store).is_some()
    }
}

impl Kept {
    fn count(&mut self, counts: Counts, grows: bool, scrape: u64) {
        if self.grows {
            self.own = counts.minus(self.rest);
            self.grew_at = scrape;
        } else {
            self.rest = counts.minus(self.own);
        }
        self.grows = grows;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(number: usize) -> StoreName {
        format!("s{number}").parse().unwrap()
    }

    struct Shops {
        series: OwnSeries,
        /// Orders read of each store, and whether it is in trouble.
        shops: Vec<(u64, bool)>,
    }

    impl Shops {
        fn new(number: usize) -> Self {
            Self { series: OwnSeries::default(), shops: vec![(0, false); number] }
        }

        /// The rest, and each store's own.
        fn scrape(&mut self) -> (u64, BTreeMap<StoreName, (u64, bool)>) {
            let names: Vec<_> = (0..self.shops.len()).map(name).collect();
            let scraped = names.iter().zip(&self.shops).map(|(store, (orders_read, in_trouble))| Scraped {
                store,
                counts: Counts { orders_read: *orders_read, ..Counts::default() },
                in_trouble: *in_trouble,
            });
            let own = self.series.scrape(scraped);
            let own: BTreeMap<_, _> =
                own.into_iter().map(|own| (own.store, (own.counts.orders_read, own.grows))).collect();
            let total: u64 = self.shops.iter().map(|(orders, _)| orders).sum();
            (total - own.values().map(|(orders, _)| orders).sum::<u64>(), own)
        }
    }

    #[test]
    fn a_store_in_trouble_counts_from_0_in_series_of_its_own_and_stops_when_it_is_well_again() {
        let mut shops = Shops::new(2);
        shops.shops = vec![(100, false), (10, false)];
        assert_eq!(shops.scrape(), (110, BTreeMap::new()));
        shops.shops[0].1 = true;
        assert_eq!(shops.scrape(), (110, BTreeMap::from([(name(0), (0, true))])));
        shops.shops[0] = (105, false);
        assert_eq!(shops.scrape(), (110, BTreeMap::from([(name(0), (5, false))])));
        shops.shops[0].0 = 200;
        assert_eq!(shops.scrape(), (205, BTreeMap::from([(name(0), (5, false))])));
        shops.shops[0].1 = true;
        shops.scrape();
        shops.shops[0].0 = 207;
        assert_eq!(shops.scrape(), (205, BTreeMap::from([(name(0), (12, true))])));
    }

    #[test]
    fn a_named_store_needs_no_place_and_no_trouble() {
        let mut shops = Shops::new(PLACES + 2);
        shops.series.name([name(PLACES + 1)]);
        for shop in &mut shops.shops[..PLACES] {
            shop.1 = true;
        }
        let (_, own) = shops.scrape();
        assert_eq!((own.len(), own[&name(PLACES + 1)]), (PLACES + 1, (0, true)));
    }

    #[test]
    fn the_store_that_has_been_well_for_longest_leaves_its_place_to_the_next() {
        let mut shops = Shops::new(PLACES + 2);
        for shop in &mut shops.shops[..PLACES] {
            *shop = (1, true);
        }
        shops.scrape();
        shops.shops.iter_mut().for_each(|shop| shop.0 += 1);
        shops.shops[PLACES].1 = true;
        assert!(!shops.scrape().1.contains_key(&name(PLACES)), "all places are taken");
        for well in [7, 3] {
            shops.shops[well].1 = false;
            shops.scrape();
        }
        let (_, own) = shops.scrape();
        assert!(own.contains_key(&name(PLACES)) && !own.contains_key(&name(7)) && own.contains_key(&name(3)));
        assert_eq!(own.len(), PLACES);
    }

    proptest! {
        #[test]
        fn the_sum_is_exact_at_each_scrape_and_no_series_shrinks(
            steps in prop::collection::vec((0..30_usize, 0..5_u64, any::<bool>(), any::<bool>()), 1..300),
        ) {
            let mut shops = Shops::new(30);
            let (mut rest_before, mut own_before) = shops.scrape();
            for (shop, more, in_trouble, scraped) in steps {
                shops.shops[shop].0 += more;
                shops.shops[shop].1 = in_trouble;
                if scraped {
                    // `scrape` subtracts from the exact sum: an underflow would panic.
                    let (rest, own) = shops.scrape();
                    prop_assert!(rest >= rest_before);
                    for (store, (before, _)) in own_before {
                        prop_assert!(own.get(&store).map_or(0, |own| own.0) >= before);
                    }
                    (rest_before, own_before) = (rest, own);
                }
            }
        }
    }
}
