//! When a request may leave: a 429 slows down all requests of its shop, whoever makes them, and a host has limits that
//! all its shops share.
//!
//! Of each shop one request at a time waits for the host. So the shops take turns there, and one that wants many orders
//! does not hold up the reads of the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::time::{Instant, sleep_until};

use super::host::{Host, Hosts, Turn};
use super::slow_down::{MAX_PAUSE, SlowDown};
use crate::order::ids::StoreName;

/// How long a store's requests may get nothing but 429 before a request gives up.
pub const MAX_BUSY: Duration = MAX_PAUSE;

/// The pace of one store. Clones share it.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Shop>);

#[derive(Debug)]
struct Shop {
    store: StoreName,
    host: Arc<Host>,
    /// The holder sends the next request. The mutex is fair: the drain waits only for requests that queued before it.
    queue: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slow_down: SlowDown,
    /// Since when every answer was a 429.
    busy_since: Option<Instant>,
}

/// What a 429 means for its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy {
    /// No request leaves for this long.
    pub pause: Duration,
    /// Every answer was a 429 for [`MAX_BUSY`].
    pub is_hopeless: bool,
}

impl Pace {
    /// The pace of a store whose requests go to this URL, and which has not got a 429.
    #[must_use]
    pub fn new(store: StoreName, hosts: &Hosts, base_url: &Url) -> Self {
        let host = hosts.of(base_url);
        Self(Arc::new(Shop { store, host, queue: tokio::sync::Mutex::default(), state: Mutex::default() }))
    }

    /// Waits until the next request may leave. The turn is to be held until the answer is complete.
    pub async fn turn(&self) -> Turn {
        let _next = self.0.queue.lock().await;
        loop {
            while let Some(at) = self.holds_back() {
                sleep_until(at).await;
            }
            let turn = self.0.host.turn().await;
            // Ask again: a pause may have begun meanwhile.
            if self.leave() {
                return turn;
            }
        }
    }

    /// Takes the turn if the next request may leave now.
    #[must_use]
    pub fn try_turn(&self) -> Option<Turn> {
        let _next = self.0.queue.try_lock().ok()?;
        // Ask first: a request that does not leave must not use up the host's rate.
        if self.holds_back().is_some() {
            return None;
        }
        self.0.host.try_turn().filter(|_| self.leave())
    }

    /// Records a 429 for a request that left at `asked_at`. `told` is the value of `Retry-After`.
    pub fn busy(&self, asked_at: Instant, told: Option<Duration>) -> Busy {
        let Shop { store, host, .. } = &*self.0;
        host.busy(store, asked_at, told);
        let mut state = self.state();
        let now = Instant::now();
        if state.busy_since.is_none() {
            tracing::warn!(
                %store, retry_after = ?told,
                "the marketplace asks for patience (429): the store's requests are slowed down"
            );
        }
        let since = *state.busy_since.get_or_insert(now);
        let until = state.slow_down.busy(asked_at, told, now);
        Busy { pause: until - now, is_hopeless: now.duration_since(since) >= MAX_BUSY }
    }

    /// Records any other answer, success or not.
    pub fn answered(&self) {
        self.0.host.answered();
        let mut state = self.state();
        state.busy_since = None;
        state.slow_down.answered();
    }

    /// A random part of the time in which each shop of the host can make a request: so long a shop waits at the start,
    /// in order that not all ask at once. Zero for a single shop.
    #[must_use]
    pub fn spread(&self) -> Duration {
        // One is held by the list of hosts, and one by this shop.
        let others = Arc::strong_count(&self.0.host).saturating_sub(2);
        self.0.host.time_for(u32::try_from(others).unwrap_or(u32::MAX)).mul_f64(fastrand::f64())
    }

    /// When the store's next request may leave, if not now.
    fn holds_back(&self) -> Option<Instant> {
        self.state().slow_down.holds_back(Instant::now())
    }

    /// Lets a request leave, unless there is a pause.
    fn leave(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let may = state.slow_down.holds_back(now).is_none();
        if may {
            state.slow_down.leave(now);
        }
        may
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics between two related changes, so a poisoned lock is still consistent.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
