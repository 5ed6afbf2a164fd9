//! Events by the reasons that they carry.

use std::ops::AddAssign;

use super::Number;
use crate::avro::event::Reason;

/// So many of each reason that is ever written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published([u64; Reason::WRITTEN.len()]);

impl Published {
    /// One more.
    pub fn count(&mut self, reason: Reason) {
        if let Some(place) = place(reason) {
            self.0[place] += 1;
        }
    }

    /// How many for this reason.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        place(reason).map_or(0, |place| self.0[place])
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for Published {
    fn add_assign(&mut self, other: Self) {
        for (number, more) in self.0.iter_mut().zip(other.0) {
            *number += more;
        }
    }
}

fn place(reason: Reason) -> Option<usize> {
    Reason::WRITTEN.iter().position(|written| *written == reason)
}

/// The same, shared.
#[derive(Debug, Default)]
pub struct Numbers([Number; Reason::WRITTEN.len()]);

impl Numbers {
    /// So many more.
    pub fn add(&self, more: Published) {
        for (number, more) in self.0.iter().zip(more.0) {
            number.add(more);
        }
    }

    /// How many there are now.
    #[must_use]
    pub fn get(&self) -> Published {
        Published(self.0.each_ref().map(Number::get))
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.get().total()
    }
}
