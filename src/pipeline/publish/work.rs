//! The work that a lane receives.

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::decide::Source;
use crate::marketplace::body::RecordPlaces;
use crate::order::ids::{OrderId, OrderIds, ReadId, StoreName};
use crate::pipeline::account::KnownBefore;
use crate::pipeline::counters::Tally;
use crate::pipeline::index::Diff;
use crate::spool::Durable;

/// A piece of work for a lane.
#[derive(Debug)]
pub enum Work {
    /// A page in the spool, and its records' places if it was parsed in this process.
    Page(Durable, Option<RecordPlaces>),
    /// A page whose spool file failed: it exists in memory only.
    Unspooled(Unspooled),
    /// Orders that were fetched by their IDs.
    Fetched(FetchedOrders),
    /// The question which listed orders are missing.
    FindMissing(MissingQuery),
}

impl Work {
    pub(super) fn store(&self) -> &StoreName {
        match self {
            Self::Page(page, _) => page.store(),
            Self::Unspooled(page) => &page.store,
            Self::Fetched(fetched) => &fetched.store,
            Self::FindMissing(question) => &question.store,
        }
    }

    pub(super) fn is_query(&self) -> bool {
        matches!(self, Self::FindMissing(_))
    }
}

/// Asks which orders are missing. Only the lane can tell: it answers when all earlier work in the queue is committed,
/// and never before its index was read to the end.
#[derive(Debug)]
pub struct MissingQuery {
    pub store: StoreName,
    /// Orders that the marketplace lists.
    pub listed: OrderIds,
    /// Whether the answer should name the tracked orders too.
    pub with_tracked: bool,
    /// Account entries, for each of which the lane counts the listed orders tracked before it.
    pub known: Vec<KnownBefore>,
    /// Reconciler passes that died before recording their result.
    pub passes: Vec<ReadId>,
    /// Receives the answer.
    pub reply: oneshot::Sender<Diff>,
}

/// A page that the disk did not take.
#[derive(Debug)]
pub struct Unspooled {
    pub store: StoreName,
    pub read_id: ReadId,
    /// The read's number in the spool.
    pub seq: u64,
    /// When the answer was complete.
    pub read_at: Timestamp,
    /// The answer as it came.
    pub body: Bytes,
    /// Where its records are.
    pub records: RecordPlaces,
}

/// Orders fetched by ID, and the channel for the result.
#[derive(Debug)]
pub struct FetchedOrders {
    pub store: StoreName,
    /// Who requested them.
    pub source: Source,
    /// The ID of the reconciler pass, or of the operator's command.
    pub read_id: ReadId,
    /// When the first one came; if they are fetched one by one, when it was requested.
    pub read_at: Timestamp,
    /// Each order's answer, as it came.
    pub answers: Vec<(OrderId, Bytes)>,
    /// Orders that the marketplace lists but does not have.
    pub gone: Vec<OrderId>,
    /// Receives the result after the commit.
    pub done: oneshot::Sender<Tally>,
}
