//! A histogram of how long pages take from their last byte to their commit: a fixed 2 KiB, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per power of two: a quantile is exact to an eighth.
const STEPS: usize = 1 << STEP_BITS;
const STEP_BITS: u32 = 3;
/// From 1 µs to 2³² µs, more than an hour; longer durations count in the last bucket.
const BUCKETS: usize = (32 - STEP_BITS as usize + 1) * STEPS;

/// A histogram of durations, in buckets of microseconds whose width grows with the duration.
#[derive(Debug)]
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], micros: AtomicU64::new(0) }
    }
}

impl Latency {
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts().sum()
    }

    /// The sum of all recorded durations.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    /// How many took less than `bound`; exact if `bound` is a power of two in microseconds.
    #[must_use]
    pub fn below(&self, bound: Duration) -> u64 {
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        self.counts().take(bucket_of(micros)).sum()
    }

    /// The duration below which this share of them stayed: `quantile(0.99)` is the p99, rounded up by an eighth at
    /// most. Zero if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil();
        let mut seen = 0;
        let reached = |count| {
            seen += count;
            seen > 0 && seen as f64 >= wanted
        };
        let bucket = self.counts().position(reached);
        Duration::from_micros(bucket.map_or(0, |bucket| first_of(bucket + 1)))
    }

    fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))
    }
}

/// The lowest numbers have a bucket each; above, the highest bits of a number select its bucket.
fn bucket_of(micros: u64) -> usize {
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let bucket = (shift as usize * STEPS) + (micros >> shift) as usize;
    bucket.min(BUCKETS - 1)
}

/// The smallest number of a bucket.
fn first_of(bucket: usize) -> u64 {
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_the_bucket_that_begins_at_or_below_it() {
        for micros in (0..5000).chain((13..32).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])) {
            let bucket = bucket_of(micros);
            assert!(first_of(bucket) <= micros && micros < first_of(bucket + 1), "{micros} in {bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_right_to_an_eighth_and_sums_exactly() {
        let latency = Latency::default();
        assert_eq!(latency.quantile(0.5), Duration::ZERO);
        (1..=1000).for_each(|millis| latency.record(Duration::from_millis(millis)));
        for (share, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let told = latency.quantile(share).as_secs_f64() * 1000.0;
            assert!((exact..=exact * 1.126).contains(&told), "{share}: {told}");
        }
        assert_eq!((latency.count(), latency.sum()), (1000, Duration::from_millis(500_500)));
    }

    #[test]
    fn counts_below_a_power_of_two_are_exact() {
        let latency = Latency::default();
        for micros in [1023, 1024, 1025] {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!(latency.below(Duration::from_micros(1024)), 1);
        assert_eq!(latency.below(Duration::from_micros(2048)), 3);
    }
}
