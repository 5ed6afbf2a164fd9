//! An atomic number, an atomic point in time, and the time of a beginning.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

use crate::platform::clock;

/// A counter or a gauge.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Subtracts one.
    pub fn take_one(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An optional point in time: milliseconds since 1970, 0 for none.
#[derive(Debug, Default)]
pub struct Time(AtomicI64);

impl Time {
    /// Sets it to the current time.
    pub fn now(&self) {
        self.set(clock::now());
    }

    pub fn set(&self, at: Timestamp) {
        self.0.store(at.as_millisecond(), Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> Option<Timestamp> {
        let millis = self.0.load(Ordering::Relaxed);
        (millis > 0).then(|| Timestamp::from_millisecond(millis).ok()).flatten()
    }
}

/// The time at which this value was made.
#[derive(Debug, Clone, Copy)]
pub struct Start(Timestamp);

impl Start {
    #[must_use]
    pub fn at(self) -> Timestamp {
        self.0
    }
}

impl Default for Start {
    fn default() -> Self {
        Self(clock::now())
    }
}
