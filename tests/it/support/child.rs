//! Child processes that can't outlive the test binary, however it ends.
//!
//! Statics are never dropped and a killed process drops nothing, so `Drop` alone would leave brokers behind. Each child
//! therefore holds a pipe whose other end only this process holds: when it closes, a watcher kills the child. (The
//! kernel's own way, `PR_SET_PDEATHSIG`, fires when the spawning *thread* ends, and test threads end all the time.)

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};

use super::{prerequisites, wait};

/// A thread that waits for the disk is held when it has its answer.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// The shell becomes the program, so that the process ID and the exit status are the program's own. The watcher goes
/// without killing when it reads a line: that is how an orderly end is told from the parent's death.
const TETHER: &str = r#"
exec 3<&0
{ read -r _ <&3 || kill -9 $$; } >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null
"#;

/// A running child process. Dropping it kills it.
pub struct Child {
    process: std::process::Child,
    tether: ChildStdin,
}

/// A command whose process will be tethered: add arguments, variables and outputs, and hand it to [`Child::spawn`].
pub fn command(program: impl AsRef<OsStr>) -> Command {
    prerequisites::check();
    let mut command = Command::new("/bin/sh");
    // A group of its own: Ctrl-C is for the test binary, and its children follow in their own order.
    command.args(["-c", TETHER, "sh"]).arg(program).stdin(Stdio::piped()).process_group(0);
    command
}

/// Sends output and errors of `command` to the file `log`, added to what is there.
pub fn log_to(command: &mut Command, log: &Path) {
    let file = fs::File::options().create(true).append(true).open(log).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
}

/// The end of a log: what a person needs to see why a start failed.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    format!("--- {}\n{}\n---", log.display(), lines[lines.len().saturating_sub(40)..].join("\n"))
}

/// Whether `program` is on the search path.
pub fn is_installed(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

impl Child {
    /// Starts a command made by [`command`].
    pub fn spawn(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
        let tether = process.stdin.take().expect("the command was made with a piped stdin");
        Self { process, tether }
    }

    /// The process ID of the program itself.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The pipes, where the command asked for them.
    pub fn take_outputs(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.process.stdout.take(), self.process.stderr.take())
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// The exit status once it has ended, or `None` if it still runs at the deadline.
    pub fn wait(&mut self, deadline: Duration) -> Option<ExitStatus> {
        wait::poll(deadline, || self.ended())
    }

    /// Sends a signal. One that stops the process takes a moment to reach every thread, and is waited for.
    ///
    /// # Panics
    /// When the process has ended: a fault that hits nobody proves nothing.
    pub fn signal(&mut self, signal: Signal) {
        assert!(self.ended().is_none(), "{signal:?} was meant for a process that has ended already");
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        if signal == Signal::STOP {
            wait::until("every thread is stopped", STOP_DEADLINE, || self.is_stopped());
        }
    }

    /// Whether the kernel holds all of its threads.
    pub fn is_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        // One that has ended meanwhile has no state.
        let mut states = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).ok());
        // The name in parentheses may hold anything; the state follows it.
        states.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Best effort: it may be gone, and a panic here would hide the one that is being reported.
        self.process.kill().ok();
        self.process.wait().ok();
        self.tether.write_all(b"\n").ok();
    }
}
