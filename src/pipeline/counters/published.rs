//! Counts of events by their reasons.

use std::ops::AddAssign;

use super::Number;
use crate::avro::event::Reason;

/// Number of events for each reason that is ever written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published([u64; Reason::WRITTEN.len()]);

impl Published {
    /// Adds one event.
    pub fn count(&mut self, reason: Reason) {
        if let Some(place) = place(reason) {
            self.0[place] += 1;
        }
    }

    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        place(reason).map_or(0, |place| self.0[place])
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Published {
    /// Combines the numbers of each reason.
    #[must_use]
    pub fn zip(mut self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        for (number, other) in self.0.iter_mut().zip(other.0) {
            *number = combine(*number, other);
        }
        self
    }
}

impl AddAssign for Published {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, |number, more| number + more);
    }
}

fn place(reason: Reason) -> Option<usize> {
    Reason::WRITTEN.iter().position(|written| *written == reason)
}

/// Like [`Published`], in atomics.
#[derive(Debug, Default)]
pub struct Numbers([Number; Reason::WRITTEN.len()]);

impl Numbers {
    pub fn add(&self, more: Published) {
        for (number, more) in self.0.iter().zip(more.0) {
            number.add(more);
        }
    }

    #[must_use]
    pub fn get(&self) -> Published {
        Published(self.0.each_ref().map(Number::get))
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.get().total()
    }
}
