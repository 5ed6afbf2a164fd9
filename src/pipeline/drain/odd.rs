//! Irregular answers that are understood all the same: notices around a page, and "no orders" in other forms than an
//! empty page. Also the harmless request that precedes a read when the marketplace seems to be down.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::failures::Failures;
use super::{Course, Drain, DrainError, Next};
use tokio::time::Instant;

use crate::config::Token;
use crate::marketplace::body::{Counted, EmptyPage, Message, Noise};
use crate::marketplace::client::{ApiError, NoOrders, Read, Refusal};
use crate::order::ids::OrderId;
use crate::platform::clock;

/// What a store's answers have shown so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Whether the path has brought a page.
    page: bool,
    /// What was logged once and is not logged again.
    said: BTreeSet<&'static str>,
    /// The last ambiguous message, saying neither failure nor success, for which a trace was left.
    message: Option<Bytes>,
}

impl Seen {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every statement leaves it consistent, so a poisoned lock is safe to use.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn page(&self) {
        self.state().page = true;
    }

    fn is_new(&self, what: &'static str) -> bool {
        self.state().said.insert(what)
    }

    /// Whether a message instead of a page means that there are no orders. An ambiguous message leaves a trace when it
    /// first comes. The reconciler then finds out whether anything was marked, and so what the message means the next
    /// time.
    pub(super) fn no_orders(&self, message: Message, body: &Bytes) -> Option<NoOrders> {
        match message {
            Message::NotFound => Some(NoOrders::NotFound),
            Message::Well => Some(NoOrders::Message),
            Message::Failed => None,
            Message::Unclear => {
                let known = self.state().message.replace(body.clone());
                known.is_some_and(|known| known == *body).then_some(NoOrders::Message)
            }
        }
    }
}

impl Drain {
    /// Logs notices around a page. They may quote an order, so their text is not logged.
    pub(super) fn note_noise(&self, noise: Option<Noise>) {
        let Some(Noise { kind, before, behind }) = noise else { return };
        self.counters.irregular.noise.add(1);
        if self.seen.is_new(kind) {
            tracing::warn!(
                store = %self.store, kind, bytes_before = before, bytes_behind = behind,
                "the marketplace's answers have something beside the JSON: the page in them is read, and all of it is kept \
                 until its orders are published. Logged once for each kind; `imotriz_irregular_answers_total` counts on"
            );
        }
    }

    /// Handles "no orders" in another form than a page without records. The reservation has been cancelled.
    pub(super) fn no_orders_in_other_words(
        &self,
        how: NoOrders,
        course: &mut Course,
        token: &mut Token,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        let none = Counted { before: Some(0), after: Some(0) };
        let (counter, counted, what) = match how {
            NoOrders::NoContent => (&self.counters.irregular.no_content, none, "204"),
            // guard: a wrong path is no empty shop
            NoOrders::NotFound if !self.knows_the_path() => {
                return self.nothing_read(Read::Refused(Refusal::NotFound), Instant::now(), token, failures);
            }
            NoOrders::NotFound => {
                (&self.counters.irregular.not_found, Counted::default(), "404 with a message of the marketplace")
            }
            NoOrders::Message => (&self.counters.irregular.message, Counted::default(), "a message without `data`"),
        };
        counter.add(1);
        if how != NoOrders::NoContent && self.seen.is_new(what) {
            tracing::warn!(
                store = %self.store, answer = what,
                "taken for: no orders are pending. If orders are waiting in the shop, check the store's `base_url` and \
                 `api.paths.new_orders`. Logged once for each kind; `imotriz_irregular_answers_total` counts on"
            );
        }
        self.no_orders(EmptyPage { pending: 0, counted, noise: None }, clock::now(), course, failures)
    }

    /// Whether a 404 can come from the API: any server answers 404 under a wrong path.
    fn knows_the_path(&self) -> bool {
        self.documented_path || self.seen.state().page
    }

    /// Requests an order that does not exist, which marks nothing, to learn how the marketplace answers before orders
    /// are requested. `None` if stopped meanwhile.
    async fn ask_for_nothing(&self, token: &Token) -> Option<Result<(), ApiError>> {
        let nobody: OrderId = "0".parse().expect("a digit is an ID");
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            answer = self.client.order(&nobody, token.secret()) => Some(answer.map(drop)),
        }
    }

    /// After several reads of unknown outcome, each of which leaves a trace: checks with a harmless request whether the
    /// marketplace still does not answer. Returns how long to wait if so.
    pub(super) async fn is_away(&self, token: &Token, failures: &mut Failures) -> Option<Duration> {
        // guard: a marketplace that is away is not read
        if !failures.call_for_a_question() {
            return None;
        }
        match self.ask_for_nothing(token).await {
            None => Some(Duration::ZERO),
            Some(Err(error @ (ApiError::Failed(_) | ApiError::Refused(Refusal::InFront(_))))) => {
                tracing::warn!(
                    store = %self.store, %error,
                    "not even a question that marks nothing is answered: no orders are asked for until one is"
                );
                Some(failures.another())
            }
            Some(_) => None,
        }
    }

    /// Whether a proxy or firewall in front of the marketplace also refuses a request that marks nothing. If it lets
    /// that pass, it may have kept back an answer, for which orders were marked.
    pub(super) async fn is_shut_out(&self, token: &Token) -> bool {
        matches!(self.ask_for_nothing(token).await, Some(Err(ApiError::Refused(Refusal::InFront(_)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_does_not_say_how_it_is_meant_is_a_riddle_only_once() {
        let seen = Seen::default();
        let (none, other) = (Bytes::from_static(b"none"), Bytes::from_static(b"other"));
        assert_eq!(seen.no_orders(Message::Unclear, &none), None);
        assert_eq!(seen.clone().no_orders(Message::Unclear, &none), Some(NoOrders::Message));
        assert_eq!(seen.no_orders(Message::Unclear, &other), None);
        for _ in 0..2 {
            assert_eq!(seen.no_orders(Message::Failed, &none), None);
            assert_eq!(seen.no_orders(Message::Well, &none), Some(NoOrders::Message));
            assert_eq!(seen.no_orders(Message::NotFound, &none), Some(NoOrders::NotFound));
        }
    }
}
