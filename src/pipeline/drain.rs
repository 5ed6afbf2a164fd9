//! The destructive reads of one store: fetch → spool, and nothing else.
//!
//! Before each read there is a reserved file in the spool, a place in the lane's queue, and a lane that is ready. So a
//! full disk, a slow publisher or an unreachable broker is noticed while the orders are still safe on the marketplace.
//! The next read needs the [`Durable`] of the last one. A read in flight is always awaited: dropping it would drop the
//! only copy of a page. An answer is made durable before it is parsed. If it then turns out to be no page, its file
//! becomes the trace of a read of unknown outcome, here or at the next start.

mod caught_up;
mod error;
mod failures;
mod odd;
mod prefetch;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::{OwnedPermit, UnboundedSender};
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{SecretError, Token, TokenSource};
use crate::marketplace::body::{EmptyPage, PageError, PageSummary, PageVerdict, RecordPlaces};
use crate::marketplace::client::{Fetched, Marketplace, Pace, Read, Refusal, UnknownOutcome};
use crate::order::ids::{ReadId, StoreName};
use crate::pipeline::account::{Account, PAGE};
use crate::pipeline::counters::StoreCounters;
use crate::pipeline::publish::{LaneHandle, LaneState, Unspooled, Work};
use crate::platform::fail_point;
use crate::platform::jobs::{self, Job, Jobs, RuntimeOf};
use crate::platform::shutdown::cancelled_within;
use crate::spool::{Durable, Reservation, Spool, UnknownRead, WriteFailed};
use error::MAX_FAILURES;
use failures::Failures;
use prefetch::ReservationPrefetch;

pub use caught_up::{CaughtUpReceiver, CaughtUpSender, caught_up};
pub use error::DrainError;
pub use odd::Seen;

/// A shorter answer is parsed before it is written: parsing takes no longer than the hand-over to a thread that would
/// do it in parallel.
const SHORT_ANSWER: usize = 8 << 10;

/// Maximum `Retry-After` that is honoured after a read of unknown outcome.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// When a drain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When nothing is pending, or an error prevents further reads.
    Empty,
    /// When it is stopped; until then it polls.
    Stopped {
        /// Pause from an empty answer to the next read.
        poll_interval: Duration,
    },
}

/// The parts of one store's drain.
#[derive(Clone)]
pub struct Drain {
    pub store: StoreName,
    /// The store's marketplace client. Connections that it opens here end with the drain.
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
    /// Runs the drain's thread and reserves files in parallel to the reads.
    pub jobs: Arc<dyn Jobs>,
    /// Account of reads that end without an answer.
    pub account: Account,
    /// The lane that publishes the pages.
    pub lane: LaneHandle,
    /// Reports reads of unknown outcome to the reconciler.
    pub unknown: UnboundedSender<UnknownRead>,
    /// Tells the reconciler when nothing is pending.
    pub caught_up: CaughtUpSender,
    pub counters: Arc<StoreCounters>,
    pub stop: CancellationToken,
    pub until: Until,
}

/// What to do after a read.
enum Next {
    Again(Option<HandOff>),
    Wait(Duration),
    NothingPending,
}

/// A durable page and its place in the lane's queue. Dropping it sends the page. That happens when the next request is
/// on its way; or at once, if no request follows or it would have to wait for the lane.
struct HandOff(Option<(OwnedPermit<Work>, Work)>);

impl HandOff {
    fn new(place: OwnedPermit<Work>, work: Work) -> Self {
        Self(Some((place, work)))
    }
}

impl Drop for HandOff {
    fn drop(&mut self) {
        if let Some((place, work)) = self.0.take() {
            drop(place.send(work));
        }
    }
}

impl Drain {
    /// Reads until the drain ends, on a thread of its own, and leaves no reservation behind. A read in flight is
    /// completed even if this future is dropped.
    ///
    /// Between the last byte of a page and the next request there is one sync. Waiting for another thread there may
    /// mean waiting for a core as well, because the lane is about to use one. So only parsing, which takes less time
    /// than the sync, runs on another thread meanwhile. The file for the next read is reserved while the page is
    /// fetched.
    ///
    /// # Panics
    /// If the drain's thread panicked.
    pub async fn run(self) -> Result<(), DrainError> {
        let (name, jobs) = (format!("drain-{}", self.store), self.jobs.clone());
        let ended = jobs::dedicate(&*jobs, name, RuntimeOf::Thread, move || self.read_to_the_end());
        ended.map_err(DrainError::Thread)?.await.expect("the drain's thread does not panic")
    }

