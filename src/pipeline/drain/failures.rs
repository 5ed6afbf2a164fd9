//! Counts consecutive failures and sets the pause after each.

use std::time::Duration;

use super::error::MAX_FAILURES;
use crate::platform::backoff::Backoff;

/// Number of consecutive reads of unknown outcome after which the pauses grow beyond [`MAX_PAUSE`]: each such read
/// leaves a trace in the spool and in the account.
const MANY_UNKNOWN: u32 = 30;
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The maximum pause after any failure.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// Consecutive failures, by kind; any success resets them.
pub(super) struct Failures {
    pub(super) count: usize,
    /// How many of them were reads of unknown outcome.
    unknown: u32,
    pauses: Backoff,
}

impl Failures {
    pub(super) fn none() -> Self {
        Self { count: 0, unknown: 0, pauses: Backoff::new(Duration::from_millis(200), MAX_PAUSE) }
    }

    pub(super) fn another(&mut self) -> Duration {
        self.count += 1;
        self.pauses.pause()
    }

    /// Counts a read of unknown outcome. After many of them the *n*th is followed by a pause of *2n* seconds. So about
    /// √*t* reads are made in *t* seconds, and finally one an hour.
    pub(super) fn another_unknown(&mut self) -> Duration {
        self.unknown += 1;
        let own = self.another();
        if self.unknown <= MANY_UNKNOWN { own } else { own.max(Duration::from_secs(2) * self.unknown).min(AN_HOUR) }
    }

    /// Whether so many reads had an unknown outcome that a request that leaves no trace should be tried first.
    pub(super) fn call_for_a_question(&self) -> bool {
        self.unknown as usize >= MAX_FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_of_unknown_outcome_become_rare() {
        let mut failures = Failures::none();
        let (mut waited, mut reads) = (Duration::ZERO, 0);
        while waited < Duration::from_secs(30 * 86_400) {
            assert_eq!(failures.call_for_a_question(), reads >= MAX_FAILURES);
            waited += failures.another_unknown();
            reads += 1;
        }
        assert!((1500..1700).contains(&reads), "{reads}");
        assert!(failures.another_unknown() <= AN_HOUR && failures.another() <= 2 * MAX_PAUSE);
    }
}
