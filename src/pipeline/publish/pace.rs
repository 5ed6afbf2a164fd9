//! How often a lane begins a transaction.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Between the beginnings of two transactions. A transaction costs client and broker as much as some ten orders, and a
/// lane whose pages come singly need not pay that for each.
const PACE: Duration = Duration::from_millis(10);

/// Lets pages queue up while a lane is ahead of its pace. A page that comes after a while is not held up.
pub(super) struct Pace {
    next_at: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { next_at: Instant::now() }
    }

    /// Returns when the next transaction may begin: at once if it is `full`.
    pub(super) async fn keep(&mut self, full: bool) {
        if !full {
            sleep_until(self.next_at).await;
        }
        self.next_at = Instant::now() + PACE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waited(pace: &mut Pace, full: bool) -> Duration {
        let start = Instant::now();
        pace.keep(full).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_transaction_that_is_not_full_and_follows_another_one_at_once_is_held_up() {
        let mut pace = Pace::new();
        assert_eq!(waited(&mut pace, false).await, Duration::ZERO);
        assert_eq!(waited(&mut pace, false).await, PACE);
        assert_eq!(waited(&mut pace, true).await, Duration::ZERO);
        tokio::time::advance(PACE / 2).await;
        assert_eq!(waited(&mut pace, false).await, PACE / 2);
        tokio::time::advance(PACE).await;
        assert_eq!(waited(&mut pace, false).await, Duration::ZERO);
    }
}
