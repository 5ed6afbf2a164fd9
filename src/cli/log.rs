//! Logging to the standard error, in such a way that log lines and progress bars don't overwrite each other.

use std::env;
use std::io::{self, IsTerminal as _, Write};

use indicatif::MultiProgress;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The log of this process. Clones share it.
#[derive(Clone)]
pub struct Log {
    /// Progress bars must be added here: then they are hidden while a log line is written.
    pub bars: MultiProgress,
    /// What is logged; none if the environment says it.
    filter: Option<reload::Handle<Targets, Registry>>,
}

impl Log {
    /// Sets up logging to the standard error, as JSON or as text. `RUST_LOG` is the filter, or else `default` until
    /// [`Log::set_filter`].
    #[must_use]
    pub fn init(json: bool, default: Targets) -> Self {
        let bars = MultiProgress::new();
        let wanted = env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
        let wanted = wanted.and_then(|wanted| wanted.parse::<Targets>().ok());
        let is_fixed = wanted.is_some();
        let (filter, handle) = reload::Layer::new(wanted.unwrap_or(default));
        let lines =
            fmt::layer().with_target(false).with_ansi(io::stderr().is_terminal()).with_writer(BesideBars(bars.clone()));
        let subscriber = tracing_subscriber::registry().with(filter);
        let result = if json { subscriber.with(lines.json()).try_init() } else { subscriber.with(lines).try_init() };
        // A test may have set up logging before.
        result.unwrap_or_default();
        Self { bars, filter: (!is_fixed).then_some(handle) }
    }

    /// Changes what is logged, from now on and on all threads, unless `RUST_LOG` says it.
    pub fn set_filter(&self, wanted: &Targets) {
        let Some(filter) = &self.filter else { return };
        if filter.with_current(|current| current == wanted).unwrap_or(true) {
            return;
        }
        if filter.reload(wanted.clone()).is_ok() {
            tracing::info!(filter = %wanted, "what is logged was changed");
        }
    }
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
