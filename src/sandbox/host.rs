//! What all shops of a marketplace share: the tokens, the limit of calls a second, and the state file.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};

use super::journal::Journal;

#[derive(Debug)]
pub(super) struct Host {
    /// The index of the shop that has or had each token.
    tokens: RwLock<HashMap<String, usize>>,
    limit: Mutex<Limit>,
    journal: Option<Mutex<Journal>>,
}

#[derive(Debug)]
struct Limit {
    /// How many calls are answered in a second.
    calls: Option<usize>,
    /// When the latest calls were answered: as many as are allowed in a second.
    answered: VecDeque<Timestamp>,
}

impl Host {
    pub(super) fn new(rate_limit: Option<usize>, journal: Option<Journal>) -> Self {
        Self {
            tokens: RwLock::default(),
            limit: Mutex::new(Limit { calls: rate_limit, answered: VecDeque::new() }),
            journal: journal.map(Mutex::new),
        }
    }

    /// Lets a token lead to a shop. It does so for ever: whether it is still valid, the shop knows.
    pub(super) fn admit(&self, token: &str, shop: usize) {
        self.tokens.write().unwrap_or_else(PoisonError::into_inner).insert(token.to_owned(), shop);
    }

    /// The index of the shop to which a token leads.
    pub(super) fn shop_of(&self, token: &[u8]) -> Option<usize> {
        let token = std::str::from_utf8(token).ok()?;
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).get(token).copied()
    }

    pub(super) fn set_rate_limit(&self, calls: Option<usize>) {
        self.limit().calls = calls;
    }

    /// Whether the limit refuses the call. A call that it allows is counted.
    pub(super) fn is_over_the_limit(&self) -> bool {
        let mut limit = self.limit();
        let Some(calls) = limit.calls else { return false };
        let now = Timestamp::now();
        let is_past = |at: &Timestamp| now.duration_since(*at) >= SignedDuration::from_secs(1);
        while limit.answered.front().is_some_and(is_past) {
            limit.answered.pop_front();
        }
        let is_over = limit.answered.len() >= calls;
        if !is_over {
            limit.answered.push_back(now);
        }
        is_over
    }

    fn limit(&self) -> MutexGuard<'_, Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state file, if there is one.
    pub(super) fn journal(&self) -> Option<MutexGuard<'_, Journal>> {
        // A test that panics under the lock leaves no line half written.
        self.journal.as_ref().map(|journal| journal.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
