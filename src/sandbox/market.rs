//! The marketplace: all of its shops.

use std::num::NonZeroUsize;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::SandboxArgs;
use super::host::Host;
use super::journal::{Journal, StateError};
use super::shop::{Shop, Summary};

/// A handle to the marketplace, which server, control API and tests clone and share.
#[derive(Debug, Clone)]
pub struct Market {
    shops: Arc<[Shop]>,
    host: Arc<Host>,
}

impl Market {
    /// A new marketplace without a state file.
    #[must_use]
    pub fn new(args: &SandboxArgs) -> Self {
        let market = Self::closed(args, None);
        market.open(args);
        market
    }

    /// Loads the marketplace from the state file. Shops that are not in it are new.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn resume(args: &SandboxArgs) -> Result<Self, StateError> {
        let Some(path) = &args.state else { return Ok(Self::new(args)) };
        let (journal, events) = Journal::open(path)?;
        let market = Self::closed(args, Some(journal));
        if let Some(last) = events.iter().map(|(shop, _)| *shop).max()
            && last >= market.shops.len()
        {
            return Err(StateError::MoreShops { path: path.clone(), shops: last.saturating_add(1) });
        }
        for (line, (shop, event)) in events.into_iter().enumerate() {
            if !market.shops[shop].replay(event) {
                return Err(StateError::Damaged { path: path.clone(), line: line + 1 });
            }
        }
        market.open(args);
        Ok(market)
    }

    /// Shops without orders.
    fn closed(args: &SandboxArgs, journal: Option<Journal>) -> Self {
        let host = Arc::new(Host::new(args.rate_limit, journal));
        let shops = 0..args.shops.map_or(1, NonZeroUsize::get);
        Self { shops: shops.map(|index| Shop::new(args, index, Arc::clone(&host))).collect(), host }
    }

    fn open(&self, args: &SandboxArgs) {
        self.shops.iter().for_each(|shop| shop.open(args));
    }

    /// Returns all shops, `shop-1` first.
    #[must_use]
    pub fn shops(&self) -> &[Shop] {
        &self.shops
    }

    /// Returns the shop with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Shop> {
        let number: usize = name.strip_prefix("shop-")?.parse().ok()?;
        self.shops.get(number.checked_sub(1)?)
    }

    /// Returns the shop that has or had this token. A call with a token that no shop ever had is the first one's to
    /// refuse.
    #[must_use]
    pub fn shop_of(&self, token: &[u8]) -> &Shop {
        &self.shops[self.host.shop_of(token).unwrap_or(0)]
    }

    /// Returns the state of all shops together.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.shops.iter().map(Shop::summary).sum()
    }

    /// Tells once the state can't be written any more. None without a state file.
    pub(super) fn failure(&self) -> Option<watch::Receiver<Option<StateError>>> {
        self.host.journal().map(|journal| journal.failure())
    }

    #[cfg(test)]
    pub(super) fn host(&self) -> &Host {
        &self.host
    }
}

/// Draws the shops of arriving orders as sales are spread: the second shop has half as many as the first, the third a
/// third (Zipf's law).
#[derive(Debug)]
pub(super) struct Popularity {
    weights: WeightedIndex<f64>,
    chance: StdRng,
}

impl Popularity {
    pub(super) fn new(shops: usize, seed: u64) -> Self {
        let weights = (1..=shops).map(|rank| 1.0 / rank as f64);
        let weights = WeightedIndex::new(weights).expect("a marketplace has a shop, and each a positive weight");
        Self { weights, chance: StdRng::seed_from_u64(seed) }
    }

    /// The index of the next order's shop.
    pub(super) fn draw(&mut self) -> usize {
        self.weights.sample(&mut self.chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_shop_sells_half_as_much_as_the_first_and_the_last_one_sells_too() {
        let draw = |seed| {
            let mut popularity = Popularity::new(100, seed);
            (0..100_000).map(|_| popularity.draw()).collect::<Vec<_>>()
        };
        let drawn = draw(7);
        assert_eq!(drawn, draw(7));
        let sold = |shop| drawn.iter().filter(|drawn| **drawn == shop).count();
        let ratio = sold(0) as f64 / sold(1) as f64;
        assert!((1.8..2.2).contains(&ratio), "{ratio}");
        assert!((100..300).contains(&sold(99)), "{}", sold(99));
    }
}
