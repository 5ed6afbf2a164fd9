//! What ends a program: signals, and waiting that a cancelled token cuts short.
//!
//! Every task holds a clone of one `CancellationToken`. It wakes its waiters in the order in which they began to wait, so
//! a simulation comes out the same each time.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a person or a supervisor asks a running program for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessSignal {
    /// SIGINT or SIGTERM; with the exit code of a program that leaves at once.
    Stop {
        /// 128 and the signal's number.
        code: i32,
    },
    /// SIGHUP.
    Reload,
}

/// SIGINT and SIGTERM as they come.
#[derive(Debug)]
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The exit code of a program that leaves at once.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

/// All signals that a running program heeds.
#[derive(Debug)]
pub struct Signals {
    stops: StopSignals,
    hangup: Signal,
}

impl Signals {
    /// From now on these signals no longer end the program.
    ///
    /// # Errors
    /// If the signals can't be listened to.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { stops: StopSignals::listen()?, hangup: signal(SignalKind::hangup())? })
    }

    /// The next one. May be dropped and called again: no signal is missed.
    pub async fn next(&mut self) -> ProcessSignal {
        tokio::select! {
            code = self.stops.next() => ProcessSignal::Stop { code },
            _ = self.hangup.recv() => ProcessSignal::Reload,
        }
    }
}

/// Cancels `stop` at the first SIGINT or SIGTERM. A second one leaves at once: whatever is not committed is in the spool.
///
/// # Errors
/// If the signals can't be listened to.
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

/// Waits for `pause`; says whether the stop came first.
pub async fn cancelled_within(stop: &CancellationToken, pause: Duration) -> bool {
    tokio::time::timeout(pause, stop.cancelled()).await.is_ok()
}
