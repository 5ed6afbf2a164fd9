//! Blocking work and dedicated threads: the seam at which a simulation runs everything on one thread.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::{block_in_place, spawn_blocking};

/// Runs jobs in the background. Both methods need a runtime around them and return at once.
pub trait Jobs: Debug + Send + Sync {
    /// Runs a blocking job on another thread. `whose`: the task that waits for it.
    fn start(&self, whose: &str, job: Box<dyn FnOnce() + Send>);
    /// Gives a task its own thread, which it may block.
    ///
    /// # Errors
    /// The operating system refused to create a thread.
    fn dedicate(&self, name: String, runtime: RuntimeOf, task: Task) -> io::Result<()>;
}

/// Builds the future of a dedicated thread. It is built on that thread, so it need not be `Send`.
pub type Task = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Which runtime drives the timers and connections of a dedicated thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeOf {
    /// The runtime of the code that starts the thread.
    Starter,
    /// A runtime of the thread's own, which saves the hand-over between threads.
    Thread,
}

/// Runs jobs on threads of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Threads;

impl Threads {
    /// A shared handle.
    #[must_use]
    pub fn shared() -> Arc<dyn Jobs> {
        Arc::new(Self)
    }
}

impl Jobs for Threads {
    fn start(&self, _whose: &str, job: Box<dyn FnOnce() + Send>) {
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
                // Keep the runtime's thread for ever, so that no later job finds the operating system out of threads: a
                // job may start while it holds the only copy of a page.
                let runtime = Builder::new_current_thread().enable_all().thread_keep_alive(Duration::MAX).build()?;
                thread.spawn(move || runtime.block_on(task()))?;
            }
        }
        Ok(())
    }
}

/// Gives a task its own thread. The receiver gets the task's result, or an error if the task panicked.
pub(crate) fn dedicate<F: Future<Output: Send> + 'static>(
    jobs: &dyn Jobs,
    name: String,
    runtime: RuntimeOf,
    task: impl FnOnce() -> F + Send + 'static,
) -> io::Result<oneshot::Receiver<F::Output>> {
    let (end, ended) = oneshot::channel();
    let task = move || -> Pin<Box<dyn Future<Output = ()>>> {
        let task = task();
        // The receiver may be gone: nobody has to wait for the result.
        Box::pin(async { drop(end.send(task.await)) })
    };
    jobs.dedicate(name, runtime, Box::new(task))?;
    Ok(ended)
}

/// The handle of a started job. The job runs to its end whether or not anybody waits for it.
#[derive(Debug)]
pub(crate) struct Job<T>(oneshot::Receiver<T>);

impl<T: Send + 'static> Job<T> {
    pub(crate) fn start(jobs: &dyn Jobs, whose: &str, job: impl FnOnce() -> T + Send + 'static) -> Self {
        let (done, told) = oneshot::channel();
        jobs.start(
            whose,
            Box::new(move || {
                // The receiver may be gone: nobody has to wait for the result.
                drop(done.send(job()));
            }),
        );
        Self(told)
    }

    /// The handle of a job that has already returned `result`.
    pub(crate) fn done(result: T) -> Self {
        let (done, told) = oneshot::channel();
        drop(done.send(result));
        Self(told)
    }

    /// Whether the result is available now. It stays false for a job that panicked.
    pub(crate) fn is_over(&self) -> bool {
        !self.0.is_empty()
    }

    /// Waits for the job's result.
    ///
    /// # Panics
    /// If the job panicked.
    pub(crate) async fn ended(self) -> T {
        self.0.await.expect("a job does not panic")
    }
}

/// Runs a blocking job on the current thread. A multi-threaded runtime moves its other tasks to another thread
/// meanwhile.
pub(crate) fn in_place<T>(job: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(job),
        _ => job(),
    }
}
