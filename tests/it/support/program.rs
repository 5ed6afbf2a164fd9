//! The program as a process, set up by environment variables alone.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, mem};

use rustix::process::Signal;
use tempfile::TempDir;

use super::child::{self, Child};
use super::topics::Topics;
use super::{Kafka, wait};

/// Settings for one or several runs, which share the spool.
pub struct Settings {
    variables: Vec<(String, String)>,
    /// The working directory, with the spool in it. Gone when the settings are.
    directory: TempDir,
}

impl Settings {
    /// A spool of its own, an admin page on any free port, and the topics of one test.
    pub fn new(kafka: &Kafka, topics: &Topics) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spool = directory.path().join("spool").display().to_string();
        Self { variables: Vec::new(), directory }
            .with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap_servers())
            .with("IMOTRIZ_KAFKA__TOPICS__ORDERS", &topics.orders)
            .with("IMOTRIZ_KAFKA__TOPICS__TRACKING", &topics.tracking)
            .with("IMOTRIZ_KAFKA__TOPICS__DEAD_LETTER", &topics.dead_letter)
            .with("IMOTRIZ_KAFKA__TRANSACTIONAL_ID_PREFIX", &topics.orders)
            .with("IMOTRIZ_SPOOL__DIR", &spool)
            .with("IMOTRIZ_ADMIN__LISTEN", "127.0.0.1:0")
    }

    /// These variables and no others.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { variables: variables.into_iter().collect(), directory: tempfile::tempdir().unwrap() }
    }

    /// Sets a variable; the last one with the same name counts.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a variable back.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(variable, _)| variable != name);
        self
    }

    /// Adds a store. `name` is as in the settings: lower case.
    pub fn with_store(self, name: &str, base_url: &str, token: &str, country: &str) -> Self {
        let prefix = format!("IMOTRIZ_STORES__{}__", name.to_uppercase());
        self.with(&format!("{prefix}BASE_URL"), base_url)
            .with(&format!("{prefix}TOKEN"), token)
            .with(&format!("{prefix}COUNTRY"), country)
    }

    /// Adds a schema registry.
    pub fn with_registry(self, url: &str) -> Self {
        self.with("IMOTRIZ_SCHEMA_REGISTRY__URL", url)
    }

    /// Starts the program with these settings.
    pub fn start(&self, arguments: &[&str]) -> Program {
        self.start_with(arguments, &[])
    }

    /// Starts the program with these settings and, for this one run, some more variables.
    pub fn start_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Program {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        Program::spawn(command)
    }

    /// The program with these settings, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.set_up(child::command(env!("CARGO_BIN_EXE_imotriz-kafka")), arguments)
    }

    /// The same as another user, who must be able to get at `program`. Root alone can do that.
    #[allow(dead_code, reason = "not for the benchmark, which shares this file")]
    pub fn command_as(&self, user: u32, program: &std::path::Path, arguments: &[&str]) -> Command {
        let mut command = child::command("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]).arg(program);
        self.set_up(command, arguments)
    }

    /// The same behind some lines of shell, such as `umask 0`.
    #[allow(dead_code, reason = "not for the benchmark, which shares this file")]
    pub fn command_after(&self, lines: &str, arguments: &[&str]) -> Command {
        let mut command = child::command("/bin/sh");
        command.args(["-c", &format!("{lines}\nexec \"$@\""), "sh", env!("CARGO_BIN_EXE_imotriz-kafka")]);
        self.set_up(command, arguments)
    }

    fn set_up(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.args(arguments).env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).current_dir(self.directory.path());
        command
    }

    /// Where the program works; its spool is in `spool`.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

/// A running program. Dropping it kills it.
pub struct Program {
    child: Child,
    stdout: Arc<Mutex<Vec<String>>>,
    stderr: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts any command made by [`child::command`], and takes both of its outputs.
    pub fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Child::spawn(command);
        let (stdout, stderr) = child.take_outputs();
        let mut readers = Vec::new();
        let stdout = collect(stdout.expect("it is piped"), &mut readers);
        let stderr = collect(stderr.expect("it is piped"), &mut readers);
        Self { child, stdout, stderr, readers }
    }

    /// The first line with `text` in it, on either output.
    ///
    /// # Panics
    /// When none comes within the deadline, or the program ends without it; the message shows what it did say.
    pub fn wait_for_line(&mut self, text: &str, deadline: Duration) -> String {
        let find = |lines: &Mutex<Vec<String>>| lines.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
        let line = wait::poll(deadline, || {
            // Asked for before the lines are looked at, for the last words may be the ones.
            let ended = self.child.ended().is_some();
            if ended {
                self.join_readers();
            }
            match find(&self.stdout).or_else(|| find(&self.stderr)) {
                Some(line) => Some(Some(line)),
                None => ended.then_some(None),
            }
        });
        line.flatten().unwrap_or_else(|| panic!("no line with {text:?} within {deadline:?}\n{}", self.output()))
    }

    /// The process ID.
    #[allow(dead_code, reason = "for the benchmark, which shares this file")]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().join("\n")
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    /// Both outputs so far, for messages.
    pub fn output(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}\n---", self.stdout(), self.stderr())
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.child.kill();
    }

    /// Sends a signal, e.g. [`Signal::TERM`].
    pub fn signal(&mut self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Whether the kernel holds all of its threads.
    #[allow(dead_code, reason = "not for the benchmark, which shares this file")]
    pub fn is_stopped(&self) -> bool {
        self.child.is_stopped()
    }

    /// The exit status. Both outputs are complete afterwards.
    ///
    /// # Panics
    /// When the program still runs at the deadline; the message shows what it said.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let status = self.child.wait(deadline);
        let status = status.unwrap_or_else(|| panic!("it still runs after {deadline:?}\n{}", self.output()));
        self.join_readers();
        status
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.ended()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it ends in another way than with this exit code; the message shows what it said.
    pub fn expect_exit(&mut self, code: i32, deadline: Duration) {
        let status = self.wait(deadline);
        assert_eq!(status.code(), Some(code), "{status}\n{}", self.output());
    }

    fn join_readers(&mut self) {
        for reader in mem::take(&mut self.readers) {
            reader.join().unwrap();
        }
    }
}

/// Reads lines as they come, so that the program never blocks on a full pipe.
fn collect(output: impl Read + Send + 'static, readers: &mut Vec<JoinHandle<()>>) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    readers.push(thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            sink.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    }));
    lines
}
