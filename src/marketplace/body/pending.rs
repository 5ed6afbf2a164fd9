//! How many orders the marketplace said were pending.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The number of orders that an answer reported as pending after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    pub orders: u64,
    /// When the answer came.
    pub at: Timestamp,
}
