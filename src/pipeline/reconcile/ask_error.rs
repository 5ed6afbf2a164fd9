//! Why an answer that is safe to ask for could not be had.

use crate::config::SecretError;
use crate::marketplace::client::ApiError;

/// Why an answer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The marketplace's.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The token can't be read.
    #[error(transparent)]
    Token(#[from] SecretError),
    /// The list says itself that it is not whole, or contradicts itself: what it does not name is not proved to be away.
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

    /// Whether every further call would end the same way: only a person can help, or there was nothing but 429 for longer
    /// than anybody waits.
    pub(super) fn is_hopeless(&self) -> bool {
        match self {
            Self::Token(_) => true,
            Self::NotWhole(_) => false,
            Self::Api(error) => self.is_busy() || (matches!(error, ApiError::Refused(_)) && !error.is_transient()),
        }
    }

    /// Nothing but 429, for as long as anybody waits.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Api(ApiError::Busy(_)))
    }

    /// A whole answer of an odd shape may be the error page of something in between, and whoever rotates a token may empty
    /// its file before filling it. A 429 is a matter of pace.
    pub(super) fn is_worth_repeating(&self) -> bool {
        matches!(self, Self::Api(ApiError::Failed(_) | ApiError::Shape(_)) | Self::Token(_))
    }
}
