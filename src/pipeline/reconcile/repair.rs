//! Fetches missing orders by their IDs and hands them to the lane.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::ask::Asker;
use super::ask_error::AskError;
use super::hand_over::HandOver;
use super::{ReconcileError, Reconciler};
use crate::order::ids::{OrderId, ReadId};
use crate::pipeline::counters::PassSummary;
use crate::pipeline::publish::Source;

/// Pauses between attempts at a listed order that is not found: it may be on its way to a replica.
const RETRY_PAUSES: [Duration; 3] = [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];
/// Number of consecutive orders, each tried repeatedly, that could not be fetched, after which the others are left to
/// the next pass.
const MAX_FAILURES: u64 = 16;

/// The repair of one pass.
pub(super) struct Repair<'a> {
    reconciler: &'a Reconciler,
    asker: Arc<Asker>,
    hand_over: HandOver,
    /// Whether some order was found by its ID, which proves the path right.
    found: bool,
    failures_in_a_row: u64,
    failed: u64,
}

impl<'a> Repair<'a> {
    pub(super) fn new(reconciler: &'a Reconciler, pass: ReadId) -> Self {
        Self {
            reconciler,
            asker: Arc::new(reconciler.asker.clone()),
            hand_over: HandOver::new(&reconciler.store, Source::Reconcile, pass, &reconciler.lane),
            found: false,
            failures_in_a_row: 0,
            failed: 0,
        }
    }

    /// Returns when everything that was found is committed. `published`: an order that the marketplace must know.
    pub(super) async fn run(
        mut self,
        missing: Vec<OrderId>,
        published: Option<OrderId>,
    ) -> Result<PassSummary, ReconcileError> {
        let mut summary = PassSummary { missing: missing.len() as u64, ..PassSummary::of(&self.reconciler.store) };
        let mut not_found = self.round(missing).await?;
        for pause in RETRY_PAUSES {
            if not_found.is_empty() || self.gives_up() {
                break;
            }
            tokio::time::sleep(pause).await;
            not_found = self.round(not_found).await?;
        }
        self.track_as_gone(not_found, published).await?;
        summary.failed = self.failed;
        summary.count(self.hand_over.settled().await?);
        Ok(summary)
    }

    /// Requests each order once, several at a time; returns those that are not found.
    async fn round(&mut self, ids: Vec<OrderId>) -> Result<Vec<OrderId>, ReconcileError> {
        let mut not_found = Vec::new();
        let mut ids = ids.into_iter();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < self.reconciler.concurrency && !self.gives_up() {
                let Some(id) = ids.next() else { break };
                let asker = self.asker.clone();
                asked.spawn(async move { (asker.order(&id).await, id) });
            }
            let Some(answer) = asked.join_next().await else { break };
            let (answer, id) = answer.map_err(|_| ReconcileError::Panicked)?;
            match answer {
                Ok(body) => self.found(id, body).await?,
                Err(error) if error.is_not_found() => not_found.push(id),
                Err(error) => self.failed(&id, &error),
            }
        }
        self.failed += ids.len() as u64;
        self.hand_over.flush(Vec::new()).await?;
        Ok(not_found)
    }

    async fn found(&mut self, id: OrderId, answer: Bytes) -> Result<(), ReconcileError> {
        self.found = true;
        self.failures_in_a_row = 0;
        self.reconciler.counters.looked_up.add(1);
        self.hand_over.take(id, answer).await
    }

    fn failed(&mut self, id: &OrderId, error: &AskError) {
        self.failed += 1;
        self.failures_in_a_row += if error.is_hopeless() { MAX_FAILURES } else { 1 };
        self.reconciler.counters.looked_up.add(1);
        tracing::warn!(
            store = %self.reconciler.store, order = %id, %error,
            "a missing order could not be fetched; the next pass tries again"
        );
    }

    fn gives_up(&self) -> bool {
        self.failures_in_a_row >= MAX_FAILURES
    }

    /// Tracks orders as gone, if it is certain that the marketplace would have returned them. The configured path is a
    /// guess, and a wrong path answers 404 as well. An order that is found under it proves it right.
    async fn track_as_gone(&mut self, ids: Vec<OrderId>, published: Option<OrderId>) -> Result<(), ReconcileError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.reconciler.counters.looked_up.add(ids.len() as u64);
        let proven = self.found
            || match published {
                Some(id) => self.asker.order(&id).await.is_ok(),
                None => false,
            };
        let (store, orders) = (&self.reconciler.store, ids.len());
        // guard: gone only with proof
        if proven {
            tracing::warn!(%store, orders, "listed orders that the marketplace does not have (404): remembered as gone");
            return self.hand_over.flush(ids).await;
        }
        self.failed += ids.len() as u64;
        tracing::warn!(
            %store, orders,
            "missing orders are not found by their IDs (404), nor is any other: `api.paths.order`, whose default is \
             unconfirmed, is probably wrong; set it, and they are fetched by the next pass"
        );
        Ok(())
    }
}
