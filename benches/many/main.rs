//! Measures one process with few and with thousands of shops: `cargo bench --bench many`.
//!
//! - `idle-10` to `idle-10000`: so many shops without orders, each polled every 30 s, for a minute. With 10,000 shops the
//!   program may have 1,024 files open.
//! - `idle-poll`: what the poll of an idle shop costs: the difference between few polls and many, beside a bare loop.
//! - `full-speed`: 100 shops at 50 ms an answer and one shop without a delay, with as many orders in all. Each shop may
//!   have its request in flight: the default of 64 at a time would allow 38,400 orders/s at 50 ms, and is politeness to
//!   the marketplace, not what the program can do. Runs take turns, so that other load on the machine affects both.
//! - `beside`: a shop in which 30 orders are placed again and again, in the lane of one with 300,000 pending.
//!
//! `-- --only idle-1000,beside` runs some of them, `--quick` all with less of everything, which shows that they work and
//! little else. `--rounds N` is for `full-speed`, `--lanes N` for all but `beside`, which has one.
//!
//! Marketplace, program and broker are processes of their own. The broker is a real Kafka: the one whose address is
//! given (`-- HOST:PORT`, or `IMOTRIZ_TEST_KAFKA`), or one that the benchmark starts, as the integration tests do. All
//! share the machine's cores. What the program did is taken from the kernel, from the marketplace's log, and from a
//! consumer that reads committed events; of its own word only when its last transaction was committed.
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not measure")]

use std::env;
use std::io::{self, Write as _};
use std::process::Command;

use imotriz_kafka::platform::clock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use measure::machine;
use support::{Kafka, child, http};

mod beside;
mod full_speed;
mod idle;
mod marketplace;
#[path = "../measure/mod.rs"]
mod measure;
mod process;
mod program;

#[path = "../../tests/it/support"]
#[allow(dead_code, unreachable_pub, reason = "shared with the integration tests, which use the rest")]
mod support {
    pub mod child;
    pub mod http;
    pub mod kafka;
    pub mod port;
    pub mod prerequisites;
    pub mod program;
    pub mod services;
    pub mod topics;
    pub mod wait;

    pub use kafka::Kafka;
}

const BINARY: &str = env!("CARGO_BIN_EXE_imotriz-kafka");

fn main() {
    let options = Options::from_arguments();
    allow_open_files();
    let kafka = options.servers.clone().map_or_else(|| Kafka::start_private(&[]), Kafka::running);
    println!("{}\n\n{}\n", origin(), machine());
    idle::measure(&kafka, &options);
    row("what", "figure", "aim");
    row("---", "---", "---");
    if options.wants("idle-poll") {
        idle::measure_poll(&kafka, &options);
    }
    if options.wants("full-speed") {
        full_speed::measure(&kafka, &options);
    }
    if options.wants("beside") {
        beside::measure(&kafka, &options);
    }
}

struct Options {
    /// Empty: all parts.
    only: Vec<String>,
    quick: bool,
    rounds: usize,
    lanes: Option<usize>,
    servers: Option<String>,
}

impl Options {
    fn from_arguments() -> Self {
        let servers = env::var("IMOTRIZ_TEST_KAFKA").ok();
        let mut options = Self { only: Vec::new(), quick: false, rounds: 3, lanes: None, servers };
        let mut arguments = env::args().skip(1);
        let number = |argument: Option<String>| argument.unwrap().parse().expect("a number is expected");
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo's.
                "--bench" => {}
                "--only" => options.only = arguments.next().unwrap().split(',').map(str::to_owned).collect(),
                "--quick" => (options.quick, options.rounds) = (true, 1),
                "--rounds" => options.rounds = number(arguments.next()),
                "--lanes" => options.lanes = Some(number(arguments.next())),
                _ => options.servers = Some(argument),
            }
        }
        options
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    /// `usual`, or `less` if it is to be quick.
    fn scaled<T>(&self, usual: T, less: T) -> T {
        if self.quick { less } else { usual }
    }
}

/// When, of what and by which command.
fn origin() -> String {
    let head = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().unwrap();
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let behind = if arguments.is_empty() { String::new() } else { format!(" -- {}", arguments.join(" ")) };
    format!(
        "{}, commit {}, `cargo bench --bench many{behind}`",
        clock::now().strftime("%Y-%m-%d"),
        String::from_utf8_lossy(&head.stdout).trim()
    )
}

/// As many as this process may ask for: the marketplace, which inherits the limit, has a connection for each shop of a
/// program that doesn't share them.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// The limit of this process.
fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.expect("a system has a limit")
}

fn row(what: &str, figure: &str, aim: &str) {
    println!("| {what} | {figure} | {aim} |");
    io::stdout().flush().unwrap();
}
