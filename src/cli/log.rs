//! Log lines and the progress bar on the same terminal, without one tearing the other.

use std::io::{self, IsTerminal as _, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged unless `RUST_LOG` says otherwise.
pub const USUAL: &str = "info,rdkafka=off";
/// For a command that shows in its own way what goes on.
pub const QUIET: &str = "off";

/// Sets up logging to the standard error: JSON lines, or readable ones. `RUST_LOG` sets what is logged, or else
/// `default`. Returns what progress bars must be added to.
pub fn init(json: bool, default: &str) -> MultiProgress {
    let bars = MultiProgress::new();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(BesideBars(bars.clone()));
    let result = if json { builder.json().try_init() } else { builder.try_init() };
    // A test may have set one up before.
    result.unwrap_or_default();
    bars
}

#[derive(Clone)]
struct BesideBars(MultiProgress);

impl Write for BesideBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl MakeWriter<'_> for BesideBars {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