    async fn read_to_the_end(mut self) -> Result<(), DrainError> {
        let mut prefetch = ReservationPrefetch::new(self.jobs.clone(), self.spool.clone(), self.store.clone());
        let result = self.read_until_over(&mut prefetch).await;
        let left = prefetch.discard().await;
        let noted = self.account.note_end_of_reads(&self.store);
        result.and(left.map_err(DrainError::from)).and(noted.map_err(DrainError::from))
    }

    async fn read_until_over(&mut self, prefetch: &mut ReservationPrefetch) -> Result<(), DrainError> {
        let mut token = Token::read(&self.token).map_err(|error| self.no_token(&error))?;
        let mut failures = Failures::none();
        let mut hand_off = None;
        while let Some(place) = self.may_read(&mut hand_off).await {
            let began = Instant::now();
            let stopped = match self.step(place, hand_off.take(), prefetch, &mut token, &mut failures).await? {
                Next::Again(page) => {
                    hand_off = page;
                    false
                }
                Next::Wait(pause) => cancelled_within(&self.stop, pause).await,
                Next::NothingPending => {
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
        let Until::Stopped { poll_interval } = self.until else { return true };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => true,
            () = self.caught_up.read_requested() => false,
            () = tokio::time::sleep(poll_interval) => false,
        }
    }

    /// Waits for a place in a ready lane's queue; `None` if stopped or the lane is gone. Before it waits, for the lane
    /// or for the marketplace's request rate, it sends the page in `hand_off`.
    async fn may_read(&mut self, hand_off: &mut Option<HandOff>) -> Option<OwnedPermit<Work>> {
        if !self.pace.try_turn() {
            *hand_off = None;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = self.pace.turn() => {}
            }
        }
        let lane = &mut self.lane;
        let ready = async {
            let place = match lane.work.clone().try_reserve_owned() {
                // guard: no read without a ready lane
                Ok(place) if *lane.status.borrow() == LaneState::Ready => return Some(place),
                Ok(place) => place,
                Err(_) => {
                    *hand_off = None;
                    lane.work.clone().reserve_owned().await.ok()?
                }
            };
            *hand_off = None;
            let state =
                lane.status.wait_for(|state| matches!(state, LaneState::Ready | LaneState::Ended)).await.ok()?;
            (*state == LaneState::Ready).then_some(place)
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            place = ready => place,
        }
    }

    async fn step(
        &mut self,
        place: OwnedPermit<Work>,
        hand_off: Option<HandOff>,
        prefetch: &mut ReservationPrefetch,
        token: &mut Token,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        if token.refresh() {
            tracing::info!(store = %self.store, "the token file has changed: the new token is used");
        }
        if let Some(pause) = self.is_away(token, failures).await {
            return Ok(Next::Wait(pause));
        }
        let reservation = prefetch.take().await?;
        if let Err(error) = self.account.note_next_read(&self.store, reservation.read_id()) {
            prefetch.give_back(reservation);
            return Err(error.into());
        }
        fail_point::reach("reserved");
        // Yield first: a woken thread may take the core at once, and the request would wait for it.
        let once_it_is_sent = async {
            yield_now().await;
            drop(hand_off);
            prefetch.reserve_next();
        };
        let asked_at = Instant::now();
        let (read, ()) = tokio::join!(self.client.new_orders(token.secret()), once_it_is_sent);
        fail_point::reach("fetched");
        if !matches!(read, Read::Busy { .. } | Read::NotSent { .. } | Read::Unknown(_)) {
            self.pace.answered();
        }
        match read {
            Read::Fetched(fetched) => self.keep_answer(reservation, place, fetched, prefetch, token, failures).await,
            Read::Unknown(outcome) => self.note_unknown(reservation, outcome, failures),
            Read::NoOrders(how) => {
                let read_id = reservation.read_id();
                prefetch.give_back(reservation);
                self.no_orders_in_other_words(how, Some(read_id), token, failures)
            }
            // guard: an answer that is kept back is an unknown outcome
            Read::Refused(Refusal::InFront(front)) if !self.is_shut_out(token).await => {
                let reason = format!(
                    "something in front of the marketplace refused it ({front}), and lets other requests pass: it may have \
                     kept back the answer"
                );
                self.note_unknown(reservation, UnknownOutcome::without_body(reason), failures)
            }
            nothing => {
                // Give back first: a drain that ends here must not leave a reservation that looks like a read in
                // flight.
                prefetch.give_back(reservation);
                self.nothing_read(nothing, asked_at, token, failures)
            }
        }
    }

    /// Makes an answer durable and parses it meanwhile. A short answer is parsed first: without orders it needs no
    /// file.
    async fn keep_answer(
        &mut self,
        reservation: Reservation,
        place: OwnedPermit<Work>,
        fetched: Fetched,
        prefetch: &mut ReservationPrefetch,
        token: &mut Token,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        let Fetched { body, read_at } = fetched;
        let read_id = reservation.read_id();
        let verdict = if body.len() < SHORT_ANSWER {
            match PageVerdict::of(&body) {
                PageVerdict::Empty(nothing) => {
                    prefetch.give_back(reservation);
                    return self.no_orders(nothing, read_at, Some(read_id), failures);
                }
                PageVerdict::Message(message, reason) => {
                    let Some(how) = self.seen.no_orders(message, &body) else {
                        return self.note_unknown(reservation, UnknownOutcome::with_body(reason, body), failures);
                    };
                    prefetch.give_back(reservation);
                    return self.no_orders_in_other_words(how, Some(read_id), token, failures);
                }
                PageVerdict::Unreadable(reason) => {
                    return self.note_unknown(reservation, UnknownOutcome::with_body(reason, body), failures);
                }
                orders @ PageVerdict::Orders(_) => Job::done(orders),
            }
        } else {
            let body = body.clone();
            Job::start(&*self.jobs, move || PageVerdict::of(&body))
        };
        let durable = match reservation.write(read_at, body) {
            Ok(durable) => durable,
            Err(failed) => return Err(self.write_failed(verdict.ended().await, read_id, read_at, failed, place)),
        };
        fail_point::reach("durable");
        match verdict.ended().await {
            PageVerdict::Orders(orders) => {
                *failures = Failures::none();
                self.record_page(orders, durable, place, prefetch).await
            }
            PageVerdict::Empty(nothing) => {
                // The lane finds no order in it and releases the file, after the account has recorded the answer.
                let _kept = HandOff::new(place, Work::Page(durable, Some(RecordPlaces::default())));
                self.no_orders(nothing, read_at, prefetch.next().await, failures)
            }
            PageVerdict::Unreadable(reason) | PageVerdict::Message(_, reason) => {
                self.warn_unknown(read_id, &reason, durable.length());
                // guard: what is no page is a read of unknown outcome
                self.put_on_account(durable.disown(&reason)?, PAGE)?;
                self.after_unknown(reason, None, failures)
            }
        }
    }

    /// Records a durable page. It goes to the lane once the next request is sent.
    async fn record_page(
        &mut self,
        orders: PageSummary,
        page: Durable,
        place: OwnedPermit<Work>,
        prefetch: &mut ReservationPrefetch,
    ) -> Result<Next, DrainError> {
        let PageSummary { records, pending, counted, disagreement, noise } = orders;
        self.seen.page();
        self.note_noise(noise);
        let (read_id, read_at) = (page.read_id(), page.read_at());
        let count = records.len() as u64;
        let hand_off = HandOff::new(place, Work::Page(page, Some(records)));
        self.account.note_answer(&self.store, counted, read_at, prefetch.next().await)?;
        self.counters.last_drained.now();
        self.counters.not_read.clear();
        self.counters.pages_read.add(1);
        self.counters.orders_read.add(count);
        self.counters.pending.set(pending.unwrap_or(0));
        if let Some(error) = disagreement {
            // The page is published like any other; orders that may be missing are recorded under a read of their own.
            drop(hand_off);
            let reason = format!("{error}; the page itself is read {read_id} and was kept");
            let spare = prefetch.take().await.inspect_err(|_| self.warn_unknown(read_id, &reason, 0))?;
            let at_most = match error {
                PageError::CountsDisagree { returned, records } => returned.saturating_sub(records as u64).min(PAGE),
                _ => PAGE,
            };
            self.note(spare, &UnknownOutcome::without_body(reason), at_most)?;
            // Nor does its claim count that nothing is pending.
            return Ok(Next::Again(None));
        }
        Ok(if pending == Some(0) { Next::NothingPending } else { Next::Again(Some(hand_off)) })
    }

    /// Handles an answer that the disk did not take.
    fn write_failed(
        &self,
        verdict: PageVerdict,
        read_id: ReadId,
        read_at: Timestamp,
        failed: WriteFailed,
        place: OwnedPermit<Work>,
    ) -> DrainError {
        match verdict {
            PageVerdict::Orders(orders) => return self.rescue(read_id, read_at, failed, orders.records, place),
            // The next start finds its file, which serves as the trace.
            PageVerdict::Unreadable(reason) | PageVerdict::Message(_, reason) => {
                self.warn_unknown(read_id, &reason, failed.body.len());
            }
            PageVerdict::Empty(_) => {
                if let Err(error) = self.spool.discard_unwritten(read_id) {
                    tracing::warn!(read = %read_id, %error, "it brought no order, but its torn file stays in the spool");
                }
            }
        }
        failed.error.into()
    }

    /// The disk failed while the page exists in memory only: tries one more file, else sends the page to Kafka from
    /// memory. The drain then stops.
    fn rescue(
        &self,
        read_id: ReadId,
        read_at: Timestamp,
        failed: WriteFailed,
        records: RecordPlaces,
        place: OwnedPermit<Work>,
    ) -> DrainError {
        let why = failed.error.to_string();
        tracing::error!(store = %self.store, read = %read_id, error = why, "the page's file failed: keeping it elsewhere");
        let body = failed.body;
        let work = match self.spool.rescue(&self.store, read_id, read_at, body) {
            Ok(durable) => Work::Page(durable, Some(records)),
            Err(failed) => {
                self.counters.unspooled.add(1);
                Work::Unspooled(Unspooled { store: self.store.clone(), read_id, read_at, body: failed.body, records })
            }
        };
        // guard: a page that the disk refuses goes to Kafka from memory
        drop(place.send(work));
        DrainError::PageNotKept(why)
    }

    fn note_unknown(
        &self,
        reservation: Reservation,
        outcome: UnknownOutcome,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        self.note(reservation, &outcome, PAGE)?;
        self.after_unknown(outcome.reason, outcome.retry_after, failures)
    }

    /// Writes and logs the durable trace of a read of unknown outcome.
    fn note(&self, reservation: Reservation, outcome: &UnknownOutcome, at_most: u64) -> Result<(), DrainError> {
        self.warn_unknown(reservation.read_id(), &outcome.reason, outcome.partial.len());
        // guard: a trace of each unknown read
        let unknown = reservation.write_unknown(&outcome.reason, &outcome.partial);
        self.put_on_account(unknown.map_err(|failed| failed.error)?, at_most)
    }

    fn warn_unknown(&self, read_id: ReadId, reason: &str, bytes: usize) {
        self.counters.unknown_reads.add(1);
        self.counters.unsettled_reads.add(1);
        tracing::warn!(
            store = %self.store, read = %read_id, reason, bytes,
            "read with an unknown outcome: the marketplace may have marked orders that did not reach us"
        );
    }

    fn put_on_account(&self, unknown: UnknownRead, at_most: u64) -> Result<(), DrainError> {
        self.account.note_lost_read(&unknown, at_most)?;
        if self.unknown.send(unknown).is_err() {
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

    /// Handles a page without orders. `next`: the read that follows it, if its file is reserved.
    fn no_orders(
        &self,
        nothing: EmptyPage,
        read_at: Timestamp,
        next: Option<ReadId>,
        failures: &mut Failures,
    ) -> Result<Next, DrainError> {
        let EmptyPage { pending, counted, noise } = nothing;
        self.note_noise(noise);
        self.account.note_answer(&self.store, counted, read_at, next)?;
        if pending > 0 {
            let error = DrainError::NothingHandedOver { store: self.store.clone(), pending };
            return self.try_again(error, None, failures);
        }
        *failures = Failures::none();
        self.counters.last_drained.now();
        self.counters.not_read.clear();
        self.counters.pending.set(0);
        Ok(Next::NothingPending)
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
                    Ok(true) if about_the_token => return Ok(Next::Again(None)),
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
