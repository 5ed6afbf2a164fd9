//! Committed pages on their way out of the spool. Each takes an `fdatasync`, for which the lane's next transaction need
//! not wait until its commit.

use std::sync::Arc;

use crate::committed::Committed;
use crate::fail_point;
use crate::jobs::{Job, Jobs};
use crate::spool::{Durable, Spool, SpoolError};

/// The pages of the last transaction.
pub(super) struct Releasing {
    jobs: Arc<dyn Jobs>,
    spool: Spool,
    running: Option<Job<Result<(), SpoolError>>>,
}

/// The pages of all former transactions have left the spool. Only [`Releasing::wait`] makes one, and a commit uses it up.
pub(super) struct Released(());

impl Releasing {
    pub(super) fn new(jobs: Arc<dyn Jobs>, spool: Spool) -> Self {
        Self { jobs, spool, running: None }
    }

    /// Lets go of pages on another thread.
    pub(super) fn begin(&mut self, pages: Vec<Durable>, committed: Committed) {
        let spool = self.spool.clone();
        self.running = Some(Job::start(&*self.jobs, move || {
            pages.into_iter().try_for_each(|page| {
                spool.release(page, &committed)?;
                fail_point::reach("released");
                Ok(())
            })
        }));
    }

    /// Returns once they are gone.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the page is then found again after the next start.
    pub(super) async fn wait(&mut self) -> Result<Released, SpoolError> {
        if let Some(running) = self.running.take() {
            running.ended().await?;
        }
        Ok(Released(()))
    }
}
