//! The number of an event among its order's events.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of an event among its order's events, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Revision(i32);

impl Revision {
    /// The revision of an order's first event.
    pub const FIRST: Self = Self(1);

    /// The next revision; `None` after 2³¹ − 1.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl TryFrom<i32> for Revision {
    type Error = &'static str;

    fn try_from(number: i32) -> Result<Self, Self::Error> {
        if number >= 1 { Ok(Self(number)) } else { Err("a revision is 1 or more") }
    }
}

impl From<Revision> for i32 {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_counts_from_one() {
        assert!(Revision::try_from(0).is_err());
        assert_eq!(Revision::FIRST.next(), Revision::try_from(2).ok());
        assert_eq!(Revision::try_from(i32::MAX).unwrap().next(), None);
    }
}
