//! Releases committed pages from the spool. Each release takes an `fdatasync`; the lane's next transaction runs
//! meanwhile and waits for it only before its commit.

use std::sync::Arc;

use crate::platform::fail_point;
use crate::platform::jobs::{Job, Jobs};
use crate::spool::committed::Committed;
use crate::spool::{Durable, Spool, SpoolError};

/// The release of the last transaction's pages.
pub(super) struct Releasing {
    jobs: Arc<dyn Jobs>,
    spool: Spool,
    running: Option<Job<Result<(), SpoolError>>>,
    /// Why an earlier page could not be released.
    failed: Option<SpoolError>,
}

/// Proof that no page of an earlier transaction can come back as new: all have left the spool, or have no order in
/// common with the next commit. Only [`Releasing`] creates it, and a commit consumes it.
pub(super) struct Released(());

impl Releasing {
    pub(super) fn new(jobs: Arc<dyn Jobs>, spool: Spool) -> Self {
        Self { jobs, spool, running: None, failed: None }
    }

    /// Releases pages on another thread.
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

    /// Waits until the pages are released.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the next start then finds the page again.
    pub(super) async fn wait(&mut self) -> Result<Released, SpoolError> {
        if let Some(running) = self.running.take() {
            // guard: pages have left the spool before the next commit
            let ended = running.ended().await;
            self.failed = self.failed.take().or(ended.err());
        }
        self.failed.take().map_or(Ok(Released(())), Err)
    }

    /// Continues although a page could not be released, because the next commit brings only orders that no page brought
    /// before. The next [`wait`](Self::wait) fails again.
    pub(super) fn in_spite_of(&mut self, error: SpoolError) -> Released {
        self.failed = Some(error);
        Released(())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::platform::jobs::{RuntimeOf, Task};
    use crate::spool::SpoolOptions;

    /// Holds each job until the test runs it.
    #[derive(Debug, Default)]
    struct Held(Mutex<Vec<Pending>>);

    struct Pending(Box<dyn FnOnce() + Send>);

    impl std::fmt::Debug for Pending {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a job")
        }
    }

    impl Jobs for Held {
        fn start(&self, job: Box<dyn FnOnce() + Send>) {
            self.0.lock().unwrap().push(Pending(job));
        }

        fn dedicate(&self, _: String, _: RuntimeOf, _: Task) -> std::io::Result<()> {
            unreachable!("a release needs no thread of its own")
        }
    }

    fn releasing(jobs: &Arc<Held>) -> (Releasing, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(SpoolOptions::new(dir.path().join("spool"))).unwrap();
        (Releasing::new(jobs.clone(), spool), dir)
    }

    #[test]
    fn nothing_may_be_committed_before_the_pages_of_the_last_commit_have_left() {
        let jobs = Arc::new(Held::default());
        let (mut releasing, _dir) = releasing(&jobs);
        releasing.begin(Vec::new(), Committed::seen());
        let mut waiting = pin!(releasing.wait());
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let Pending(release) = jobs.0.lock().unwrap().pop().unwrap();
        release();
        assert!(matches!(waiting.poll(&mut context), Poll::Ready(Ok(_))));
    }

    #[test]
    fn a_page_that_did_not_leave_is_told_of_again_by_whoever_goes_on_in_spite_of_it() {
        let (mut releasing, _dir) = releasing(&Arc::default());
        let Released(()) = releasing.in_spite_of(SpoolError::Locked { dir: "spool".into(), pid: None });
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(pin!(releasing.wait()).poll(&mut context), Poll::Ready(Err(_))));
    }
}
