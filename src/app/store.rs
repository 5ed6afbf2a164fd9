//! The tasks of one store: how its drain and its reconciler work together.

use crate::order::ids::OrderIds;
use crate::pipeline::counters::PassSummary;
use crate::pipeline::drain::Drain;
use crate::pipeline::reconcile::{ReconcileError, Reconciler};

use super::error::AppError;

/// Maximum passes in a row. Each pass may meet unknown reads of its own, which the next one settles.
const MAX_PASSES: usize = 5;

pub(super) struct StoreTask {
    pub(super) drain: Drain,
    pub(super) reconciler: Reconciler,
    /// Whether an earlier run's page was found damaged. Its orders are marked as handed over, so they have to be
    /// fetched again.
    pub(super) damaged: bool,
}

impl StoreTask {
    /// Drains until nothing is pending. If a read had an unknown outcome or a page was damaged, in this run or an
    /// earlier one, or an earlier one did not end well, it then fetches what may have been lost. If that fails it logs a warning and keeps the unknown
    /// reads in the spool. Returns `Ok` only if every order found missing was fetched.
    pub(super) async fn drain(mut self) -> Result<(), AppError> {
        self.drain.clone().run().await?;
        // guard: polls that were cut off are looked for
        let is_cut_off = self.reconciler.account.is_cut_off(&self.reconciler.store);
        if !self.damaged && !is_cut_off && !self.reconciler.has_unsettled_reads() {
            return Ok(());
        }
        match self.repair().await {
            // guard: a drain that could not fetch all says so
            Ok((PassSummary { store, failed: failed @ 1.., .. }, _)) => {
                Err(ReconcileError::NotFetched { store, failed }.into())
            }
            Ok(_) => Ok(()),
            Err(AppError::Reconcile(error)) => {
                if !matches!(error, ReconcileError::Stopped) {
                    tracing::warn!(%error, "what may have been lost could not be looked for: unknown reads stay noted in the spool");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Repairs missing orders, then looks for changed ones, which may take long.
    pub(super) async fn reconcile(&mut self) -> Result<PassSummary, AppError> {
        let (mut summary, tracked) = self.repair().await?;
        self.reconciler.look_for_changes(&mut summary, tracked).await?;
        Ok(summary)
    }

    /// Makes one pass, and further ones while unknown reads are left that the last pass did not cover. Also returns the
    /// tracked orders of the last list.
    async fn repair(&mut self) -> Result<(PassSummary, OrderIds), AppError> {
        let (mut all, mut tracked) = self.pass().await?;
        for _ in 1..MAX_PASSES {
            if all.failed > 0 || !self.reconciler.has_unsettled_reads() {
                break;
            }
            let (summary, newer) = self.pass().await?;
            all.add(&summary);
            tracked = newer;
        }
        Ok((all, tracked))
    }

    /// The drain runs between list and repair; [`crate::pipeline::reconcile`] explains why.
    async fn pass(&mut self) -> Result<(PassSummary, OrderIds), AppError> {
        // guard: list, then drain
        let listed = self.reconciler.list().await?;
        self.drain.clone().run().await?;
        Ok(self.reconciler.repair(listed).await?)
    }
}
