//! The standard output. A reader that closes the pipe early, as `head` does, is no error.
//!
//! `println!` would panic in that case.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

static NOBODY_READS: AtomicBool = AtomicBool::new(false);

/// Prints a line of a command that only shows something. Once the reader is gone, it ends the process with exit code 0.
pub fn line(text: impl Display) {
    bytes(format!("{text}\n").as_bytes());
}

/// The same for bytes that are printed as they are, without a newline.
pub fn bytes(bytes: &[u8]) {
    write(bytes);
    if nobody_reads() {
        process::exit(0);
    }
}

/// Prints a line of a command that changes something or whose exit code matters. The command goes on if the reader is
/// gone.
pub fn report(text: impl Display) {
    write(format!("{text}\n").as_bytes());
}

/// Whether a write has found that the reader is gone.
#[must_use]
pub fn nobody_reads() -> bool {
    NOBODY_READS.load(Ordering::Relaxed)
}

/// Prints a line, and returns whether somebody still reads.
///
/// # Errors
/// The output can't be written, for another reason than a reader that is gone.
pub fn try_line(text: impl Display) -> io::Result<bool> {
    try_write(format!("{text}\n").as_bytes())?;
    Ok(!nobody_reads())
}

fn write(bytes: &[u8]) {
    if let Err(error) = try_write(bytes) {
        eprintln!("imotriz-kafka: can't write to the standard output: {error}");
        process::exit(super::exit::UNEXPECTED.into());
    }
}

/// Writes and flushes. Once the reader is gone, it notes that and writes no more.
fn try_write(bytes: &[u8]) -> io::Result<()> {
    if nobody_reads() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            NOBODY_READS.store(true, Ordering::Relaxed);
            Ok(())
        }
        result => result,
    }
}
