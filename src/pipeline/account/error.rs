//! What can go wrong with the account.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::order::ids::ReadId;

/// Why the account can't be kept, or a wish can't be granted.
#[derive(Debug, Error)]
pub enum AccountError {
    /// The disk, or a file that is not what was written.
    #[error("{}: {why}; it holds what this spool knows of orders that did not reach us", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system or the parser says.
        why: String,
    },
    /// There is no such entry.
    #[error("the read {0} is not on the account: see `imotriz-kafka spool account`")]
    NotThere(ReadId),
    /// Too early to settle it by hand.
    #[error("the read {0} was not looked for yet: `imotriz-kafka reconcile` first, it may find all of its orders")]
    NotLookedFor(ReadId),
}

impl AccountError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::File { path: path.to_owned(), why: error.to_string() }
    }

    pub(super) fn parse(path: &Path) -> impl FnOnce(serde_json::Error) -> Self {
        move |error| Self::File { path: path.to_owned(), why: error.to_string() }
    }
}
