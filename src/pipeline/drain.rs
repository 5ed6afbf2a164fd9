//! The destructive reads of one store: fetch → spool, and nothing else.
//!
//! Before each read there is space in the spool, and a lane that is ready and has a place in its queue. So a full disk, a
//! slow publisher or an unreachable broker is noticed while the orders are still safe on the marketplace. The next read
//! needs the [`Durable`] of the last one. A read in flight is always awaited: dropping it would drop the only copy of a
//! page. An answer is made durable before it is parsed. If it then turns out to be no page, it becomes a read of unknown
//! outcome, here or at the next start.
//!
//! A drain is a task: it has no thread, and while it waits it has no connection and no space in the spool.

mod caught_up;
mod error;
mod failures;
mod odd;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{SecretError, Token, TokenSource};
use crate::marketplace::body::{EmptyPage, PageError, PageSummary, PageVerdict, RecordPlaces};
use crate::marketplace::client::{Fetched, Marketplace, Pace, Read, Refusal, Turn, UnknownOutcome};
use crate::order::ids::{ReadId, StoreName};
use crate::pipeline::account::{Account, PAGE};
use crate::pipeline::counters::StoreCounters;
use crate::pipeline::publish::{LaneHandle, LaneState, Unspooled, Work};
use crate::platform::jobs::{Job, Jobs};
use crate::platform::poll_schedule::PollSchedule;
use crate::platform::shutdown::cancelled_within;
use crate::platform::{clock, fail_point};
use crate::spool::{Durable, Reservation, Spool, UnknownRead, WriteFailed};
use error::MAX_FAILURES;
use failures::Failures;

pub use caught_up::{CaughtUpReceiver, CaughtUpSender, caught_up};
pub use error::DrainError;
pub use odd::Seen;

/// A shorter answer is parsed before it is written: parsing takes no longer than the hand-over to a thread that would
/// do it in parallel.
const SHORT_ANSWER: usize = 8 << 10;

/// After an answer that nothing is pending, a read goes without an announcement for this long: less than the margin by
/// which the account dates polls that were cut off.
const LONGEST_IDLE: SignedDuration = SignedDuration::from_hours(12);

/// Maximum `Retry-After` that is honoured after a read of unknown outcome.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// When a drain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When nothing is pending, or an error prevents further reads.
    Empty,
    /// When it is stopped; until then it polls.
    Stopped {
        /// Pauses from an empty answer to the next read.
        polls: PollSchedule,
    },
}

/// The parts of one store's drain.
#[derive(Clone)]
pub struct Drain {
    pub store: StoreName,
    /// The store's marketplace client.
    pub client: Arc<dyn Marketplace>,
    /// Whether the path of new orders is the documented one.
    pub documented_path: bool,
    /// What the store's answers have shown so far.
    pub seen: Seen,
    /// The token; read again when its file has changed and when the marketplace refuses it.
    pub token: TokenSource,
    /// The store's request rate, shared with the reconciler.
    pub pace: Pace,
    pub spool: Spool,
    /// Parses a page while the disk syncs it.
    pub jobs: Arc<dyn Jobs>,
    /// Account of reads that end without an answer.
    pub account: Account,
    /// The lane that publishes the pages.
    pub lane: LaneHandle,
    /// Reports reads of unknown outcome to the reconciler.
    pub unknown: UnboundedSender<Box<UnknownRead>>,
    /// Tells the reconciler when nothing is pending.
    pub caught_up: CaughtUpSender,
    pub counters: Arc<StoreCounters>,
    pub stop: CancellationToken,
    pub until: Until,
}

/// What to do after a read.
enum Next {
    Again,
    Wait(Duration),
    NothingPending,
}

/// A drain between two reads.
#[derive(Default)]
struct Course {
    /// The reservation for the next read, if the last page announced it.
    next: Option<Reservation>,
    /// When the last answer said that nothing is pending, if nothing else happened since.
    idle_since: Option<Timestamp>,
    /// A durable page that the lane does not have yet. It gets it when the next request is on its way, or at once, if no
    /// request follows.
    hand_off: Option<Work>,
}

impl Course {
    /// Whether a read may go without an announcement, as a poll.
    fn is_idle(&self) -> bool {
        // guard: only a poll goes without an announcement
        self.idle_since.is_some_and(|since| {
            let age = clock::now().duration_since(since);
            !age.is_negative() && age < LONGEST_IDLE
        })
    }
}

