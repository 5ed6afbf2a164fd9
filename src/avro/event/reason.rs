//! Why an event was published.

use serde::{Deserialize, Serialize};

/// Why an event was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Reason {
    /// The marketplace handed it over as a new order.
    Drained,
    /// The reconciler found it in the list of IDs; it was never handed over to us.
    Reconciled,
    /// The marketplace handed it over again, because the seller asked for it.
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
    /// The reasons that this version writes.
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

    /// The type of its events, as CloudEvents name it: for all symbols, in lower case.
    pub(super) fn event_type(self) -> &'static str {
        match self {
            Self::Unknown => "com.imotriz.order.v1.unknown",
            Self::Drained => "com.imotriz.order.v1.drained",
            Self::Reconciled => "com.imotriz.order.v1.reconciled",
            Self::Resynced => "com.imotriz.order.v1.resynced",
            Self::Updated => "com.imotriz.order.v1.updated",
            Self::Republished => "com.imotriz.order.v1.republished",
        }
    }

    /// The symbol's index in the schema.
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
