//! Work that would hold up the thread that asks for it: the seam at which a simulation does everything on one thread.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::{block_in_place, spawn_blocking};

/// Does jobs beside whoever starts them. Called from within a runtime; both calls return at once.
pub trait Jobs: Debug + Send + Sync {
    /// Does something that blocks for a while.
    fn start(&self, job: Box<dyn FnOnce() + Send>);
    /// Gives a task a thread, which it may block as it likes.
    ///
    /// # Errors
    /// The operating system's, which refuses a thread.
    fn dedicate(&self, name: String, runtime: RuntimeOf, task: Task) -> io::Result<()>;
}

/// What a thread does. It is made on that thread, and need not leave it.
pub type Task = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The runtime that has a thread's timers and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeOf {
    /// The starter's.
    Starter,
    /// One of its own, which spares it the hand-over between threads.
    Thread,
}

/// On threads of the operating system.
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

    fn dedicate(&self, name: String, runtime: RuntimeOf, task: Task) -> io::Result<()> {
        let thread = thread::Builder::new().name(name);
        match runtime {
            RuntimeOf::Starter => {
                let runtime = Handle::current();
                thread.spawn(move || runtime.block_on(task()))?;
            }
            RuntimeOf::Thread => {
                // Once there is a thread for its jobs, no later one finds that the operating system has none left: a job
                // may be started with the only copy of a page in hand.
                let runtime = Builder::new_current_thread().enable_all().thread_keep_alive(Duration::MAX).build()?;
                thread.spawn(move || runtime.block_on(task()))?;
            }
        }
        Ok(())
    }
}

/// Gives a task a thread. Told how it ended; nothing, if it panicked.
pub(crate) fn dedicate<F: Future<Output: Send> + 'static>(
    jobs: &dyn Jobs,
    name: String,
    runtime: RuntimeOf,
    task: impl FnOnce() -> F + Send + 'static,
) -> io::Result<oneshot::Receiver<F::Output>> {
    let (end, ended) = oneshot::channel();
    let task = move || -> Pin<Box<dyn Future<Output = ()>>> {
        let task = task();
        // Nobody need wait for it.
        Box::pin(async { drop(end.send(task.await)) })
    };
    jobs.dedicate(name, runtime, Box::new(task))?;
    Ok(ended)
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

    /// One that was done at once.
    pub(crate) fn done(result: T) -> Self {
        let (done, told) = oneshot::channel();
        drop(done.send(result));
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
