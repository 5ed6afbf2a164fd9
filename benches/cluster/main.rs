//! Measures instances that share the lanes: `cargo bench --bench cluster`.
//!
//! - `take-over`: an instance is killed with `kill -9`: how long its shops are not read.
//! - `hand-over`: an instance joins, and leaves again; lanes with 10,000 tracked orders each move to it and back: how
//!   long their shops are not read.
//! - `two`: what two instances publish in a second, compared with one, where the marketplace's delay is the limit.
//! - `catch-up`: what two instances publish in a second after Kafka was away, compared with a bare transactional producer
//!   that sends the same bytes.
//! - `load`: how long an instance takes at its start to load what is tracked, over 64 lanes, and what an order takes in
//!   its memory.
//!
//! `-- --only hand-over` runs one of them, `--quick` all with less of everything. Marketplace, instances and broker are
//! processes of their own on one machine. When a shop was read is taken from the marketplace's log, and how much was
//! published from the instances' status.
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not measure")]

use std::env;
use std::io::{self, Write as _};
use std::process::Command;

use imotriz_kafka::platform::clock;

use measure::machine;
use support::{Kafka, child, http};

mod backlog;
mod bare;
mod instances;
mod load;
#[path = "../many/marketplace.rs"]
#[allow(dead_code, reason = "shared with the benchmark of many shops")]
mod marketplace;
#[path = "../measure/mod.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks")]
mod measure;
mod moves;
#[path = "../tracked/mod.rs"]
#[allow(dead_code, reason = "shared with the benchmark of the start")]
mod tracked;

#[path = "../../tests/it/support"]
#[allow(dead_code, unreachable_pub, reason = "shared with the integration tests, which use the rest")]
mod support {
    pub mod child;
    pub mod consume;
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

mod program {
    use std::time::Duration;

    pub const DEADLINE: Duration = Duration::from_secs(300);
}

const BINARY: &str = env!("CARGO_BIN_EXE_imotriz-kafka");

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let only = arguments.iter().position(|argument| argument == "--only").map(|at| arguments[at + 1].clone());
    let wants = |part: &str| only.as_ref().is_none_or(|only| only.split(',').any(|one| one == part));
    let mut kafka = Kafka::start_private(&[]);
    let head = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().unwrap();
    println!(
        "{}, commit {}, `cargo bench --bench cluster{}`\n\n{}\n\n| what | figure | aim |\n|---|---|---|",
        clock::now().strftime("%Y-%m-%d"),
        String::from_utf8_lossy(&head.stdout).trim(),
        if arguments.is_empty() { String::new() } else { format!(" -- {}", arguments.join(" ")) },
        machine(),
    );
    if wants("take-over") {
        moves::take_over(&kafka, if quick { 2 } else { 20 });
    }
    if wants("hand-over") {
        moves::hand_over(&kafka, if quick { 1 } else { 10 }, if quick { 100 } else { 1_000 });
    }
    if wants("two") {
        backlog::two(&kafka, if quick { 200 } else { 2_000 });
    }
    if wants("catch-up") {
        backlog::catch_up(&mut kafka, if quick { 300 } else { 1_500 });
    }
    if wants("load") {
        load::load(&kafka, if quick { &[100_000] } else { &[1_250_000, 2_500_000, 5_000_000, 10_000_000] });
    }
}

fn row(what: &str, figure: &str, aim: &str) {
    println!("| {what} | {figure} | {aim} |");
    io::stdout().flush().unwrap();
}
