//! Forbids core dumps: what is in memory are tokens, passwords and buyers' data, and a dump would lie about for years.

use std::io;

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// From now on this process leaves no core dump, neither as a file nor to a program that collects them. On Linux other
/// processes of the same user can't read its memory and environment either.
///
/// # Errors
/// The operating system refuses it.
pub fn forbid() -> io::Result<()> {
    // A limit alone would not hold for a program that collects dumps.
    #[cfg(target_os = "linux")]
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A service manager that set the limit may have taken away the call.
    if getrlimit(Resource::Core) != none {
        setrlimit(Resource::Core, none)?;
    }
    Ok(())
}
