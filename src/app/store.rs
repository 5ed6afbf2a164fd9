//! One store's tasks: how drain and reconciler work together.

use crate::order::ids::OrderIds;
use crate::pipeline::counters::PassSummary;
use crate::pipeline::drain::Drain;
use crate::pipeline::reconcile::{ReconcileError, Reconciler};

use super::AppError;

/// Passes in a row at most: each may meet unknown reads of its own, which the next one settles.
const PASSES: usize = 5;

/// A store's drain and its reconciler.
pub(super) struct StoreTask {
    pub(super) drain: Drain,
    pub(super) reconciler: Reconciler,
    /// An earlier run's page was found damaged: what was in it is marked, and has to be fetched again.
    pub(super) damaged: bool,
}

impl StoreTask {
    /// Drains to nothing pending. Where a read had an unknown outcome or a page was damaged, in this run or an earlier
    /// one, what may have been lost is fetched before it is over; where that can't be, it is said, and the unknown reads
    /// stay noted in the spool. It ends well only if all was fetched that was found missing.
    pub(super) async fn drain(mut self) -> Result<(), AppError> {
        self.drain.clone().run().await?;
        if !self.damaged && !self.reconciler.has_unsettled_reads() {
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

    /// Repairs what is missing, and then looks for changes, which may take long.
    pub(super) async fn reconcile(&mut self) -> Result<PassSummary, AppError> {
        let (mut summary, tracked) = self.repair().await?;
        self.reconciler.look_for_changes(&mut summary, tracked).await?;
        Ok(summary)
    }

    /// One pass; and further ones for unknown reads that are not covered by it. Gives the last list's tracked orders as
    /// well.
    async fn repair(&mut self) -> Result<(PassSummary, OrderIds), AppError> {
        let (mut all, mut tracked) = self.pass().await?;
        for _ in 1..PASSES {
            if all.failed > 0 || !self.reconciler.has_unsettled_reads() {
                break;
            }
            let (summary, newer) = self.pass().await?;
            all.add(&summary);
            tracked = newer;
        }
        Ok((all, tracked))
    }

    /// The drain ends between list and repair; see [`crate::pipeline::reconcile`] for why there.
    async fn pass(&mut self) -> Result<(PassSummary, OrderIds), AppError> {
        // guard: list, then drain
        let listed = self.reconciler.list().await?;
        self.drain.clone().run().await?;
        Ok(self.reconciler.repair(listed).await?)
    }
}