impl Drain {
    /// Reads until the drain ends, and leaves no reservation behind. Must not be dropped while it runs: a read may be in
    /// flight.
    ///
    /// Between the last byte of a page and the next request there is one sync. What else has to be done for the page is
    /// done while the next request is on its way.
    pub async fn run(mut self) -> Result<(), DrainError> {
        let mut course = Course::default();
        let result = self.read_until_over(&mut course).await;
        self.hand_over(&mut course).await;
        let left = course.next.take().map_or(Ok(()), Reservation::cancel);
        result.and(left.map_err(DrainError::from))
    }

    async fn read_until_over(&mut self, course: &mut Course) -> Result<(), DrainError> {
        let mut token = Token::read(&self.token).map_err(|error| self.no_token(&error))?;
        let mut failures = Failures::none();
        let spread = if self.until == Until::Empty { Duration::ZERO } else { self.pace.spread() };
        if cancelled_within(&self.stop, spread).await {
            return Ok(());
        }
        while let Some(turn) = self.may_read(course).await {
            let began = Instant::now();
            // In a box, for between two reads thousands of these tasks wait.
            let stopped = match Box::pin(self.step(turn, course, &mut token, &mut failures)).await? {
                Next::Again => false,
                Next::Wait(pause) => {
                    self.hand_over(course).await;
                    cancelled_within(&self.stop, pause).await
                }
                Next::NothingPending => {
                    // Before anybody concludes that the lane has all pages.
                    self.hand_over(course).await;
                    self.caught_up.nothing_pending(began);
                    self.wait_for_poll().await
                }
            };
            if stopped {
                break;
            }
        }
        Ok(())
    }

