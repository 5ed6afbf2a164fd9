//! Why an operation keeps failing, and since when.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::platform::clock;

/// What keeps a store from being read or reconciled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// A word for programs.
    pub kind: &'static str,
    /// A sentence without secrets: what happened last, and what to do about it.
    pub why: String,
    /// The first failure since the last success.
    pub since: Timestamp,
    /// The last attempt.
    pub last_tried_at: Timestamp,
}

/// How often an operation has failed since its last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailedTries {
    None,
    Once,
    Again,
}

/// The current trouble, if there is any.
#[derive(Debug, Default)]
pub struct LastTrouble(Mutex<Option<Trouble>>);

impl LastTrouble {
    /// Records a failure.
    pub fn note(&self, kind: &'static str, why: String) {
        let mut trouble = self.lock();
        let now = clock::now();
        let since = trouble.as_ref().map_or(now, |trouble| trouble.since);
        *trouble = Some(Trouble { kind, why, since, last_tried_at: now });
    }

    /// Records a success.
    pub fn clear(&self) {
        *self.lock() = None;
    }

    /// How often it was tried in vain: not at all, once, or again.
    #[must_use]
    pub fn tries(&self) -> FailedTries {
        match &*self.lock() {
            None => FailedTries::None,
            Some(trouble) if trouble.last_tried_at > trouble.since => FailedTries::Again,
            Some(_) => FailedTries::Once,
        }
    }

    #[must_use]
    pub fn get(&self) -> Option<Trouble> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_lasts_from_its_first_failure_and_ends_with_a_success() {
        let last = LastTrouble::default();
        last.note("unknown", "cut".to_owned());
        let first = last.get().unwrap();
        last.note("token", "401".to_owned());
        let second = last.get().unwrap();
        assert_eq!((second.kind, second.why.as_str(), second.since), ("token", "401", first.since));
        assert!(second.last_tried_at >= first.last_tried_at);
        last.clear();
        assert_eq!(last.get(), None);
    }
}
