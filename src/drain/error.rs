//! Why a drain ends early.

use thiserror::Error;

use super::PATIENCE;
use crate::account::AccountError;
use crate::api::Refusal;
use crate::ids::StoreName;
use crate::spool::SpoolError;

/// Why a drain ended early. What it has read is in the spool.
#[derive(Debug, Error)]
pub enum DrainError {
    /// Only a person can lift it.
    #[error("store {store}: {refusal}")]
    Refused {
        /// The store.
        store: StoreName,
        /// The marketplace's.
        refusal: Refusal,
    },
    /// No connection, repeatedly.
    #[error(
        "store {store}: the marketplace can't be reached: {reason}. Check the network and the store's `base_url`; nothing was read"
    )]
    Unreachable {
        /// The store.
        store: StoreName,
        /// The last attempt's.
        reason: String,
    },
    /// Reads that end nowhere, repeatedly.
    #[error(
        "store {store}: {PATIENCE} reads in a row had an unknown outcome, the last one because {reason}. Each may have \
         marked up to a page of orders that did not reach us: they are noted in the spool and come back by reconciling"
    )]
    Unknown {
        /// The store.
        store: StoreName,
        /// The last read's.
        reason: String,
    },
    /// Empty pages while orders are said to be pending.
    #[error(
        "store {store}: the marketplace says that {pending} orders are pending and hands over none. Try again later"
    )]
    NothingHandedOver {
        /// The store.
        store: StoreName,
        /// What it says.
        pending: u64,
    },
    /// 429, repeatedly.
    #[error("store {store}: the marketplace keeps asking for patience (429). Try again later; nothing was read")]
    Busy {
        /// The store.
        store: StoreName,
    },
    /// The token can't be read.
    #[error("store {store}: {why}")]
    Token {
        /// The store.
        store: StoreName,
        /// What to do.
        why: String,
    },
    /// No thread to read on.
    #[error("the operating system refuses a thread: {0}; nothing was read")]
    Thread(std::io::Error),
    /// The disk.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The disk, likewise.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The disk, after a page had been read. The page goes to Kafka from memory.
    #[error("{0}. The page that was just read goes to Kafka from memory; no further page is read")]
    PageNotKept(String),
}