    /// Sleeps until the next poll, a request of the reconciler, or the stop. Returns `true` if the drain is over.
    async fn wait_for_poll(&mut self) -> bool {
        let Until::Stopped { polls } = &mut self.until else { return true };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => true,
            () = self.caught_up.read_requested() => {
                polls.busy();
                false
            }
            () = tokio::time::sleep(polls.idle()) => false,
        }
    }

    /// Gives the lane the last page. If the lane has ended, the page stays in the spool, and the lane tells why. A stop
    /// while it waits leaves the page where it is: the end of the drain hands it over.
    async fn hand_over(&self, course: &mut Course) {
        if course.hand_off.is_none() {
            return;
        }
        let place = self.lane.work.reserve().await;
        match (course.hand_off.take(), place) {
            (Some(page), Ok(place)) => place.send(page),
            _ => tracing::debug!(store = %self.store, "the lane has ended: the page stays in the spool"),
        }
    }

    /// Gives the lane the last page if its queue has a place.
    fn try_hand_over(&self, course: &mut Course) {
        if course.hand_off.is_some()
            && let Ok(place) = self.lane.work.try_reserve()
            && let Some(page) = course.hand_off.take()
        {
            place.send(page);
        }
    }

    /// Waits until the lane is ready and has a place in its queue, and for a turn at the marketplace. `None` if stopped or
    /// the lane is gone. No place in the queue is held during the read: a marketplace that does not answer for one store
    /// must not keep the lane from the others.
    async fn may_read(&self, course: &mut Course) -> Option<Turn> {
        // guard: no read without a ready lane
        let is_ready = || {
            self.lane.work.capacity() > 0
                && *self.lane.status.borrow() == LaneState::Ready
                && !self.lane.is_parked(&self.store)
        };
        if is_ready()
            && !self.stop.is_cancelled()
            && let Some(turn) = self.pace.try_turn()
        {
            return Some(turn);
        }
        let turn = async {
            self.hand_over(course).await;
            loop {
                self.lane.unparked(&self.store).await;
                // A place is all that is waited for: it goes at once.
                if !self.lane.is_ready().await || self.lane.work.reserve().await.is_err() {
                    return None;
                }
                let turn = self.pace.turn().await;
                if is_ready() {
                    return Some(turn);
                }
            }
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            turn = turn => turn,
        }
    }

    async fn step(
        &mut self,
        turn: Turn,
        course: &mut Course,
        token: &mut Token,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        if token.refresh() {
            tracing::info!(store = %self.store, "the token file has changed: the new token is used");
        }
        if let Some(pause) = self.is_away(token, failures).await {
            return Ok(Next::Wait(pause));
        }
        let reservation = self.reserve(course).await?;
        fail_point::reach("reserved");
        // Yield first: a woken thread may take the core at once, and the request would wait for it.
        let once_it_is_sent = async {
            yield_now().await;
            self.try_hand_over(course);
        };
        let asked_at = Instant::now();
        let request = async { tokio::join!(self.client.new_orders(token.secret()), once_it_is_sent).0 };
        let read = turn.until(request).await;
        fail_point::reach("fetched");
        if !matches!(read, Read::Busy { .. } | Read::NotSent { .. } | Read::Unknown(_)) {
            self.pace.answered();
        }
        let last_idle = course.idle_since.take();
        match read {
            Read::Fetched(fetched) => self.keep_answer(reservation, fetched, course, token, failures).await,
            Read::Unknown(outcome) => self.note_unknown(reservation, outcome, failures).await,
            Read::NoOrders(how) => {
                reservation.cancel()?;
                self.no_orders_in_other_words(how, course, token, failures)
            }
            // guard: an answer that is kept back is an unknown outcome
            Read::Refused(Refusal::InFront(front)) if !self.is_shut_out(token).await => {
                let reason = format!(
                    "something in front of the marketplace refused it ({front}), and lets other requests pass: it may have \
                     kept back the answer"
                );
                self.note_unknown(reservation, UnknownOutcome::without_body(reason), failures).await
            }
            nothing => {
                reservation.cancel()?;
                if matches!(nothing, Read::Busy { .. }) {
                    course.idle_since = last_idle;
                }
                self.nothing_read(nothing, asked_at, token, failures)
            }
        }
    }

    /// The space for the next read, which is announced unless it is a poll.
    async fn reserve(&self, course: &mut Course) -> Result<Reservation, DrainError> {
        let mut reservation = course.next.take().map_or_else(|| self.spool.reserve(&self.store), Ok)?;
        if course.is_idle() && reservation.may_poll() {
            return Ok(reservation);
        }
        if let Err(error) = reservation.announce(self.account.pending(&self.store)).await {
            // No read was made with it.
            reservation.cancel().ok();
            return Err(error.into());
        }
        Ok(reservation)
    }

    /// Makes an answer durable and parses it meanwhile. A short answer is parsed first: without orders it needs no
    /// file.
    async fn keep_answer(
        &mut self,
        reservation: Reservation,
        fetched: Fetched,
        course: &mut Course,
        token: &mut Token,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        let Fetched { body, read_at } = fetched;
        let verdict = if body.len() < SHORT_ANSWER {
            match PageVerdict::of(&body) {
                PageVerdict::Empty(nothing) => {
                    reservation.cancel()?;
                    return self.no_orders(nothing, read_at, course, failures);
                }
                PageVerdict::Message(message, reason) => {
                    let Some(how) = self.seen.no_orders(message, &body) else {
                        return self.note_unknown(reservation, UnknownOutcome::with_body(reason, body), failures).await;
                    };
                    reservation.cancel()?;
                    return self.no_orders_in_other_words(how, course, token, failures);
                }
                PageVerdict::Unreadable(reason) => {
                    return self.note_unknown(reservation, UnknownOutcome::with_body(reason, body), failures).await;
                }
                orders @ PageVerdict::Orders(_) => Job::done(orders),
            }
        } else {
            let body = body.clone();
            Job::start(&*self.jobs, &format!("drain-{}", self.store), move || PageVerdict::of(&body))
        };
        let (durable, next) = match reservation.write(read_at, body).await {
            Ok(written) => written,
            Err(failed) => return Err(self.write_failed(verdict.ended().await, read_at, failed, course).await),
        };
        fail_point::reach("durable");
        // The page before it comes first.
        self.hand_over(course).await;
        course.next = next;
        match verdict.ended().await {
            PageVerdict::Orders(orders) => {
                *failures = Failures::none();
                self.record_page(orders, durable, course).await
            }
            PageVerdict::Empty(nothing) => {
                // The lane finds no order in it and releases it, after the account has recorded the answer.
                let next = self.no_orders(nothing, read_at, course, failures);
                course.hand_off = Some(Work::Page(durable, Some(RecordPlaces::default())));
                next
            }
            PageVerdict::Unreadable(reason) | PageVerdict::Message(_, reason) => {
                self.warn_unknown(durable.read_id(), &reason);
                // guard: what is no page is a read of unknown outcome
                let unknown = self.spool.disown(durable, &reason).await?;
                self.put_on_account(unknown, PAGE)?;
                self.after_unknown(reason, None, failures)
            }
        }
    }

    /// Records a durable page. It goes to the lane once the next request is sent.
    async fn record_page(
        &mut self,
        orders: PageSummary,
        page: Durable,
        course: &mut Course,
    ) -> Result<Next, DrainError> {
        let PageSummary { records, pending, counted, disagreement, noise } = orders;
        self.seen.page();
        if let Until::Stopped { polls } = &mut self.until {
            polls.busy();
        }
        self.note_noise(noise);
        let (read_id, read_at) = (page.read_id(), page.read_at());
        let count = records.len() as u64;
        course.hand_off = Some(Work::Page(page, Some(records)));
        self.account.note_answer(&self.store, counted, read_at)?;
        self.counters.last_drained.now();
        self.counters.not_read.clear();
        self.counters.pages_read.add(1);
        self.counters.orders_read.add(count);
        self.counters.pending.set(pending.unwrap_or(0));
        if let Some(error) = disagreement {
            // The page is published like any other; orders that may be missing are recorded under a read of their own.
            self.hand_over(course).await;
            let reason = format!("{error}; the page itself is read {read_id} and was kept");
            let at_most = match error {
                PageError::CountsDisagree { returned, records } => returned.saturating_sub(records as u64).min(PAGE),
                _ => PAGE,
            };
            let spare = self.spool.reserve(&self.store).inspect_err(|_| self.warn_unknown(read_id, &reason))?;
            self.note(spare, &UnknownOutcome::without_body(reason), at_most).await?;
            // Nor does its claim count that nothing is pending.
            return Ok(Next::Again);
        }
        if pending == Some(0) {
            return self.nothing_pending(read_at, course);
        }
        Ok(Next::Again)
    }

    /// Until something else happens, reads are polls.
    fn nothing_pending(&self, at: Timestamp, course: &mut Course) -> Result<Next, DrainError> {
        course.idle_since = Some(at);
        course.next.take().map_or(Ok(()), Reservation::cancel)?;
        Ok(Next::NothingPending)
    }

    /// Handles an answer that the disk did not take.
    async fn write_failed(
        &self,
        verdict: PageVerdict,
        read_at: Timestamp,
        failed: WriteFailed,
        course: &mut Course,
    ) -> DrainError {
        self.hand_over(course).await;
        match verdict {
            PageVerdict::Orders(orders) => return self.rescue(read_at, failed, orders.records).await,
            // The next start finds its announcement, which serves as the trace.
            PageVerdict::Unreadable(reason) | PageVerdict::Message(_, reason) => {
                self.warn_unknown(failed.read_id(), &reason);
            }
            PageVerdict::Empty(_) => {
                if let Err(error) = self.spool.discard_unwritten(failed.seq()) {
                    let read = failed.read_id();
                    tracing::warn!(%read, %error, "it brought no order, but what was written of it stays in the spool");
                }
            }
        }
        failed.error.into()
    }

    /// The disk failed while the page exists in memory only: tries a file of its own, else sends the page to Kafka from
    /// memory. The drain then stops.
    async fn rescue(&self, read_at: Timestamp, failed: WriteFailed, records: RecordPlaces) -> DrainError {
        let (why, read_id) = (failed.error.to_string(), failed.read_id());
        tracing::error!(store = %self.store, read = %read_id, error = why, "the page was not written: keeping it elsewhere");
        let work = match self.spool.rescue(failed, read_at) {
            Ok(durable) => Work::Page(durable, Some(records)),
            Err(failed) => {
                self.counters.unspooled.add(1);
                let (store, seq) = (self.store.clone(), failed.seq());
                Work::Unspooled(Unspooled { store, read_id, seq, read_at, body: failed.body, records })
            }
        };
        // guard: a page that the disk refuses goes to Kafka from memory
        if self.lane.work.send(work).await.is_err() {
            tracing::error!(store = %self.store, read = %read_id, "the lane has ended before it got the page");
        }
        DrainError::PageNotKept(why)
    }

    async fn note_unknown(
        &self,
        reservation: Reservation,
        outcome: UnknownOutcome,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        self.note(reservation, &outcome, PAGE).await?;
        self.after_unknown(outcome.reason, outcome.retry_after, failures)
    }

    /// Writes and logs the durable trace of a read of unknown outcome.
    async fn note(&self, reservation: Reservation, outcome: &UnknownOutcome, at_most: u64) -> Result<(), DrainError> {
        self.warn_unknown(reservation.read_id(), &outcome.reason);
        // guard: a trace of each unknown read
        let unknown = reservation.write_unknown(&outcome.reason, &outcome.partial).await?;
        self.put_on_account(unknown, at_most)
    }

    fn warn_unknown(&self, read_id: ReadId, reason: &str) {
        self.counters.unknown_reads.add(1);
        self.counters.unsettled_reads.add(1);
        tracing::warn!(
            store = %self.store, read = %read_id, reason,
            "read with an unknown outcome: the marketplace may have marked orders that did not reach us"
        );
    }

    fn put_on_account(&self, unknown: UnknownRead, at_most: u64) -> Result<(), DrainError> {
        self.account.note_lost_read(&unknown, at_most)?;
        if self.unknown.send(Box::new(unknown)).is_err() {
            tracing::debug!("no reconciler listens");
        }
        Ok(())
    }

    fn after_unknown(
        &self,
        reason: String,
        told: Option<Duration>,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        let pause = failures.another_unknown().max(told.unwrap_or_default().min(MAX_RETRY_AFTER));
        self.counters.not_read.note("unknown", format!("a read had an unknown outcome: {reason}"));
        if self.gives_up(failures) {
            return Err(DrainError::Unknown { store: self.store.clone(), reason });
        }
        Ok(Next::Wait(pause))
    }

    /// Handles a page without orders.
    fn no_orders(
        &self,
        nothing: EmptyPage,
        read_at: Timestamp,
        course: &mut Course,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        let EmptyPage { pending, counted, noise } = nothing;
        self.note_noise(noise);
        self.account.note_answer(&self.store, counted, read_at)?;
        if pending > 0 {
            let error = DrainError::NothingHandedOver { store: self.store.clone(), pending };
            return self.try_again(error, None, failures);
        }
        *failures = Failures::none();
        self.counters.last_drained.now();
        self.counters.not_read.clear();
        self.counters.pending.set(0);
        self.nothing_pending(read_at, course)
    }

    /// Handles reads that certainly marked nothing.
    fn nothing_read(
        &self,
        read: Read,
        asked_at: Instant,
        token: &mut Token,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        let store = self.store.clone();
        let (error, pause) = match read {
            Read::Refused(refusal) => {
                self.counters.refused.count(&refusal);
                let (about_the_token, may_pass) = match &refusal {
                    Refusal::Token => (true, false),
                    Refusal::InFront(front) => (front.status == 401, true),
                    _ => (false, false),
                };
                let error = match token.read_again() {
                    Ok(true) if about_the_token => return Ok(Next::Again),
                    // A token rotation may empty the file before filling it.
                    Err(unreadable) if about_the_token => self.no_token(&unreadable),
                    _ if self.until == Until::Empty && !may_pass => return Err(DrainError::Refused { store, refusal }),
                    _ => DrainError::Refused { store, refusal },
                };
                (error, None)
            }
            // This slows down the reconciler as well.
            Read::Busy { retry_after } => {
                (DrainError::Busy { store }, Some(self.pace.busy(asked_at, retry_after).pause))
            }
            Read::NotSent { reason } => (DrainError::Unreachable { store, reason }, None),
            Read::Fetched(_) | Read::Unknown(_) | Read::NoOrders(_) => {
                unreachable!("handled where the reservation is used up")
            }
        };
        self.try_again(error, pause, failures)
    }

    /// Returns the pause before the next attempt, or the error if too many attempts have failed.
    fn try_again(
        &self,
        error: DrainError,
        pause: Option<Duration>,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        let own = failures.another();
        self.counters.not_read.note(error.kind(), error.without_store());
        if self.gives_up(failures) {
            return Err(error);
        }
        tracing::warn!(%error, "nothing read; trying again");
        Ok(Next::Wait(pause.unwrap_or(own)))
    }

    fn gives_up(&self, failures: &Failures) -> bool {
        self.until == Until::Empty && failures.count >= MAX_FAILURES
    }

    fn no_token(&self, error: &SecretError) -> DrainError {
        DrainError::Token { store: self.store.clone(), why: error.to_string() }
    }
}
