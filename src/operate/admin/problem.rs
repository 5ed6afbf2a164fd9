//! What is not well with a store: the state, the reason, and the cure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::advice::{Language, advice};
use super::counts::Gauges;
use crate::order::ids::StoreName;
use crate::pipeline::account::LossEntry;
use crate::pipeline::counters::{FailedTries, StoreCounters, Trouble};

/// What can be wrong with a store, the worst first. Also what `/status` can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum State {
    /// Any of those below.
    NotWell,
    /// Its reads fail again and again, and are tried with growing pauses.
    Parked,
    /// Its last read failed.
    NotRead,
    /// No read has succeeded for long, although none has failed: it hangs, or waits.
    Late,
    /// Reads of unknown outcome have marked orders that are not published.
    Unaccounted,
    /// The last pass of its reconciler failed.
    NotReconciled,
    Well,
}

impl State {
    /// What a store can suffer from, the worst first.
    pub const TROUBLES: [Self; 5] = [Self::Parked, Self::NotRead, Self::Late, Self::Unaccounted, Self::NotReconciled];

    /// The word in JSON, in a query, and in a label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotWell => "not_well",
            Self::Parked => "parked",
            Self::NotRead => "not_read",
            Self::Late => "late",
            Self::Unaccounted => "unaccounted",
            Self::NotReconciled => "not_reconciled",
            Self::Well => "well",
        }
    }
}

/// Something that is wrong with a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub state: State,
    /// A word for programs.
    pub kind: &'static str,
    /// A sentence: what is wrong.
    pub reason: String,
    /// A sentence: what to do about it.
    pub cure: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// The last attempt, if it is about attempts.
    pub last_tried_at: Option<Timestamp>,
}

/// Judges stores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge {
    pub(super) at: Timestamp,
    /// How long a store may go without a good read, and since when it has been read at all. None while nothing is read.
    pub(super) reading: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) since: Timestamp,
    pub(super) late_after: Duration,
}

impl Judge {
    /// Whether a store is in a state. It may be in several.
    pub(super) fn is_in(&self, state: State, store: &StoreCounters, gauges: &Gauges) -> bool {
        match state {
            State::Parked => store.not_read.tries() == FailedTries::Again,
            State::NotRead => store.not_read.tries() > FailedTries::None,
            State::Late => store.not_read.tries() == FailedTries::None && self.late_since(store).is_some(),
            State::Unaccounted => gauges.unaccounted_orders > 0,
            State::NotReconciled => store.not_reconciled.tries() > FailedTries::None,
            State::NotWell => State::TROUBLES.iter().any(|trouble| self.is_in(*trouble, store, gauges)),
            State::Well => !self.is_in(State::NotWell, store, gauges),
        }
    }

    /// Whether it is more than a single failure, which the next attempt may end.
    pub(super) fn is_lasting(&self, store: &StoreCounters, gauges: &Gauges) -> bool {
        let lasting = [State::Parked, State::Late, State::Unaccounted];
        lasting.iter().any(|state| self.is_in(*state, store, gauges))
            || store.not_reconciled.tries() == FailedTries::Again
    }

    /// All that is wrong with a store, the worst first.
    pub(super) fn problems(
        &self,
        store: &StoreCounters,
        gauges: &Gauges,
        account: &[LossEntry],
        language: Language,
    ) -> Vec<Problem> {
        let attempt = |state: State, Trouble { kind, why, since, last_tried_at }: Trouble| {
            let (reason, cure) = advice(kind, &why, language);
            Problem { state, kind, reason, cure, since, last_tried_at: Some(last_tried_at) }
        };
        let lasting = |kind, since, why: String| {
            let (reason, cure) = advice(kind, &why, language);
            let state = if kind == "late" { State::Late } else { State::Unaccounted };
            Problem { state, kind, reason, cure, since, last_tried_at: None }
        };
        let parked = store.not_read.tries() == FailedTries::Again;
        let not_read =
            store.not_read.get().map(|trouble| attempt(if parked { State::Parked } else { State::NotRead }, trouble));
        let late = match not_read {
            None => self.late_since(store).map(|since| lasting("late", since, String::new())),
            Some(_) => None,
        };
        let first_loss = account.iter().map(|entry| entry.since).min().filter(|_| gauges.unaccounted_orders > 0);
        let unaccounted = first_loss.map(|since| {
            let hours = gauges.unaccounted_window_seconds.unwrap_or(0) / 3600;
            lasting("unaccounted", since, language.unaccounted(gauges.unaccounted_orders, hours))
        });
        let not_reconciled = store.not_reconciled.get().map(|trouble| attempt(State::NotReconciled, trouble));
        not_read.into_iter().chain(late).chain(unaccounted).chain(not_reconciled).collect()
    }

    fn late_since(&self, store: &StoreCounters) -> Option<Timestamp> {
        let Reading { since, late_after } = self.reading?;
        let last = store.last_drained.get().unwrap_or(store.since.at()).max(since);
        let late_after = SignedDuration::try_from(late_after).unwrap_or(SignedDuration::MAX);
        (self.at.duration_since(last) > late_after).then_some(last)
    }
}

/// The entries of the account by their stores.
pub(super) fn by_store(entries: Vec<LossEntry>) -> BTreeMap<StoreName, Vec<LossEntry>> {
    let mut by_store = BTreeMap::<_, Vec<_>>::new();
    for entry in entries {
        by_store.entry(entry.store.clone()).or_default().push(entry);
    }
    by_store
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(late_after: u64) -> Judge {
        let reading = Reading { since: Timestamp::UNIX_EPOCH, late_after: Duration::from_secs(late_after) };
        Judge { at: crate::platform::clock::now() + SignedDuration::from_secs(60), reading: Some(reading) }
    }

    #[test]
    fn a_store_is_judged_by_the_worst_that_is_wrong_with_it() {
        let store = StoreCounters::default();
        let gauges = || Gauges::of(&store, &[], Timestamp::UNIX_EPOCH);
        let state = |judge: Judge| {
            let trouble = State::TROUBLES.into_iter().find(|state| judge.is_in(*state, &store, &gauges()));
            trouble.unwrap_or(State::Well)
        };
        assert_eq!((state(judge(900)), state(judge(30))), (State::Well, State::Late));
        let idle = Judge { reading: None, ..judge(30) };
        assert_eq!(state(idle), State::Well, "nothing is read while the program starts");
        store.not_reconciled.note("no_list", "404".to_owned());
        assert_eq!((state(judge(900)), state(judge(30))), (State::NotReconciled, State::Late));
        store.not_read.note("token_refused", "401".to_owned());
        assert_eq!(state(judge(30)), State::NotRead);
        assert!(!judge(30).is_lasting(&store, &gauges()));
        while store.not_read.tries() == FailedTries::Once {
            store.not_read.note("token_refused", "401".to_owned());
        }
        assert_eq!(state(judge(30)), State::Parked);
        let problems = judge(30).problems(&store, &gauges(), &[], Language::English);
        assert_eq!(problems.iter().map(|it| it.state).collect::<Vec<_>>(), [State::Parked, State::NotReconciled]);
        assert!(problems.iter().all(|problem| !problem.cure.is_empty() && !problem.reason.is_empty()));
        for (wanted, is_meant) in
            [(State::NotRead, true), (State::Parked, true), (State::Late, false), (State::Well, false)]
        {
            assert_eq!(judge(30).is_in(wanted, &store, &gauges()), is_meant, "{wanted:?}");
        }
    }
}
