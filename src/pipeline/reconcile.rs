//! Finds orders that the marketplace has marked and we never received: takes its list of IDs, fetches missing orders
//! one by one, and has them published.
//!
//! # One pass, and why its order matters
//! 1. **Take the list**, all of it or an error (`whole_list.rs`). At that moment each listed order is either pending or
//!    marked.
//! 2. **Drain until nothing is pending**, with a read that *began after* the list was complete. Some read has then
//!    marked every listed order that was pending. Each read of ours is over, and its page, if it brought one, is in the
//!    lane's queue: a store's reads follow each other, and each page is handed over before the next read is over.
//! 3. **Ask the lane**, behind those pages in the same queue, which listed orders are not tracked. The lane answers
//!    after everything before it is committed, from an index that was read to its end. So the orders in its answer were
//!    marked by a read that did not reach us: they are missing, not merely late. The other way round, with the list
//!    after the drain, an order placed in between would be taken for lost and published twice.
//! 4. **Repair.** Fetching by ID marks nothing and may be repeated. Fetched orders go through the lane, which decides
//!    by its index at that moment: an order that a page brings meanwhile is not doubled, whichever comes first.
//!
//! A pass in which no fetch failed settles the traces of unknown reads that were over before the list was taken.
//! Whatever those reads had marked was in the list, unless it is older than the list goes back (8 days).
//!
//! Deliberately absent: state of its own. A pass that is killed at any point is simply made again.

mod ask;
mod ask_error;
mod changes;
mod hand_over;
mod repair;
mod republish;
mod settle;
mod whole_list;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::marketplace::client::{ApiError, Refusal};
use crate::order::ids::{OrderIds, StoreName};
use crate::pipeline::account::{Account, AccountError, KnownBefore, Unaccounted};
use crate::pipeline::counters::{PassSummary, StoreCounters};
use crate::pipeline::drain::CaughtUpReceiver;
use crate::pipeline::index::Diff;
use crate::pipeline::publish::{LaneHandle, MissingQuery, Work};
use crate::platform::backoff::Backoff;
use crate::platform::clock;
use crate::platform::poll_schedule::PollSchedule;
use crate::spool::{Spool, SpoolError, UnknownRead};

pub use ask::Asker;
pub use ask_error::AskError;
use changes::Changes;
use repair::Repair;
pub use republish::{Republished, Republisher, Unfetched, Wanted};
pub use settle::Books;

/// The first passes of many shops are spread over so many times the time that their first reads take: a pass makes
/// several requests and has the lane look through its index.
const COST_OF_A_PASS: u32 = 10;

/// The reconciler of one store.
pub struct Reconciler {
    pub store: StoreName,
    /// The store's client for repeatable requests.
    pub asker: Asker,
    /// The spool, which holds the traces of unknown reads.
    pub spool: Spool,
    /// Account of lost orders.
    pub account: Account,
    /// What was last reported as missing.
    pub reported: Unaccounted,
    /// The lane, which knows what is tracked and publishes.
    pub lane: LaneHandle,
    /// Tells when the store's drain found nothing pending.
    pub caught_up: CaughtUpReceiver,
    /// Receives new reads of unknown outcome. They are boxed, for the channel has space for 32 from the start.
    pub unknown: UnboundedReceiver<Box<UnknownRead>>,
    /// Reads of unknown outcome that no pass has settled yet.
    pub unsettled: Vec<UnknownRead>,
    /// Maximum orders fetched at a time.
    pub concurrency: usize,
    /// How many published orders are checked for changes per second; `None` for none.
    pub changes_per_second: Option<u16>,
    /// Pause from the end of a pass to the next, at most.
    pub interval: Duration,
    pub counters: Arc<StoreCounters>,
    pub stop: CancellationToken,
}

/// The marketplace's list of IDs.
#[derive(Debug)]
pub struct Listed {
    ids: OrderIds,
    /// When the list was complete.
    at: Instant,
    /// The same moment as wall-clock time, for messages and the account.
    taken: Timestamp,
    /// How many unknown reads were over by then.
    covers: usize,
}

/// Why a pass failed. It can be repeated at any time.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// 404 for the list.
    #[error(
        "store {0}: the marketplace has no list of order IDs where `api.paths.order_ids` says (404): the default is \
         unconfirmed, so set it as the marketplace documents it. Until then a page that is lost on the way stays lost"
    )]
    NoList(StoreName),
    /// The list could not be fetched, for another reason.
    #[error("store {store}: no list of order IDs: {error}")]
    List {
        store: StoreName,
        /// The last attempt's.
        error: AskError,
    },
    /// Some missing orders could not be fetched.
    #[error(
        "store {store}: {failed} orders that were handed over and never arrived could not be fetched by their IDs, so they \
         are not published: start `drain` or `reconcile` again, which fetches them"
    )]
    NotFetched {
        store: StoreName,
        /// How many.
        failed: u64,
    },
    /// The trace of an unknown read can't be removed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The account can't be written.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The program was stopped.
    #[error("stopped before the pass was over")]
    Stopped,
    /// The store's drain has ended.
    #[error("the store's drain has ended")]
    DrainGone,
    /// The lane has ended; it reports its own error.
    #[error("the store's lane has ended")]
    LaneGone,
    /// A bug in this program.
    #[error("a fetch ended unexpectedly: please report this")]
    Panicked,
}

