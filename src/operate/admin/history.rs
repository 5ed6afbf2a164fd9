//! The last hour in numbers, for the charts of the status page.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::pipeline::counters::{Counters, StoreCounters};

/// How often the numbers are noted.
pub(super) const STEP: Duration = Duration::from_secs(30);
/// How many of them make an hour.
pub(super) const STEPS: usize = 120;

/// Sums over all stores at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) published: u64,
    pub(super) read: u64,
    /// Reads that were refused, and those of unknown outcome.
    pub(super) failed: u64,
    pub(super) pending: u64,
}

impl Sample {
    pub(super) fn of(counters: &Counters) -> Self {
        let (current, removed) = (counters.stores(), counters.removed_stores());
        let sum = |number: fn(&StoreCounters) -> u64| {
            current.values().chain(removed.values()).map(|store| number(store)).sum::<u64>()
        };
        Self {
            published: sum(|store| store.published.total()),
            read: sum(|store| store.orders_read.get()),
            failed: sum(|store| {
                let refused = &store.refused;
                refused.token.get() + refused.start_date.get() + refused.other.get() + store.unknown_reads.get()
            }),
            pending: counters.total(|store| store.pending.get()),
        }
    }
}

/// The samples of the last hour, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<Sample>>);

impl History {
    pub(super) fn note(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One more than there are steps: a step lies between two samples.
        if samples.len() > STEPS {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The increases of a number from sample to sample.
    pub(super) fn increases(&self, number: fn(&Sample) -> u64) -> Vec<u64> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = samples.iter().zip(samples.iter().skip(1));
        pairs.map(|(before, after)| number(after).saturating_sub(number(before))).collect()
    }

    pub(super) fn values(&self, number: fn(&Sample) -> u64) -> Vec<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().skip(1).map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_as_increases() {
        let history = History::default();
        for published in 0..500 {
            history.note(Sample { published: published * 3, ..Sample::default() });
        }
        assert_eq!(history.increases(|sample| sample.published), [3; STEPS]);
        assert_eq!(history.values(|sample| sample.published).last(), Some(&1497));
        assert_eq!(STEP * u32::try_from(STEPS).unwrap(), Duration::from_secs(3600));
    }
}
