//! What a 429 does to the requests after it: a pause, and then a distance between two of them.

use std::time::Duration;

use tokio::time::Instant;

/// The longest `Retry-After` that is obeyed.
pub const MAX_PAUSE: Duration = Duration::from_secs(600);

/// The distance between two requests after the first 429.
pub(super) const FIRST_DISTANCE: Duration = Duration::from_millis(50);
const LONGEST_DISTANCE: Duration = Duration::from_secs(5);
/// A shorter distance counts as none.
const SHORTEST_DISTANCE: Duration = Duration::from_millis(10);
/// The pause after the first of several 429 without `Retry-After`.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(60);

/// All requests wait as long as `Retry-After` asks, and then leave one by one. The distance between them doubles with
/// each further 429 and shrinks a little with each answer.
#[derive(Debug, Default)]
pub(super) struct SlowDown {
    /// When the next request may leave.
    next: Option<Instant>,
    /// The distance between two requests.
    distance: Duration,
    /// No request leaves before this time, not even one whose turn had come.
    paused_until: Option<Instant>,
    /// When the last slow-down began. A 429 for a request that left earlier is no new information.
    slowed_at: Option<Instant>,
    /// How many slow-downs there were since the last answer.
    in_a_row: u32,
}

impl SlowDown {
    /// When the next request may leave, if not now.
    pub(super) fn holds_back(&self, now: Instant) -> Option<Instant> {
        [self.next, self.paused_until].into_iter().flatten().max().filter(|at| *at > now)
    }

    /// Records that a request leaves.
    pub(super) fn leave(&mut self, now: Instant) {
        self.next = Some(now + self.distance);
    }

    /// Records a 429 for a request that left at `asked_at`, and returns until when there is a pause. `told` is the value
    /// of `Retry-After`.
    pub(super) fn busy(&mut self, asked_at: Instant, told: Option<Duration>, now: Instant) -> Instant {
        if self.slowed_at.is_none_or(|slowed| asked_at > slowed) {
            self.slowed_at = Some(now);
            self.in_a_row += 1;
            self.distance = (self.distance * 2).clamp(FIRST_DISTANCE, LONGEST_DISTANCE);
        }
        let own = FIRST_PAUSE.saturating_mul(1 << self.in_a_row.saturating_sub(1).min(16)).min(LONGEST_OWN_PAUSE);
        let until = now + told.unwrap_or(own).min(MAX_PAUSE);
        let until = self.paused_until.map_or(until, |paused| paused.max(until));
        self.paused_until = Some(until);
        until
    }

    /// Records any other answer.
    pub(super) fn answered(&mut self) {
        self.in_a_row = 0;
        self.distance = self.distance * 31 / 32;
        if self.distance < SHORTEST_DISTANCE {
            self.distance = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_429_at_once_slow_it_down_once_and_answers_make_it_faster_again() {
        let (mut slow_down, asked_at) = (SlowDown::default(), Instant::now());
        for _ in 0..8 {
            slow_down.busy(asked_at, None, asked_at);
        }
        assert_eq!(slow_down.distance, FIRST_DISTANCE);
        for _ in 0..200 {
            slow_down.answered();
        }
        assert_eq!(slow_down.distance, Duration::ZERO);
    }

    #[test]
    fn a_429_that_comes_late_is_no_news() {
        let (mut slow_down, first) = (SlowDown::default(), Instant::now());
        let later = first + Duration::from_secs(1);
        slow_down.busy(later, None, later);
        slow_down.answered();
        assert_eq!(slow_down.busy(first, None, later), later + FIRST_PAUSE);
    }

    #[test]
    fn no_request_waits_for_a_day() {
        let now = Instant::now();
        assert_eq!(SlowDown::default().busy(now, Some(Duration::from_secs(86_400)), now), now + MAX_PAUSE);
    }
}
