//! Why a drain ends early.

use thiserror::Error;

use crate::marketplace::client::Refusal;
use crate::order::ids::StoreName;
use crate::pipeline::account::AccountError;
use crate::spool::SpoolError;

/// Number of consecutive failures after which a one-shot drain gives up.
pub(super) const MAX_FAILURES: usize = 6;

/// Why a drain ended early. Whatever it has read is in the spool.
#[derive(Debug, Error)]
pub enum DrainError {
    /// The marketplace refuses the read, and only a person can change that.
    #[error("store {store}: {refusal}")]
    Refused { store: StoreName, refusal: Refusal },
    /// No connection, repeatedly.
    #[error(
        "store {store}: the marketplace can't be reached: {reason}. Check the network and the store's `base_url`; nothing was read"
    )]
    Unreachable {
        store: StoreName,
        /// The last attempt's.
        reason: String,
    },
    /// Reads of unknown outcome, repeatedly.
    #[error(
        "store {store}: {MAX_FAILURES} reads in a row had an unknown outcome, the last one because {reason}. Each may have \
         marked up to a page of orders that did not reach us: they are noted in the spool and come back by reconciling"
    )]
    Unknown {
        store: StoreName,
        /// The last read's.
        reason: String,
    },
    /// Empty pages although orders are reported as pending, repeatedly.
    #[error(
        "store {store}: the marketplace says that {pending} orders are pending and hands over none. Try again later"
    )]
    NothingHandedOver { store: StoreName, pending: u64 },
    /// 429, repeatedly.
    #[error("store {store}: the marketplace keeps asking for patience (429). Try again later; nothing was read")]
    Busy { store: StoreName },
    /// The token can't be read.
    #[error("store {store}: {why}")]
    Token {
        store: StoreName,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The operating system can't start the drain's thread.
    #[error("the operating system refuses a thread: {0}; nothing was read")]
    Thread(std::io::Error),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The account can't be written.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The disk failed after a page had been read. The page goes to Kafka from memory.
    #[error("{0}. The page that was just read goes to Kafka from memory; no further page is read")]
    PageNotKept(String),
}

impl DrainError {
    /// A word for programs.
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

    /// The message, for places that name the store anyway.
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
