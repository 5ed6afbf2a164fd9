//! Rate limiting: a 429 slows down all requests of its store, whoever makes them.
//!
//! Without a 429, nothing is held back. After one, all requests wait as long as `Retry-After` asks, and then leave one
//! by one. The distance between them doubles with each further 429 and shrinks a little with each answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::order::ids::StoreName;

/// How long a store's requests may get nothing but 429 before a request gives up. Also the upper bound for
/// `Retry-After`.
pub const MAX_BUSY: Duration = Duration::from_secs(600);

/// The distance between two requests after the first 429.
const FIRST_DISTANCE: Duration = Duration::from_millis(50);
const LONGEST_DISTANCE: Duration = Duration::from_secs(5);
/// A shorter distance counts as none.
const SHORTEST_DISTANCE: Duration = Duration::from_millis(10);
/// The pause after the first of several 429 without `Retry-After`.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pace of one store. Clones share it.
#[derive(Debug, Clone)]
pub struct Pace {
    store: StoreName,
    /// The holder sends the next request. The mutex is fair: the drain waits only for requests that queued before it.
    queue: Arc<tokio::sync::Mutex<()>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// When the next request may leave.
    next: Option<Instant>,
    /// The distance between two requests.
    distance: Duration,
    /// No request leaves before this time, not even one whose turn had come.
    paused_until: Option<Instant>,
    /// When the last slow-down began. A 429 for a request that left earlier is no new information.
    slowed_at: Option<Instant>,
    /// Since when every answer was a 429.
    busy_since: Option<Instant>,
    /// How many slow-downs there were since then.
    in_a_row: u32,
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
    /// The pace of a marketplace that has not sent a 429.
    #[must_use]
    pub fn new(store: StoreName) -> Self {
        Self { store, queue: Arc::default(), state: Arc::default() }
    }

    /// Waits until the next request may leave.
    pub async fn turn(&self) {
        let _next = self.queue.lock().await;
        // Ask again: a pause may have begun meanwhile.
        while let Some(at) = self.take_turn() {
            sleep_until(at).await;
        }
    }

    /// Takes the turn if the next request may leave now.
    #[must_use]
    pub fn try_turn(&self) -> bool {
        self.queue.try_lock().is_ok_and(|_next| self.take_turn().is_none())
    }

    /// Records a 429 for a request that left at `asked_at`. `told` is the value of `Retry-After`.
    pub fn busy(&self, asked_at: Instant, told: Option<Duration>) -> Busy {
        let mut state = self.state();
        let now = Instant::now();
        if state.busy_since.is_none() {
            tracing::warn!(
                store = %self.store, retry_after = ?told,
                "the marketplace asks for patience (429): the store's requests are slowed down"
            );
        }
        let since = *state.busy_since.get_or_insert(now);
        if state.slowed_at.is_none_or(|slowed| asked_at > slowed) {
            state.slowed_at = Some(now);
            state.in_a_row += 1;
            state.distance = (state.distance * 2).clamp(FIRST_DISTANCE, LONGEST_DISTANCE);
        }
        let own = FIRST_PAUSE.saturating_mul(1 << state.in_a_row.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
        let until = now + told.unwrap_or(own).min(MAX_BUSY);
        let until = state.paused_until.map_or(until, |paused| paused.max(until));
        state.paused_until = Some(until);
        Busy { pause: until - now, is_hopeless: now.duration_since(since) >= MAX_BUSY }
    }

    /// Records any other answer, success or not.
    pub fn answered(&self) {
        let mut state = self.state();
        state.busy_since = None;
        state.in_a_row = 0;
        state.distance = state.distance * 31 / 32;
        if state.distance < SHORTEST_DISTANCE {
            state.distance = Duration::ZERO;
        }
    }

    /// Takes the turn and returns `None`, or returns when the turn comes.
    fn take_turn(&self) -> Option<Instant> {
        let mut state = self.state();
        let now = Instant::now();
        let comes = [state.next, state.paused_until].into_iter().flatten().max().filter(|at| *at > now);
        if comes.is_none() {
            state.next = Some(now + state.distance);
        }
        comes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics between two related changes, so a poisoned lock is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new("bogota".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_held_back_before_a_429_and_everybody_waits_after_it() {
        let pace = pace();
        let start = Instant::now();
        for _ in 0..100 {
            pace.turn().await;
            assert!(pace.try_turn());
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(pace.busy(start, Some(Duration::from_secs(7))).pause, Duration::from_secs(7));
        assert!(!pace.clone().try_turn(), "whoever else asks for the store waits as well");
        pace.turn().await;
        assert_eq!(start.elapsed().as_secs(), 7);
        pace.turn().await;
        assert!(start.elapsed() >= Duration::from_secs(7) + FIRST_DISTANCE, "one after the other");
    }

    #[tokio::test(start_paused = true)]
    async fn many_429_at_once_slow_it_down_once_and_answers_make_it_faster_again() {
        let pace = pace();
        let asked_at = Instant::now();
        for _ in 0..8 {
            pace.busy(asked_at, None);
        }
        assert_eq!(pace.state().distance, FIRST_DISTANCE);
        for _ in 0..200 {
            pace.answered();
        }
        assert_eq!(pace.state().distance, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_begins_while_a_request_waits_for_its_turn_holds_it_back() {
        let pace = pace();
        pace.busy(Instant::now(), Some(Duration::from_secs(1)));
        let start = Instant::now();
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { pace.turn().await }
        });
        tokio::task::yield_now().await;
        pace.busy(start, Some(Duration::from_secs(5)));
        waiting.await.unwrap();
        assert!(start.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_after_nothing_but_429_and_a_single_answer_renews_its_patience() {
        let pace = pace();
        let minute = Some(Duration::from_secs(60));
        let busy = async || {
            pace.turn().await;
            pace.busy(Instant::now(), minute)
        };
        for _ in 0..9 {
            assert!(!busy().await.is_hopeless);
        }
        pace.answered();
        let start = Instant::now();
        while !busy().await.is_hopeless {}
        assert!(start.elapsed() >= MAX_BUSY && start.elapsed() < MAX_BUSY * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_that_comes_late_is_no_news() {
        let pace = pace();
        let first = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        pace.busy(Instant::now(), None);
        pace.answered();
        assert_eq!(pace.busy(first, None).pause, FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn no_request_waits_for_a_day() {
        assert_eq!(pace().busy(Instant::now(), Some(Duration::from_secs(86_400))).pause, MAX_BUSY);
    }
}
