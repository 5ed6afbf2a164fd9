//! The wish to stop: asked for once, seen by every task.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Asks for the stop.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Asked>);

/// Sees whether the stop was asked for.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Asked>);

/// Not a watch channel: that wakes its readers in an order that chance decides, and a simulation must come out the same
/// each time.
#[derive(Debug, Default)]
struct Asked {
    asked: AtomicBool,
    waiting: Notify,
}

/// What a person or a supervisor asks a running program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// SIGINT or SIGTERM; with the exit code of a program that leaves at once.
    Stop {
        /// 128 and the signal's number.
        code: i32,
    },
    /// SIGHUP.
    Reload,
}

/// The signals as they come.
#[derive(Debug)]
pub struct Wishes {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Wishes {
    /// From now on these signals no longer end the program.
    ///
    /// # Errors
    /// If the signals can't be listened to.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one. May be dropped and called again: no signal is missed.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Stop { code: 130 },
            _ = self.terminate.recv() => Wish::Stop { code: 143 },
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}

/// A pair of the two.
#[must_use]
pub fn stopper() -> (Stopper, Stop) {
    let asked = Arc::<Asked>::default();
    (Stopper(asked.clone()), Stop(asked))
}

impl Stopper {
    /// From now on every [`Stop`] says so.
    pub fn stop(&self) {
        self.0.asked.store(true, Ordering::Release);
        self.0.waiting.notify_waiters();
    }

    /// Stops at the first SIGINT or SIGTERM. A second one leaves at once: whatever is not committed is in the spool.
    ///
    /// # Errors
    /// If the signals can't be listened to.
    pub fn stop_on_signals(self) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            let mut asked = false;
            loop {
                let code = tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                };
                if asked {
                    std::process::exit(code);
                }
                asked = true;
                tracing::info!("stopping once the read in flight is committed; a second signal leaves at once");
                self.stop();
            }
        });
        Ok(())
    }
}

impl Stop {
    /// Whether it was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    /// Returns when it is asked for.
    pub async fn requested(&self) {
        let mut told = pin!(self.0.waiting.notified());
        // Before the look: who asks in between tells this one too.
        told.as_mut().enable();
        if !self.is_requested() {
            told.await;
        }
    }

    /// Waits for `pause`; says whether the stop came first.
    pub async fn within(&self, pause: std::time::Duration) -> bool {
        tokio::time::timeout(pause, self.requested()).await.is_ok()
    }
}
