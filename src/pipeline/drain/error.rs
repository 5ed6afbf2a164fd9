//! Why a drain ends early.

use thiserror::Error;

use crate::marketplace::client::Refusal;
use crate::order::ids::StoreName;
use crate::pipeline::account::AccountError;
use crate::spool::SpoolError;

/// Failures in a row after which a drain that should come to an end gives up.
pub(super) const MAX_FAILURES: usize = 6;

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
        "store {store}: {MAX_FAILURES} reads in a row had an unknown outcome, the last one because {reason}. Each may have \
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

impl DrainError {
    /// In a word, for programs.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Refused { refusal: Refusal::Token, .. } => "token_refused",
            Self::Refused { refusal: Refusal::StartDate, .. } => "no_start_date",
            Self::Refused { .. } => "refused",
            Self::Unreachable { reason, .. } if reason.contains("certificate") => "certificate",
            Self::Unreachable { .. } => "unreachable",
            Self::Busy { .. } => "busy",
            Self::NothingHandedOver { .. } => "nothing_handed_over",
            Self::Token { .. } => "token_unreadable",
            Self::Unknown { .. } => "unknown",
            Self::Thread(_) | Self::Spool(_) | Self::Account(_) | Self::PageNotKept(_) => "this_machine",
        }
    }

    /// The sentence, for a place that names the store anyway.
    pub(super) fn without_store(&self) -> String {
        let text = self.to_string();
        match text.strip_prefix("store ").and_then(|rest| rest.split_once(": ")) {
            Some((_, sentence)) => sentence.to_owned(),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_told_without_the_name_of_the_store() {
        let error = DrainError::Refused { store: "bogota".parse().unwrap(), refusal: Refusal::Token };
        assert_eq!(error.kind(), "token_refused");
        assert!(error.without_store().starts_with("the marketplace does not accept the token (401)"));
    }
}
