//! The standard output: whoever has read enough of it, as `head` has, is no error.
//!
//! `println!` would panic then.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

static NOBODY_READS: AtomicBool = AtomicBool::new(false);

/// Prints a line of a command that only looks. Ends the process where nobody reads any more: there is nothing else to do.
pub fn line(text: impl Display) {
    bytes(format!("{text}\n").as_bytes());
}

/// As [`line()`], for what is passed on as it is.
pub fn bytes(bytes: &[u8]) {
    write(bytes);
    if nobody_reads() {
        process::exit(0);
    }
}

/// Prints a line of a command that does something, or whose exit code tells something: it goes on, whoever reads.
pub fn report(text: impl Display) {
    write(format!("{text}\n").as_bytes());
}

/// Whether the reader of the standard output was seen to be gone.
#[must_use]
pub fn nobody_reads() -> bool {
    NOBODY_READS.load(Ordering::Relaxed)
}

fn write(bytes: &[u8]) {
    if nobody_reads() {
        return;
    }
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => NOBODY_READS.store(true, Ordering::Relaxed),
        Err(error) => {
            eprintln!("imotriz-kafka: can't write to the standard output: {error}");
            process::exit(super::exit::UNEXPECTED.into());
        }
    }
}
