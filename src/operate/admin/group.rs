//! The group of instances, for the status of one of them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::operate::instances::{Group, GroupQuery};
use crate::order::ids::StoreName;

/// How long an answer of Kafka holds. Requests, however many, ask no more often than this.
const FRESH: Duration = Duration::from_secs(5);

/// Asks Kafka for the group, and remembers the answer for a while.
#[derive(Debug)]
pub(super) struct GroupLook {
    query: GroupQuery,
    lanes: i32,
    latest: Mutex<Option<(Instant, Group)>>,
}

impl GroupLook {
    pub(super) fn new(query: GroupQuery, lanes: i32) -> Self {
        Self { query, lanes, latest: Mutex::default() }
    }

    /// Blocks for a few seconds if Kafka does not answer. Whoever asks meanwhile gets the same answer.
    pub(super) fn now<'a>(&self, stores: impl Iterator<Item = &'a StoreName>) -> Group {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, group)) = latest.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return group.clone();
        }
        let group = Group::from(self.query.ask(self.lanes, stores));
        *latest = Some((Instant::now(), group.clone()));
        group
    }
}
