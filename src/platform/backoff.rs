//! Pauses between attempts.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Pauses that double from the first to the longest and then stay there, without an end. Jitter lengthens each of them by
/// up to its own length, so that those who failed together don't come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    pauses: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        let builder = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(first.min(longest))
            .with_max_delay(longest)
            .without_max_times();
        Self { pauses: builder.build(), longest }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(self.longest)
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_jitter_at_most_doubles_them() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut expected = first;
        for pause in Backoff::new(first, longest).take(50) {
            assert!((expected..=expected * 2).contains(&pause), "{pause:?} for {expected:?}");
            expected = (expected * 2).min(longest);
        }
    }

    #[test]
    fn a_longest_pause_below_the_first_one_counts() {
        let pause = Backoff::new(Duration::from_secs(2), Duration::from_millis(10)).pause();
        assert!(pause <= Duration::from_millis(20), "{pause:?}");
    }
}
