//! The standard output of commands that only look: whoever has read enough of it, as `head` has, is no error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process;

/// Prints a line. Ends the process where nobody reads any more: such a command has nothing else to do.
pub fn line(text: impl Display) {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            eprintln!("imotriz-kafka: can't write to the standard output: {error}");
            process::exit(super::exit::UNEXPECTED.into());
        }
        Ok(()) => {}
    }
}
