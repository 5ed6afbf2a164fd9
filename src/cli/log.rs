//! Logging to the standard error, in such a way that log lines and progress bars don't overwrite each other.

use std::io::{self, IsTerminal as _, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The default log filter.
pub const USUAL: &str = "info,rdkafka=off";
/// The log filter of a command that shows its progress in its own way.
pub const QUIET: &str = "off";

/// Sets up logging to the standard error, as JSON or as text. `RUST_LOG` is the filter, or else `default`. Progress
/// bars must be added to the returned [`MultiProgress`], which hides them while a log line is written.
pub fn init(json: bool, default: &str) -> MultiProgress {
    let bars = MultiProgress::new();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(BesideBars(bars.clone()));
    let result = if json { builder.json().try_init() } else { builder.try_init() };
    // A test may have set up logging before.
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
