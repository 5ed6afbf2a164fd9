//! What a lane is given to do.

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::decide::Source;
use crate::order::ids::{OrderId, OrderIds, ReadId, StoreName};
use crate::pipeline::account::KnownBefore;
use crate::pipeline::counters::Tally;
use crate::pipeline::index::Diff;
use crate::spool::Durable;

/// Something to publish.
#[derive(Debug)]
pub enum Work {
    /// A page that is in the spool.
    Page(Durable),
    /// A page whose spool file failed: it exists in memory alone.
    Unspooled(Unspooled),
    /// Orders that the reconciler fetched.
    Fetched(FetchedOrders),
    /// FindMissing of these are not tracked?
    FindMissing(MissingQuery),
}

impl Work {
    pub(super) fn store(&self) -> &StoreName {
        match self {
            Self::Page(page) => page.store(),
            Self::Unspooled(page) => &page.store,
            Self::Fetched(fetched) => &fetched.store,
            Self::FindMissing(question) => &question.store,
        }
    }

    pub(super) fn is_query(&self) -> bool {
        matches!(self, Self::FindMissing(_))
    }
}

/// Asks which orders are missing. The lane alone can tell: it answers when all that was queued before is committed, and
/// never before its index was read to the end.
#[derive(Debug)]
pub struct MissingQuery {
    /// The store.
    pub store: StoreName,
    /// Orders that the marketplace lists.
    pub listed: OrderIds,
    /// Whether the tracked ones are wanted as well.
    pub with_tracked: bool,
    /// Entries of the account, for each of which the orders are counted that were tracked before.
    pub known: Vec<KnownBefore>,
    /// Passes that could not tell what they had published.
    pub passes: Vec<ReadId>,
    /// Told the answer.
    pub reply: oneshot::Sender<Diff>,
}

/// A page that the disk did not take.
#[derive(Debug)]
pub struct Unspooled {
    /// The store it was read from.
    pub store: StoreName,
    /// The read.
    pub read_id: ReadId,
    /// When it came.
    pub read_at: Timestamp,
    /// As it came.
    pub body: Bytes,
}

/// Orders fetched by ID, and whom to tell what became of them.
#[derive(Debug)]
pub struct FetchedOrders {
    /// The store they were fetched from.
    pub store: StoreName,
    /// Who asked for them.
    pub source: Source,
    /// The pass of the reconciler, or the operator's command.
    pub read_id: ReadId,
    /// When the first one came or, where they are asked for one by one, was asked for.
    pub read_at: Timestamp,
    /// Each order's answer, as it came.
    pub answers: Vec<(OrderId, Bytes)>,
    /// Orders that the marketplace lists and yet does not have.
    pub gone: Vec<OrderId>,
    /// Told after the commit.
    pub done: oneshot::Sender<Tally>,
}
