//! The wish to stop: asked for once, seen by every task.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Asks for the stop.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

/// Sees whether the stop was asked for.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

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
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Stop(receiver))
}

impl Stopper {
    /// From now on every [`Stop`] says so.
    pub fn stop(&self) {
        self.0.send_replace(true);
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
        *self.0.borrow()
    }

    /// Returns when it is asked for; never, if nobody can ask any more.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for `pause`; says whether the stop came first.
    pub async fn within(&mut self, pause: std::time::Duration) -> bool {
        tokio::time::timeout(pause, self.requested()).await.is_ok()
    }
}
