//! Orders that were fetched by their IDs, on their way to the lane in pieces of a page's size.

use std::mem;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::ReconcileError;
use crate::order::ids::{OrderId, ReadId, StoreName};
use crate::pipeline::counters::Tally;
use crate::pipeline::publish::{FetchedOrders, LaneHandle, Source, Work};
use crate::platform::clock;

/// Orders in one piece of work, as in a page.
const BATCH: usize = 30;

/// One pass's, or one command's.
pub(super) struct HandOver {
    store: StoreName,
    source: Source,
    /// All events carry it.
    read_id: ReadId,
    work: mpsc::Sender<Work>,
    batch: Vec<(OrderId, Bytes)>,
    /// When the batch's first order came, or was asked for.
    since: Option<Timestamp>,
    told: Vec<oneshot::Receiver<Tally>>,
}

impl HandOver {
    /// `read_id`: all events will carry it.
    pub(super) fn new(store: &StoreName, source: Source, read_id: ReadId, lane: &LaneHandle) -> Self {
        let (store, work) = (store.clone(), lane.work.clone());
        Self { store, source, read_id, work, batch: Vec::new(), since: None, told: Vec::new() }
    }

    /// From now on an order may come whose content is as old as this moment.
    pub(super) fn asking(&mut self) {
        self.since.get_or_insert_with(clock::now);
    }

    /// Takes an order with the marketplace's answer. Waits while the lane has enough to do.
    ///
    /// # Errors
    /// [`ReconcileError::LaneGone`].
    pub(super) async fn take(&mut self, id: OrderId, answer: Bytes) -> Result<(), ReconcileError> {
        self.asking();
        self.batch.push((id, answer));
        if self.batch.len() >= BATCH { self.flush(Vec::new()).await } else { Ok(()) }
    }

    /// Hands over what was taken, with orders that the marketplace does not have.
    ///
    /// # Errors
    /// [`ReconcileError::LaneGone`].
    pub(super) async fn flush(&mut self, gone: Vec<OrderId>) -> Result<(), ReconcileError> {
        if self.batch.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let (done, told) = oneshot::channel();
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
        self.told.push(told);
        Ok(())
    }

    /// What became of all of them, once it is committed.
    ///
    /// # Errors
    /// [`ReconcileError::LaneGone`].
    pub(super) async fn settled(mut self) -> Result<Tally, ReconcileError> {
        self.flush(Vec::new()).await?;
        let mut all = Tally::default();
        for told in self.told {
            all += told.await.map_err(|_| ReconcileError::LaneGone)?;
        }
        Ok(all)
    }
}
