//! Failures in a row.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// Failures in a row, by kind; any success clears them.
pub(super) struct Setbacks {
    pub(super) count: usize,
    pauses: backon::ExponentialBackoff,
}

impl Setbacks {
    pub(super) fn none() -> Self {
        let builder = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(60))
            .without_max_times();
        Self { count: 0, pauses: builder.build() }
    }

    pub(super) fn another(&mut self) -> Duration {
        self.count += 1;
        self.pauses.next().unwrap_or(Duration::from_secs(60))
    }
}
