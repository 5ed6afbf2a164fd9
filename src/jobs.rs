//! Work that would hold up the thread that asks for it: the seam at which a simulation does everything on one thread.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::{block_in_place, spawn_blocking};

/// Does jobs beside whoever starts them.
pub trait Jobs: Debug + Send + Sync {
    /// Called from within a runtime; returns at once.
    fn start(&self, job: Box<dyn FnOnce() + Send>);
}

/// On threads of the runtime that may block.
#[derive(Debug, Clone, Copy, Default)]
pub struct Threads;

impl Threads {
    /// For whoever shares them.
    #[must_use]
    pub fn shared() -> Arc<dyn Jobs> {
        Arc::new(Self)
    }
}

impl Jobs for Threads {
    fn start(&self, job: Box<dyn FnOnce() + Send>) {
        drop(spawn_blocking(job));
    }
}

/// A job that was started. It is done whether somebody waits for it or not.
#[derive(Debug)]
pub(crate) struct Job<T>(oneshot::Receiver<T>);

impl<T: Send + 'static> Job<T> {
    pub(crate) fn start(jobs: &dyn Jobs, job: impl FnOnce() -> T + Send + 'static) -> Self {
        let (done, told) = oneshot::channel();
        jobs.start(Box::new(move || {
            // Nobody need wait for it.
            drop(done.send(job()));
        }));
        Self(told)
    }

    /// Whether what it returned can be had at once. One that panicked never comes so far.
    pub(crate) fn is_over(&self) -> bool {
        !self.0.is_empty()
    }

    /// What it returned.
    ///
    /// # Panics
    /// If the job did.
    pub(crate) async fn ended(self) -> T {
        self.0.await.expect("a job does not panic")
    }
}

/// Blocks where it is called. A runtime with other threads gives them what this one had to do.
pub(crate) fn in_place<T>(job: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => job(),
        _ => block_in_place(job),
    }
}
