//! Limits of one host, shared by all shops that it serves: requests in flight, requests per second, and a slow-down
//! when it answers several shops with 429.
//!
//! The marketplace does not document a limit, and not whether a 429 is about a token or about us. So a 429 slows down
//! its shop alone. Only when several shops were answered so within a few seconds, and not just a few of many answers
//! were such, the host as a whole is slowed down.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::slow_down::SlowDown;
use crate::order::ids::StoreName;

/// A 429 is counted together with those of so many seconds.
const WINDOW: Duration = Duration::from_secs(10);
/// So many shops with a 429 within [`WINDOW`] speak for the host as a whole,
const SEVERAL: usize = 3;
/// if at least one answer in so many was a 429.
const FEW: u64 = 10;
/// An answer that has not come by then is overdue: others may ask meanwhile.
const OVERDUE: Duration = Duration::from_secs(5);
/// So many requests may be overdue for each one that may be in flight.
const OVERDUE_PER_PLACE: u32 = 3;
/// As many requests as one second allows may leave at once.
const BURST: Duration = Duration::from_secs(1);

/// Limits that hold for each host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostLimits {
    pub max_in_flight: u32,
    /// On average; after a quiet second, so many leave at once.
    pub requests_per_second: u32,
}

/// The hosts that the shops' requests go to. Clones share them.
#[derive(Debug, Clone)]
pub struct Hosts {
    limits: HostLimits,
    /// By name and port.
    hosts: Arc<Mutex<BTreeMap<String, Arc<Host>>>>,
}

impl Hosts {
    #[must_use]
    pub fn new(limits: HostLimits) -> Self {
        Self { limits, hosts: Arc::default() }
    }

    /// The host that requests to this URL go to.
    pub(super) fn of(&self, base_url: &Url) -> Arc<Host> {
        let port = base_url.port_or_known_default().unwrap_or_default();
        let name = format!("{}:{port}", base_url.host_str().unwrap_or_default());
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(name).or_insert_with_key(|name| Arc::new(Host::new(name.clone(), self.limits))).clone()
    }
}

/// A request's place among those in flight. Dropping it, once the answer is complete, gives the place to the next.
#[derive(Debug)]
#[must_use = "the place is free as soon as this is dropped"]
pub struct Turn {
    place: OwnedSemaphorePermit,
    overdue: Arc<Semaphore>,
}

impl Turn {
    /// Awaits the answer of the request. One that is overdue makes room for others, unless too many are: answers that hang
    /// for some shops must not stop all.
    pub async fn until<T>(mut self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        if let Ok(answer) = timeout(OVERDUE, answer.as_mut()).await {
            return answer;
        }
        // guard: shops whose answers hang do not stop the others
        if let Ok(place) = self.overdue.clone().try_acquire_owned() {
            self.place = place;
        }
        let answer = answer.await;
        drop(self.place);
        answer
    }
}

#[derive(Debug)]
pub(super) struct Host {
    name: String,
    limits: HostLimits,
    /// The holder sends the next request. The mutex is fair: first come, first served.
    queue: tokio::sync::Mutex<()>,
    in_flight: Arc<Semaphore>,
    /// For requests in flight that are overdue.
    overdue: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The time up to which the rate is used up.
    used_until: Option<Instant>,
    slow_down: SlowDown,
    recent: Recent,
}

/// The answers of at most [`WINDOW`].
#[derive(Debug, Default)]
struct Recent {
    since: Option<Instant>,
    answers: u64,
    /// How many of them were a 429.
    busy: u64,
    /// Whom they were for; no more than [`SEVERAL`] are noted.
    busy_stores: Vec<StoreName>,
    /// Whether the log has it that the host is slowed down.
    is_logged: bool,
}

impl Host {
    fn new(name: String, limits: HostLimits) -> Self {
        let in_flight = Arc::new(Semaphore::new(limits.max_in_flight as usize));
        let overdue = Arc::new(Semaphore::new((limits.max_in_flight * OVERDUE_PER_PLACE) as usize));
        Self { name, limits, queue: tokio::sync::Mutex::default(), in_flight, overdue, state: Mutex::default() }
    }

    /// Waits until the next request may leave.
    pub(super) async fn turn(&self) -> Turn {
        let _next = self.queue.lock().await;
        let place = self.in_flight.clone().acquire_owned().await.expect("the semaphore is never closed");
        // Ask again: a pause may have begun meanwhile.
        while let Some(at) = self.leave() {
            sleep_until(at).await;
        }
        Turn { place, overdue: self.overdue.clone() }
    }

    /// Takes the turn if the next request may leave now.
    pub(super) fn try_turn(&self) -> Option<Turn> {
        let _next = self.queue.try_lock().ok()?;
        let place = self.in_flight.clone().try_acquire_owned().ok()?;
        self.leave().is_none().then_some(Turn { place, overdue: self.overdue.clone() })
    }

    /// Records a 429.
    pub(super) fn busy(&self, store: &StoreName, asked_at: Instant, told: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        if state.recent.busy(store, now) {
            let until = state.slow_down.busy(asked_at, told, now);
            if !std::mem::replace(&mut state.recent.is_logged, true) {
                tracing::warn!(
                    host = self.name, pause = ?(until - now),
                    "the marketplace asks several shops for patience (429): all requests to this host are slowed down"
                );
            }
        }
    }

    /// Records any other answer.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.recent.of(Instant::now()).answers += 1;
        state.slow_down.answered();
    }

    /// The time that so many requests take at this host's rate.
    pub(super) fn time_for(&self, requests: u32) -> Duration {
        BURST * requests / self.limits.requests_per_second
    }

    /// Lets a request leave and returns `None`, or returns when it may leave.
    fn leave(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let used_until = state.used_until.map_or(now, |until| until.max(now)) + self.time_for(1);
        let by_rate = Some(used_until).filter(|until| *until > now + BURST).map(|until| until - BURST);
        let comes = by_rate.max(state.slow_down.holds_back(now));
        if comes.is_none() {
            state.used_until = Some(used_until);
            state.slow_down.leave(now);
        }
        comes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics between two related changes, so a poisoned lock is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn of(&mut self, now: Instant) -> &mut Self {
        if self.since.is_none_or(|since| now.duration_since(since) > WINDOW) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        self
    }

    /// Counts a 429, and returns whether the host as a whole is meant.
    fn busy(&mut self, store: &StoreName, now: Instant) -> bool {
        let Self { answers, busy, busy_stores, .. } = self.of(now);
        *answers += 1;
        *busy += 1;
        if busy_stores.len() < SEVERAL && !busy_stores.contains(store) {
            busy_stores.push(store.clone());
        }
        // guard: one shop's 429 is not the host's
        busy_stores.len() >= SEVERAL && *busy * FEW >= *answers
    }
}
