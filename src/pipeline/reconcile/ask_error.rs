//! Errors of repeatable requests.

use crate::config::SecretError;
use crate::marketplace::client::ApiError;

/// Why a repeatable request failed.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The token can't be read.
    #[error(transparent)]
    Token(#[from] SecretError),
    /// The list says that it is incomplete, or contradicts itself: an order that it does not name may still exist.
    #[error(
        "the list of order IDs is not whole: {0}. Where the marketplace gives it in pages, set `api.list_page_parameter`; \
         nothing is taken for missing or for settled until it is whole"
    )]
    NotWhole(String),
}

impl AskError {
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api(ApiError::NotFound))
    }

    /// Whether every further call would fail the same way: only a person can help, or nothing but 429 came for too
    /// long.
    pub(super) fn is_hopeless(&self) -> bool {
        match self {
            Self::Token(_) => true,
            Self::NotWhole(_) => false,
            Self::Api(error) => self.is_busy() || (matches!(error, ApiError::Refused(_)) && !error.is_transient()),
        }
    }

    /// Nothing but 429 came for too long.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Api(ApiError::Busy(_)))
    }

    /// Whether a retry may help. An answer of an odd shape may be the error page of a proxy, and a token rotation may
    /// empty the file before filling it. A 429 is a matter of the request rate instead.
    pub(super) fn is_worth_repeating(&self) -> bool {
        matches!(self, Self::Api(ApiError::Failed(_) | ApiError::Shape(_)) | Self::Token(_))
    }
}
