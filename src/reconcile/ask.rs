//! The reads that are safe to repeat, and are repeated.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;

use crate::api::{ApiError, Marketplace};
use crate::config::{SecretError, TokenSource};
use crate::ids::{OrderId, OrderIds};
use crate::page::{self, PageError};

/// The longest that a `Retry-After` is heeded for: the pass holds up nothing but the next pass.
const LONGEST: Duration = Duration::from_secs(120);

/// Why an answer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The marketplace's.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The token can't be read.
    #[error(transparent)]
    Token(#[from] SecretError),
}

impl AskError {
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api(ApiError::NotFound))
    }

    /// Whether only a person can help, and so every further call would end the same way.
    pub(super) fn needs_a_person(&self) -> bool {
        match self {
            Self::Token(_) => true,
            Self::Api(error) => matches!(error, ApiError::Refused(_)) && !error.is_transient(),
        }
    }

    /// A whole answer of an odd shape may be the error page of something in between.
    fn is_worth_repeating(&self) -> bool {
        matches!(self, Self::Api(error) if error.is_transient() || matches!(error, ApiError::Shape(_)))
    }
}

/// A store's way to the marketplace, with whatever token is the newest.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The way.
    pub client: Arc<dyn Marketplace>,
    /// Read again for each call: a token that is rotated in mid-pass needs no second attempt.
    pub token: TokenSource,
}

impl Asker {
    /// IDs of the last 8 days.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn order_ids(&self) -> Result<OrderIds, AskError> {
        let ask = || async { Ok(self.client.order_ids(&self.token.read()?).await?) };
        ask.retry(pauses()).when(AskError::is_worth_repeating).adjust(as_told).await
    }

    /// One order: an answer that holds one record. An answer that is well formed and empty is as good as a 404.
    pub(super) async fn order(&self, id: &OrderId) -> Result<Bytes, AskError> {
        let ask = || async {
            let answer = self.client.order(id, &self.token.read()?).await?;
            match page::parse_single(&answer) {
                Ok(_) => Ok(answer),
                Err(PageError::NoRecord) => Err(ApiError::NotFound.into()),
                Err(error) => Err(ApiError::Shape(error).into()),
            }
        };
        ask.retry(pauses()).when(AskError::is_worth_repeating).adjust(as_told).await
    }
}

fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(150))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(5)
}

fn as_told(error: &AskError, pause: Option<Duration>) -> Option<Duration> {
    let told = match error {
        AskError::Api(ApiError::Busy(told)) => told.unwrap_or_default().min(LONGEST),
        _ => Duration::ZERO,
    };
    pause.map(|pause| pause.max(told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Refusal;

    #[test]
    fn only_what_may_pass_is_repeated() {
        let again = |error: ApiError| AskError::from(error).is_worth_repeating();
        assert!(again(ApiError::Busy(None)));
        assert!(again(ApiError::Failed("500".to_owned())));
        assert!(again(ApiError::Shape(PageError::NoData)));
        assert!(!again(ApiError::NotFound));
        assert!(!again(ApiError::Refused(Refusal::Token)));
    }

    #[test]
    fn a_marketplace_that_asks_for_patience_gets_it_within_reason() {
        let busy = |seconds| AskError::from(ApiError::Busy(Some(Duration::from_secs(seconds))));
        let pause = Some(Duration::from_secs(1));
        assert_eq!(as_told(&busy(7), pause), Some(Duration::from_secs(7)));
        assert_eq!(as_told(&busy(86_400), pause), Some(LONGEST));
        assert_eq!(as_told(&busy(7), None), None);
        assert_eq!(as_told(&ApiError::Failed(String::new()).into(), pause), pause);
    }
}
