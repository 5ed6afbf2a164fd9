//! A PostgreSQL server for one test, from the system's package.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::child::{self, Child};
use super::{port, prerequisites, services, wait};

const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// PostgreSQL refuses to run as root. This is `nobody` on every Linux.
const UNPRIVILEGED: u32 = 65_534;

/// A running server, with the one user and database `erp`. Dropping it stops it.
pub struct Postgres {
    bin: PathBuf,
    port: u16,
    process: Child,
    /// Under `/tmp`, which others than the owner of this build can reach. Gone with the server.
    _directory: TempDir,
}

impl Postgres {
    /// Starts a server with an empty database.
    ///
    /// # Panics
    /// When there can't be one; the message says why.
    pub fn start() -> Self {
        let bin = prerequisites::postgres()
            .expect("PostgreSQL's server is not installed (Debian: apt-get install postgresql)");
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        if geteuid().is_root() {
            chown(directory.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let log = services::run_dir("postgres").join("postgres.log");
        let data = directory.path().join("data");
        let mut initdb = unprivileged(&bin.join("initdb"), directory.path());
        initdb.args(["--auth=trust", "--username=erp", "--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"]);
        initdb.arg(&data);
        services::run(initdb, &log, "making a database");

        let port = port::free();
        let mut server = unprivileged(&bin.join("postgres"), directory.path());
        // Nobody kills the server, so it need not wait for the disk.
        server.args(["-F", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p"]);
        server.arg(port.to_string()).arg("-D").arg(&data);
        child::log_to(&mut server, &log);
        let mut postgres = Self { bin, port, process: Child::spawn(server), _directory: directory };
        let ready = wait::poll(START_DEADLINE, || match postgres.process.ended() {
            Some(_) => Some(false),
            None => postgres.answers().then_some(true),
        });
        assert!(ready == Some(true), "PostgreSQL did not come up\n{}", child::tail(&log));
        let created = postgres.psql("postgres").args(["-c", "CREATE DATABASE erp"]).output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        postgres
    }

    /// What a client connects to.
    pub fn url(&self) -> String {
        format!("postgresql://erp@127.0.0.1:{}/erp", self.port)
    }

    /// The rows that a query gives, with `|` between their columns; `None` when it fails.
    pub fn query(&self, sql: &str) -> Option<Vec<String>> {
        let output = self.psql("erp").args(["-c", sql]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| text.lines().map(str::to_owned).collect())
    }

    fn answers(&self) -> bool {
        self.psql("postgres").args(["-c", "SELECT 1"]).output().is_ok_and(|output| output.status.success())
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--host=127.0.0.1", "--username=erp"]);
        psql.arg(format!("--port={}", self.port)).arg(format!("--dbname={database}"));
        psql
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown: killed, it would leave its shared memory behind.
        if self.process.ended().is_none() {
            self.process.signal(Signal::INT);
            self.process.wait(STOP_DEADLINE);
        }
    }
}

fn unprivileged(program: &Path, directory: &Path) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = child::command("setpriv");
        command.arg(format!("--reuid={UNPRIVILEGED}")).arg(format!("--regid={UNPRIVILEGED}"));
        command.arg("--clear-groups").arg(program);
        command
    } else {
        child::command(program)
    };
    command.current_dir(directory);
    command
}
