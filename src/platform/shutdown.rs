//! Shutdown: process signals, and waits that a cancelled token cuts short.
//!
//! Every task holds a clone of one `CancellationToken`. The token wakes its waiters in the order in which they began to
//! wait, so a simulation is reproducible.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a signal asks the running program to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessSignal {
    /// SIGINT or SIGTERM.
    Stop {
        /// The exit code if the program exits at once: 128 plus the signal's number.
        code: i32,
    },
    /// SIGHUP.
    Reload,
}

/// Receives SIGINT and SIGTERM.
#[derive(Debug)]
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal and returns its exit code, 128 plus the signal's number.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

/// Receives every signal that a running program handles.
#[derive(Debug)]
pub struct Signals {
    stops: StopSignals,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers: from now on these signals no longer end the program by themselves.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { stops: StopSignals::listen()?, hangup: signal(SignalKind::hangup())? })
    }

    /// Waits for the next signal. Cancel-safe: dropping the future loses no signal.
    pub async fn next(&mut self) -> ProcessSignal {
        tokio::select! {
            code = self.stops.next() => ProcessSignal::Stop { code },
            _ = self.hangup.recv() => ProcessSignal::Reload,
        }
    }
}

/// Cancels `stop` at the first SIGINT or SIGTERM. The second exits at once, which loses nothing: pages that are not
/// committed are in the spool.
pub fn cancel_on_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut signals = StopSignals::listen()?;
    tokio::spawn(async move {
        loop {
            let code = signals.next().await;
            if stop.is_cancelled() {
                std::process::exit(code);
            }
            tracing::info!("stopping once the read in flight is committed; a second signal leaves at once");
            stop.cancel();
        }
    });
    Ok(())
}

/// Waits for `pause`, and returns true if `stop` was cancelled first.
pub async fn cancelled_within(stop: &CancellationToken, pause: Duration) -> bool {
    tokio::time::timeout(pause, stop.cancelled()).await.is_ok()
}