impl ReconcileError {
    /// The error for a failed request for the list.
    #[must_use]
    pub fn no_list(store: &StoreName, error: AskError) -> Self {
        let store = store.clone();
        if error.is_not_found() { Self::NoList(store) } else { Self::List { store, error } }
    }

    /// A word for programs.
    fn kind(&self) -> &'static str {
        match self {
            Self::NoList(_) => "no_list",
            Self::List { error: AskError::NotWhole(_), .. } => "list_not_whole",
            Self::List { error: AskError::Api(ApiError::Refused(Refusal::Token)), .. } => "token_refused",
            Self::List { .. } => "list_failed",
            Self::NotFetched { .. } => "orders_failed",
            Self::Spool(_) | Self::Account(_) => "this_machine",
            Self::Stopped | Self::DrainGone | Self::LaneGone | Self::Panicked => "ended",
        }
    }

    /// Whether this process can make no further pass.
    #[must_use]
    pub fn is_the_end(&self) -> bool {
        matches!(self, Self::Stopped | Self::DrainGone | Self::LaneGone)
    }
}

impl Reconciler {
    /// Makes a pass at the start, then one per interval and after each unknown read, until the stop. Errors are logged,
    /// and the pass is tried again.
    pub async fn run(mut self) {
        let (lists, list) = watch::channel(Arc::default());
        // Ends with this task: its requests hold the lane open.
        let mut change_task = JoinSet::new();
        if let Some(changes) = self.changes() {
            change_task.spawn(changes.run(list));
        }
        let (mut pauses, mut passes) = (self.pauses(), PollSchedule::new(self.interval, self.interval));
        if self.unsettled.is_empty() && !self.wait(self.asker.pace.spread() * COST_OF_A_PASS).await {
            return;
        }
        loop {
            // In a box, for between two passes thousands of these tasks wait.
            let pause = match Box::pin(self.pass()).await {
                Ok((_, tracked)) => {
                    // A round that is under way goes on with its own list.
                    if !tracked.is_empty() {
                        lists.send_replace(Arc::new(tracked));
                    }
                    pauses = self.pauses();
                    passes.idle()
                }
                Err(error) if error.is_the_end() => return,
                Err(error) => {
                    self.counters.not_reconciled.note(error.kind(), error.to_string());
                    tracing::warn!(%error, unsettled = self.unsettled.len(), "not reconciled; trying again");
                    pauses.pause()
                }
            };
            if !self.wait(pause).await {
                return;
            }
        }
    }

    /// Makes one pass, while a drain runs in parallel. Also returns the tracked orders of the list.
    async fn pass(&mut self) -> Result<(PassSummary, OrderIds), ReconcileError> {
        let listed = self.list().await?;
        self.repair(listed).await
    }

    /// Checks listed orders for changes, if the settings ask for it.
    pub async fn look_for_changes(&self, summary: &mut PassSummary, tracked: OrderIds) -> Result<(), ReconcileError> {
        if let Some(changes) = self.changes() {
            let round = changes.round(&tracked).await?;
            summary.updated += round.tally.published.total();
            summary.dead_letters += round.tally.dead_letters;
            summary.not_found += round.not_found;
            summary.failed += round.failed;
        }
        Ok(())
    }

    /// Builds a publisher for orders that somebody names.
    #[must_use]
    pub fn republisher(&self) -> Republisher {
        let (store, asker, lane) = (self.store.clone(), self.asker.clone(), self.lane.clone());
        Republisher { store, asker, lane, read_ids: self.spool.read_ids(), stop: self.stop.clone() }
    }

    fn changes(&self) -> Option<Changes> {
        let per_second = self.changes_per_second?;
        let (store, asker, lane) = (self.store.clone(), self.asker.clone(), self.lane.clone());
        let read_ids = self.spool.read_ids();
        Some(Changes { store, asker, lane, per_second, read_ids, stop: self.stop.clone() })
    }

    /// Takes the list. This is the first step; the drain's last read comes after it.
    pub async fn list(&mut self) -> Result<Listed, ReconcileError> {
        while let Ok(read) = self.unknown.try_recv() {
            self.unsettled.push(*read);
        }
        let covers = self.unsettled.len();
        let ids = or_stopped(&self.stop, self.asker.order_ids())
            .await?
            .map_err(|error| ReconcileError::no_list(&self.store, error))?;
        Ok(Listed { ids, at: Instant::now(), taken: clock::now(), covers })
    }

