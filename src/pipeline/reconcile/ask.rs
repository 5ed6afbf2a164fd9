//! Requests that are safe to repeat, and their retries.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::ask_error::AskError;
use super::whole_list;
use crate::config::{Store, TokenSource};
use crate::marketplace::body::{self, IdList, PageError};
use crate::marketplace::client::{ApiError, Marketplace, Pace, Refusal};
use crate::order::ids::{OrderId, OrderIds};
use crate::platform::backoff::Backoff;

/// A store's client for repeatable requests, always with the newest token.
#[derive(Debug, Clone)]
pub struct Asker {
    pub client: Arc<dyn Marketplace>,
    /// Read again for each call, and when it is refused: rotating a token in mid-pass fails no order.
    pub token: TokenSource,
    /// The store's request rate, shared with the drain.
    pub pace: Pace,
    /// Whether the list of IDs is requested in pages.
    pub list_in_pages: bool,
}

impl Asker {
    #[must_use]
    pub fn new(store: &Store, client: Arc<dyn Marketplace>, pace: Pace) -> Self {
        let (token, list_in_pages) = (store.token.clone(), store.api.list_page_parameter.is_some());
        Self { client, token, pace, list_in_pages }
    }

    /// Fetches the IDs of the last 8 days: all of them, or an error.
    ///
    /// # Errors
    /// The last attempt's, or [`AskError::NotWhole`].
    pub async fn order_ids(&self) -> Result<OrderIds, AskError> {
        whole_list::take(self.list_in_pages, |page| self.list(page)).await
    }

    /// Like [`Asker::order_ids`], without retries after a failure or a 429.
    pub async fn order_ids_at_once(&self) -> Result<OrderIds, AskError> {
        let once = async |page| Ok(self.client.order_ids(page, &self.token.read()?).await?);
        whole_list::take(self.list_in_pages, once).await
    }

    async fn list(&self, page: Option<u64>) -> Result<IdList, AskError> {
        self.ask(|token| async move { Ok(self.client.order_ids(page, &token).await?) }).await
    }

    /// Fetches one order: an answer that holds one record. A well-formed empty answer counts as a 404.
    pub(super) async fn order(&self, id: &OrderId) -> Result<Bytes, AskError> {
        self.ask(|token| async move {
            let answer = self.client.order(id, &token).await?;
            match body::parse_single(&answer) {
                Ok(_) => Ok(answer),
                Err(PageError::NoRecord) => Err(ApiError::NotFound.into()),
                Err(error) => Err(ApiError::Shape(error).into()),
            }
        })
        .await
    }

