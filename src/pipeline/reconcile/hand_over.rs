//! Hands orders that were fetched by their IDs to the lane, in batches of a page's size.

use std::mem;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::ReconcileError;
use crate::order::ids::{OrderId, ReadId, StoreName};
use crate::pipeline::counters::Tally;
use crate::pipeline::publish::{FetchedOrders, LaneHandle, Source, Work};
use crate::platform::clock;

/// Orders per batch, as in a page.
const BATCH: usize = 30;

/// The orders of one pass or one command.
pub(super) struct HandOver {
    store: StoreName,
    source: Source,
    /// The read ID of all its events.
    read_id: ReadId,
    work: mpsc::Sender<Work>,
    batch: Vec<(OrderId, Bytes)>,
    /// When the batch's first order came, or was requested.
    since: Option<Timestamp>,
    results: Vec<oneshot::Receiver<Tally>>,
}

impl HandOver {
    /// `read_id`: the read ID of all its events.
    pub(super) fn new(store: &StoreName, source: Source, read_id: ReadId, lane: &LaneHandle) -> Self {
        let (store, work) = (store.clone(), lane.work.clone());
        Self { store, source, read_id, work, batch: Vec::new(), since: None, results: Vec::new() }
    }

    /// Notes that a request is about to be sent: its answer may be as old as this moment.
    pub(super) fn note_request(&mut self) {
        self.since.get_or_insert_with(clock::now);
    }

    /// Adds an order and the marketplace's answer. Waits while the lane's queue is full.
    ///
    /// # Errors
    /// [`ReconcileError::LaneGone`].
    pub(super) async fn take(&mut self, id: OrderId, answer: Bytes) -> Result<(), ReconcileError> {
        self.note_request();
        self.batch.push((id, answer));
        if self.batch.len() >= BATCH { self.flush(Vec::new()).await } else { Ok(()) }
    }

    /// Sends the batch to the lane, with orders that the marketplace does not have.
    ///
    /// # Errors
    /// [`ReconcileError::LaneGone`].
    pub(super) async fn flush(&mut self, gone: Vec<OrderId>) -> Result<(), ReconcileError> {
        if self.batch.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let (done, result) = oneshot::channel();
        let orders = FetchedOrders {
            store: self.store.clone(),
            source: self.source,
            read_id: self.read_id,
            read_at: self.since.take().unwrap_or_else(clock::now),
            answers: mem::take(&mut self.batch),
            gone,
            done,
        };
        self.work.send(Work::Fetched(orders)).await.map_err(|_| ReconcileError::LaneGone)?;
        self.results.push(result);
        Ok(())
    }

    /// Sends the last batch, waits until everything is committed, and returns what became of the orders.
    ///
    /// # Errors
    /// [`ReconcileError::LaneGone`].
    pub(super) async fn settled(mut self) -> Result<Tally, ReconcileError> {
        self.flush(Vec::new()).await?;
        let mut all = Tally::default();
        for result in self.results {
            all += result.await.map_err(|_| ReconcileError::LaneGone)?;
        }
        Ok(all)
    }
}