    /// Does everything after the list. First waits until a read of the drain that began after the list has found
    /// nothing pending. Also returns the list's tracked orders, if they are to be checked for changes.
    pub async fn repair(&mut self, listed: Listed) -> Result<(PassSummary, OrderIds), ReconcileError> {
        let Listed { ids, at, taken, covers } = listed;
        let count = ids.len() as u64;
        let Diff { missing, published, tracked, known, earlier } = self.ask_lane_for_missing(ids, at).await?;
        self.counters.missing.add(missing.len() as u64);
        let pass = self.spool.read_ids().fresh();
        self.account.begin(&self.store, pass, earlier)?;
        let repair = Repair::new(self, pass).run(missing, published);
        let summary = PassSummary { listed: count, ..or_stopped(&self.stop, repair).await?? };
        self.log(&summary);
        // A wrong path answers with an empty list too, so that is no proof that nothing is missing.
        // guard: an unknown read is settled by a clean pass alone
        let covers = (summary.failed == 0 && summary.listed > 0).then_some(covers);
        let Unaccounted { orders, reads, possible } = self.settle_accounts(&summary, covers, taken, &known).await?;
        let summary =
            PassSummary { unaccounted: orders, unaccounted_reads: reads, possibly_unaccounted: possible, ..summary };
        self.counters.reconciled(summary.clone());
        if let failed @ 1.. = summary.failed {
            let error = ReconcileError::NotFetched { store: self.store.clone(), failed };
            self.counters.not_reconciled.note(error.kind(), error.to_string());
        }
        Ok((summary, tracked))
    }

    /// Whether any read of unknown outcome is not settled yet.
    pub fn has_unsettled_reads(&mut self) -> bool {
        while let Ok(read) = self.unknown.try_recv() {
            self.unsettled.push(*read);
        }
        !self.unsettled.is_empty()
    }

    async fn ask_lane_for_missing(&mut self, listed: OrderIds, at: Instant) -> Result<Diff, ReconcileError> {
        let Self { store, lane, caught_up, stop, account, changes_per_second, .. } = self;
        let with_tracked = changes_per_second.is_some();
        let work = lane.work.clone();
        let answer = async {
            tokio::select! {
                biased;
                // guard: drained to nothing pending, after the list
                caught_up = caught_up.after(at) => if !caught_up { return Err(ReconcileError::DrainGone) },
                () = work.closed() => return Err(ReconcileError::LaneGone),
            }
            // Wait until the lane is ready, so that no query is left in the queue of a lane that can't open.
            if !lane.is_ready().await {
                return Err(ReconcileError::LaneGone);
            }
            let (reply, answer) = oneshot::channel();
            let (passes, known) = (account.passes_of(store), account.to_be_looked_for(store));
            let question = MissingQuery { store: store.clone(), listed, with_tracked, known, passes, reply };
            work.send(Work::FindMissing(question)).await.map_err(|_| ReconcileError::LaneGone)?;
            answer.await.map_err(|_| ReconcileError::LaneGone)
        };
        or_stopped(stop, answer).await?
    }

    /// Records what the pass found and covers. Returns what is missing for good.
    async fn settle_accounts(
        &mut self,
        summary: &PassSummary,
        covers: Option<usize>,
        listed_at: Timestamp,
        known: &[KnownBefore],
    ) -> Result<Unaccounted, ReconcileError> {
        let Self { store, account, spool, counters, unsettled, reported, .. } = self;
        let books = Books { store, account, spool, counters };
        let found = summary.missing - summary.failed;
        let unaccounted = books.record(found, covers, listed_at, known, unsettled).await?;
        if unaccounted != *reported {
            *reported = unaccounted;
            books.warn_missing(unaccounted);
        }
        Ok(unaccounted)
    }

    fn log(&self, summary: &PassSummary) {
        let PassSummary { store, listed, missing, published, dead_letters, gone, failed, .. } = summary;
        if *missing == 0 {
            tracing::debug!(%store, listed, "reconciled: nothing is missing");
        } else {
            tracing::warn!(%store, listed, missing, published, dead_letters, gone, failed, "reconciled: orders were missing");
        }
    }

    /// Waits for the next reason to make a pass; `false` if there will be none.
    async fn wait(&mut self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            read = self.unknown.recv() => match read {
                Some(read) => {
                    self.unsettled.push(*read);
                    true
                }
                None => false,
            },
            () = tokio::time::sleep(pause) => true,
        }
    }

    fn pauses(&self) -> Backoff {
        Backoff::new(Duration::from_secs(2), self.interval)
    }
}

async fn or_stopped<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Result<T, ReconcileError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(ReconcileError::Stopped),
        done = work => Ok(done),
    }
}
