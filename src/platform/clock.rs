//! The wall clock: the seam at which a simulation puts a clock of its own, and at which a test moves that of the real
//! program.
//!
//! It may be set at any time, forward and back, so it measures nothing: whatever waits or lasts goes by
//! [`tokio::time::Instant`]. It only dates what is read and published.
//!
//! A function, and no value that is handed to every part: what asks for the time shares nothing else, and would have to
//! hand it on through all that lies between. `clippy.toml` keeps everybody from asking the system itself, but for the
//! sandbox, which stands for another machine.
//!
//! # In tests
//! - A simulation that does everything on one thread gives that thread a clock: [`simulate`].
//! - A debug build adds `IMOTRIZ_TEST_CLOCK_OFFSET` to what the system says: `8d`, `-8d`, `90m`. Where it names a file,
//!   the file holds such a text and is read at every look at the clock: a test that replaces it, by a rename, sets the
//!   clock of a running program. In a release build there is nothing of it.

use std::cell::RefCell;

use jiff::Timestamp;

type Simulated = Box<dyn Fn() -> Timestamp>;

thread_local! {
    static SIMULATED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

/// What the clock shows.
#[must_use]
pub fn now() -> Timestamp {
    SIMULATED.with_borrow(|simulated| simulated.as_ref().map_or_else(system, |clock| clock()))
}

/// From now on `clock` is what everything on this thread goes by, until another one is.
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
    use jiff::SignedDuration;

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
        for (text, hours) in [("8d", 192), ("-8d", -192), ("90h", 90)] {
            assert_eq!(moved::parsed(text), SignedDuration::from_hours(hours), "{text}");
        }
    }
}
