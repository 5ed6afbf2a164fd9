//! Committed pages on their way out of the spool. Each takes an `fdatasync`, for which the lane's next transaction need
//! not wait until its commit.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::committed::Committed;
use crate::fail_point;
use crate::spool::{Durable, Spool, SpoolError};

/// The pages of the last transaction.
pub(super) struct Releasing {
    runtime: Handle,
    spool: Spool,
    running: Option<JoinHandle<Result<(), SpoolError>>>,
}

impl Releasing {
    pub(super) fn new(runtime: Handle, spool: Spool) -> Self {
        Self { runtime, spool, running: None }
    }

    /// Lets go of pages on another thread. [`wait`](Self::wait) before the next commit.
    pub(super) fn begin(&mut self, pages: Vec<Durable>, committed: Committed) {
        let spool = self.spool.clone();
        self.running = Some(self.runtime.spawn_blocking(move || {
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
    pub(super) fn wait(&mut self) -> Result<(), SpoolError> {
        let Some(running) = self.running.take() else { return Ok(()) };
        self.runtime.block_on(running).expect("releasing does not panic")
    }
}
