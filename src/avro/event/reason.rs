//! Why an event was published.

use serde::{Deserialize, Serialize};

/// Why an event was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Reason {
    /// Handed over as a new order.
    Drained,
    /// Found in the list of IDs, never handed over to us.
    Reconciled,
    /// Handed over again, because the seller asked for it.
    Resynced,
    /// Its content has changed.
    Updated,
    /// An operator asked for it.
    Republished,
    /// A reason that a later version added; never written.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// Those that are ever written.
    pub const WRITTEN: [Self; 5] = [Self::Drained, Self::Reconciled, Self::Resynced, Self::Updated, Self::Republished];

    /// The symbol in the schema.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Drained => "DRAINED",
            Self::Reconciled => "RECONCILED",
            Self::Resynced => "RESYNCED",
            Self::Updated => "UPDATED",
            Self::Republished => "REPUBLISHED",
        }
    }

    /// The symbol's place in the schema.
    pub(crate) fn symbol(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Drained => 1,
            Self::Reconciled => 2,
            Self::Resynced => 3,
            Self::Updated => 4,
            Self::Republished => 5,
        }
    }
}
