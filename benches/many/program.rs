//! The program under measurement, set up by a file of settings.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use imotriz_kafka::config;
use serde_json::Value;
use tempfile::TempDir;

use super::marketplace::Marketplace;
use super::measure::{Usage, disk};
use super::support::program::Program;
use super::support::topics::Topics;
use super::{BINARY, Kafka, child};

pub const DEADLINE: Duration = Duration::from_secs(300);

/// The program's default.
pub const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// A set-up with a spool and topics of its own.
pub struct Setup {
    pub topics: Topics,
    folder: TempDir,
    /// How many requests may be in flight, in place of the default.
    in_flight: Option<usize>,
}

impl Setup {
    /// All shops of the marketplace. `poll_interval` is never extended, and no bound on requests a second holds.
    pub fn new(
        kafka: &Kafka,
        marketplace: &Marketplace,
        shops: usize,
        poll_interval: Duration,
        lanes: Option<usize>,
    ) -> Self {
        let setup = Self { topics: Topics::unique("many"), folder: disk(), in_flight: None };
        let poll_interval = format!("\"{}ms\"", poll_interval.as_millis());
        let mut toml = format!(
            "[kafka]\nbootstrap_servers = {:?}\ntransactional_id_prefix = {:?}\n",
            kafka.bootstrap_servers(),
            setup.topics.orders
        );
        if let Some(lanes) = lanes {
            writeln!(toml, "lanes = {lanes}").unwrap();
        }
        let Topics { orders, tracking, dead_letter } = &setup.topics;
        writeln!(
            toml,
            "[kafka.topics]\norders = {orders:?}\ntracking = {tracking:?}\ndead_letter = {dead_letter:?}\n\
             [spool]\ndir = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n[api]\npoll_interval = {poll_interval}",
            setup.spool()
        )
        .unwrap();
        // Two settings that not every commit has that is measured.
        let reference = config::reference();
        for (name, value) in [("poll_interval_max", &*poll_interval), ("requests_per_second_per_host", "100000")] {
            if reference.contains(&format!("`api.{name}`")) {
                writeln!(toml, "{name} = {value}").unwrap();
            }
        }
        for shop in 1..=shops {
            writeln!(
                toml,
                "[stores.shop-{shop}]\ncountry = \"CO\"\nbase_url = {:?}\ntoken = \"shop-{shop}\"",
                marketplace.base_url
            )
            .unwrap();
        }
        fs::write(setup.file(), toml).unwrap();
        setup
    }

    /// With as many requests in flight as are told.
    pub fn with_in_flight(self, requests: usize) -> Self {
        Self { in_flight: Some(requests), ..self }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("settings.toml")
    }

    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// Starts a command of the program, which may have so many files open.
    pub fn start(&self, open_files: u64, arguments: &[&str]) -> Program {
        let mut command: Command = child::command("/bin/sh");
        command.args(["-c", r#"ulimit -n "$1" && shift && exec "$@""#, "sh", &open_files.to_string(), BINARY]);
        command.arg("--config").arg(self.file()).args(arguments).current_dir(self.folder.path());
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.in_flight.map(|requests| ("IMOTRIZ_API__MAX_IN_FLIGHT_PER_HOST", requests.to_string())));
        Program::spawn(command)
    }

    /// Drains to the end.
    pub fn drain(&self, open_files: u64) -> Drained {
        let mut program = self.start(open_files, &["--json", "drain"]);
        // CPU time only grows: what is missed is what the last milliseconds add.
        let mut last = Usage::default();
        while let Some(usage) = Usage::of(program.pid()) {
            last = usage;
            thread::sleep(Duration::from_millis(10));
        }
        program.expect_exit(0, DEADLINE);
        Drained { summary: serde_json::from_str(&program.stdout()).unwrap(), cpu: last.cpu }
    }
}

/// One run of `drain`.
pub struct Drained {
    pub summary: Value,
    pub cpu: Duration,
}

/// Asks `condition` until it holds, rarely enough not to be in the way.
pub fn until(what: &str, program: &mut Program, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(program.ended().is_none(), "the program has ended before {what}\n{}", program.output());
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain: {what}\n{}", program.output());
        thread::sleep(Duration::from_millis(100));
    }
}

/// The bytes that files below a folder take on the disk.
pub fn disk_used(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    // What goes while it is counted takes nothing.
    let size = |path: PathBuf| match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => disk_used(&path),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(|entry| size(entry.path())).sum()
}
