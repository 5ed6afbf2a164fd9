//! The wall clock. A simulation can replace it, and a test can shift it in a running program.
//!
//! The wall clock may jump forward or back at any time. So it only dates what is read and published; durations and
//! waits use [`tokio::time::Instant`].
//!
//! The clock is a function, not a value passed to every part. The parts that ask for the time share nothing else, and a
//! value would have to pass through everything between them. `clippy.toml` forbids asking the system directly, except
//! in the sandbox, which stands for another machine.
//!
//! # In tests
//! - A single-threaded simulation gives its thread a clock with [`simulate`].
//! - A debug build adds `IMOTRIZ_TEST_CLOCK_OFFSET` to the system's time: `8d`, `-8d`, `90m`. If the variable names a
//!   file, the file holds the offset and is read each time the clock is read. A test that replaces the file by a rename
//!   thereby sets the clock of a running program. A release build contains none of this.

use std::cell::RefCell;

use jiff::Timestamp;

type Simulated = Box<dyn Fn() -> Timestamp>;

thread_local! {
    static SIMULATED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

/// The current time.
#[must_use]
pub fn now() -> Timestamp {
    SIMULATED.with_borrow(|simulated| simulated.as_ref().map_or_else(system, |clock| clock()))
}

/// Replaces the clock of this thread with `clock`, until it is replaced again.
pub fn simulate(clock: impl Fn() -> Timestamp + 'static) {
    SIMULATED.set(Some(Box::new(clock)));
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
fn system() -> Timestamp {
    let now = Timestamp::now();
    #[cfg(debug_assertions)]
    let now = now + moved::offset();
    now
}

#[cfg(debug_assertions)]
mod moved {
    use std::path::{Path, PathBuf};
    use std::sync::LazyLock;
    use std::{env, fs};

    use jiff::{SignedDuration, Span, SpanRelativeTo};

    const VARIABLE: &str = "IMOTRIZ_TEST_CLOCK_OFFSET";

    enum Offset {
        Fixed(SignedDuration),
        In(PathBuf),
    }

    static OFFSET: LazyLock<Offset> = LazyLock::new(|| match env::var(VARIABLE) {
        Ok(text) if Path::new(&text).is_absolute() => Offset::In(text.into()),
        Ok(text) => Offset::Fixed(parsed(&text)),
        Err(_) => Offset::Fixed(SignedDuration::ZERO),
    });

    pub(super) fn offset() -> SignedDuration {
        match &*OFFSET {
            Offset::Fixed(offset) => *offset,
            Offset::In(file) => match fs::read_to_string(file) {
                Ok(text) => parsed(text.trim()),
                Err(error) => panic!("{VARIABLE}: {}: {error}", file.display()),
            },
        }
    }

    pub(super) fn parsed(text: &str) -> SignedDuration {
        let span = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        span.unwrap_or_else(|error| panic!("{VARIABLE} reads 8d, -8d or 90m, or names a file: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_by_the_clock_that_it_was_given() {
        simulate(|| Timestamp::UNIX_EPOCH);
        assert_eq!(now(), Timestamp::UNIX_EPOCH);
        std::thread::spawn(|| assert_ne!(now(), Timestamp::UNIX_EPOCH)).join().unwrap();
    }

    #[test]
    #[cfg(debug_assertions)]
    fn an_offset_goes_forward_and_back() {
        use jiff::SignedDuration;

        for (text, hours) in [("8d", 192), ("-8d", -192), ("90h", 90)] {
            assert_eq!(moved::parsed(text), SignedDuration::from_hours(hours), "{text}");
        }
    }
}
