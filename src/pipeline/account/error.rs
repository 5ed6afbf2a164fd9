//! Errors of the account.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::order::ids::ReadId;

/// Why the account can't be written, or an entry can't be settled.
#[derive(Debug, Error)]
pub enum AccountError {
    /// A disk error, or a file that is not what was written.
    #[error("{}: {why}; it holds what this spool knows of orders that did not reach us", path.display())]
    File {
        path: PathBuf,
        /// The operating system's or the parser's message.
        why: String,
    },
    /// There is no entry for this read.
    #[error("the read {0} is not on the account: see `imotriz-kafka spool account`")]
    NotThere(ReadId),
    /// No pass has looked for the orders yet, so it is too early to settle the entry by hand.
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