    /// Retries what may pass: a few times after a failure, and after a 429 for as long as [`Pace`] allows.
    async fn ask<T, A: Future<Output = Result<T, AskError>>>(
        &self,
        once: impl Fn(SecretString) -> A,
    ) -> Result<T, AskError> {
        let mut pauses = pauses();
        loop {
            let turn = self.pace.turn().await;
            let asked_at = Instant::now();
            let request = async {
                match self.token.read() {
                    Ok(token) => (Some(token.clone()), once(token).await),
                    Err(error) => (None, Err(error.into())),
                }
            };
            let (token, answer) = turn.until(request).await;
            if !matches!(answer, Err(AskError::Token(_) | AskError::Api(ApiError::Busy(_) | ApiError::Failed(_)))) {
                self.pace.answered();
            }
            let error = match answer {
                Err(AskError::Api(ApiError::Busy(told))) => {
                    // guard: a 429 is waited out
                    if self.pace.busy(asked_at, told).is_hopeless {
                        return Err(ApiError::Busy(told).into());
                    }
                    continue;
                }
                Err(AskError::Api(ApiError::Refused(Refusal::Token))) if self.is_another(token.as_ref()) => continue,
                Err(error) => error,
                answer => return answer,
            };
            match pauses.next().filter(|_| error.is_worth_repeating()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    /// Whether the token was rotated since this one was read.
    fn is_another(&self, used: Option<&SecretString>) -> bool {
        let used = used.map(SecretString::expose_secret);
        self.token.read().is_ok_and(|now| Some(now.expose_secret()) != used)
    }
}

fn pauses() -> impl Iterator<Item = Duration> {
    Backoff::new(Duration::from_millis(150), Duration::from_secs(5)).take(5)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::marketplace::client::{ApiFuture, HostLimits, Hosts, Read};

    #[test]
    fn only_what_may_pass_is_repeated() {
        let again = |error: ApiError| AskError::from(error).is_worth_repeating();
        assert!(again(ApiError::Failed("500".to_owned())));
        assert!(again(ApiError::Shape(PageError::NoData)));
        assert!(!again(ApiError::Busy(None)), "that is a matter of pace, and costs no attempt");
        assert!(!again(ApiError::NotFound));
        assert!(!again(ApiError::Refused(Refusal::Token)));
        assert!(!AskError::NotWhole(String::new()).is_worth_repeating());
    }

    /// A marketplace that answers this many calls per second, and counts the refused ones.
    #[derive(Debug)]
    struct Limited {
        per_second: usize,
        answered: Mutex<Vec<Instant>>,
        refused: AtomicU64,
    }

    impl Limited {
        fn new(per_second: usize) -> Arc<Self> {
            Arc::new(Self { per_second, answered: Mutex::default(), refused: AtomicU64::new(0) })
        }
    }

    impl Marketplace for Limited {
        fn new_orders<'a>(&'a self, _: &'a SecretString) -> ApiFuture<'a, Read> {
            unreachable!("nobody reads new orders here")
        }

        fn order_ids<'a>(&'a self, _: Option<u64>, _: &'a SecretString) -> ApiFuture<'a, Result<IdList, ApiError>> {
            unreachable!("nobody takes the list here")
        }

        fn order<'a>(&'a self, id: &'a OrderId, _: &'a SecretString) -> ApiFuture<'a, Result<Bytes, ApiError>> {
            Box::pin(async move {
                let mut answered = self.answered.lock().unwrap();
                let lately = answered.iter().filter(|at| at.elapsed() < Duration::from_secs(1)).count();
                if lately >= self.per_second {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return Err(ApiError::Busy(None));
                }
                answered.push(Instant::now());
                Ok(format!(r#"{{"data":{{"order":{{"id":{id}}}}}}}"#).into())
            })
        }
    }

    fn asker(client: Arc<dyn Marketplace>) -> Asker {
        let hosts = Hosts::new(HostLimits { max_in_flight: 1000, requests_per_second: 1000 });
        let pace = Pace::new("bogota".parse().unwrap(), &hosts, &"https://localhost".parse().unwrap());
        Asker { client, token: TokenSource::fixed("token"), pace, list_in_pages: false }
    }

    async fn ask_for_many(asker: &Asker, orders: usize) -> usize {
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..orders {
            let asker = asker.clone();
            asked.spawn(async move { asker.order(&number.to_string().parse().unwrap()).await });
        }
        asked.join_all().await.iter().filter(|answer| answer.is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_marketplace_that_answers_two_calls_a_second_gives_every_order() {
        let limited = Limited::new(2);
        let start = Instant::now();
        assert_eq!(ask_for_many(&asker(limited.clone()), 200).await, 200);
        assert!(limited.refused.load(Ordering::Relaxed) > 0, "the limit was met");
        assert!(start.elapsed() < Duration::from_secs(400), "took {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_marketplace_that_answers_nothing_but_429_is_given_up() {
        let start = Instant::now();
        assert_eq!(ask_for_many(&asker(Limited::new(0)), 20).await, 0);
        assert!(start.elapsed() < Duration::from_secs(3600), "took {:?}", start.elapsed());
    }

    /// A marketplace whose token is rotated, in its file too, during the first call.
    #[derive(Debug)]
    struct Rotating {
        file: std::path::PathBuf,
        calls: AtomicU64,
    }

    impl Marketplace for Rotating {
        fn new_orders<'a>(&'a self, _: &'a SecretString) -> ApiFuture<'a, Read> {
            unreachable!("nobody reads new orders here")
        }

        fn order_ids<'a>(&'a self, _: Option<u64>, _: &'a SecretString) -> ApiFuture<'a, Result<IdList, ApiError>> {
            unreachable!("nobody takes the list here")
        }

        fn order<'a>(&'a self, id: &'a OrderId, token: &'a SecretString) -> ApiFuture<'a, Result<Bytes, ApiError>> {
            Box::pin(async move {
                if self.calls.fetch_add(1, Ordering::Relaxed) == 0 {
                    std::fs::write(&self.file, "new").unwrap();
                }
                match token.expose_secret() {
                    "new" => Ok(format!(r#"{{"data":{{"order":{{"id":{id}}}}}}}"#).into()),
                    _ => Err(Refusal::Token.into()),
                }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_rotated_in_mid_pass_fails_no_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old").unwrap();
        let rotating = Arc::new(Rotating { file: file.clone(), calls: AtomicU64::new(0) });
        let asker = Asker { token: TokenSource::in_file(file.clone()), ..asker(rotating.clone()) };
        assert_eq!(ask_for_many(&asker, 10).await, 10);
        std::fs::write(&file, "void").unwrap();
        let before = rotating.calls.load(Ordering::Relaxed);
        assert_eq!(ask_for_many(&asker, 1).await, 0);
        assert_eq!(rotating.calls.load(Ordering::Relaxed), before + 1, "a token that stays void is not tried again");
    }
}
