//! When to ask next: soon after there was something, ever later while there is nothing, and never all at once.

use std::time::Duration;

/// Jitter takes off up to so much of a pause: many pollers that began together drift apart, and no pause is longer than
/// the settings say.
const JITTER: f64 = 0.2;

/// The pauses between the polls of one poller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollSchedule {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl PollSchedule {
    /// Pauses double from `min` to `max` while there is nothing. They stay the same if `max` is not longer.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The pause after a poll that brought nothing.
    pub fn idle(&mut self) -> Duration {
        let pause = self.next.mul_f64(1.0 - JITTER * fastrand::f64());
        self.next = self.next.saturating_mul(2).min(self.max);
        pause
    }

    /// There was something: the next pause is the shortest again.
    pub fn busy(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_about(pause: Duration, seconds: f64) {
        let most = Duration::from_secs_f64(seconds);
        assert!((most.mul_f64(0.8)..=most).contains(&pause), "{pause:?} is not about {most:?}");
    }

    #[test]
    fn pauses_double_while_there_is_nothing_and_begin_anew_after_something() {
        let mut schedule = PollSchedule::new(Duration::from_secs(30), Duration::from_secs(300));
        for _ in 0..2 {
            for seconds in [30.0, 60.0, 120.0, 240.0, 300.0, 300.0] {
                assert_about(schedule.idle(), seconds);
            }
            schedule.busy();
        }
    }

    #[test]
    fn a_longest_pause_below_the_shortest_changes_nothing() {
        let mut schedule = PollSchedule::new(Duration::from_secs(30), Duration::from_secs(1));
        for _ in 0..3 {
            assert_about(schedule.idle(), 30.0);
        }
    }

    #[test]
    fn pollers_that_begin_together_do_not_stay_together() {
        let mut polls = [0; 60];
        for seed in 0..6000 {
            fastrand::seed(seed);
            let mut schedule = PollSchedule::new(Duration::from_secs(30), Duration::from_secs(300));
            let mut at = Duration::ZERO;
            while at < Duration::from_secs(3600) {
                at += schedule.idle();
            }
            // Where in its interval each of them polls after an hour.
            polls[(at.as_secs() % 60) as usize] += 1;
        }
        assert!(polls.iter().all(|polls| (50..200).contains(polls)), "{polls:?}");
    }
}
