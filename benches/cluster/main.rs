//! Measures instances that share the lanes: `cargo bench --bench cluster`.
//!
//! - `take-over`: an instance is killed with `kill -9`: how long its shops are not read.
//! - `hand-over`: an instance joins, and lanes with 10,000 tracked orders each move to it: how long their shops are not
//!   read.
//! - `two`: what two instances publish in a second, compared with one, where the marketplace's delay is the limit.
//!
//! `-- --only hand-over` runs one of them, `--quick` all with less of everything. Marketplace, instances and broker are
//! processes of their own on one machine. When a shop was read is taken from the marketplace's log.
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not measure")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use imotriz_kafka::platform::clock;
use imotriz_kafka::sandbox::NEW_ORDERS;
use jiff::Timestamp;
use tempfile::TempDir;

use marketplace::Marketplace;
use measure::{disk, machine, thousands};
use support::program::Program;
use support::topics::Topics;
use support::{Kafka, child, http};

#[path = "../many/marketplace.rs"]
#[allow(dead_code, reason = "shared with the benchmark of many shops")]
mod marketplace;
#[path = "../measure/mod.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks")]
mod measure;

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

mod program {
    use std::time::Duration;

    pub const DEADLINE: Duration = Duration::from_secs(300);
}
use program::DEADLINE;

const BINARY: &str = env!("CARGO_BIN_EXE_imotriz-kafka");
const LANES: usize = 6;
const SESSION: Duration = Duration::from_secs(6);
const POLL: Duration = Duration::from_millis(100);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let only = arguments.iter().position(|argument| argument == "--only").map(|at| arguments[at + 1].clone());
    let wants = |part: &str| only.as_ref().is_none_or(|only| only.split(',').any(|one| one == part));
    let kafka = Kafka::start_private(&[]);
    let head = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().unwrap();
    println!(
        "{}, commit {}, `cargo bench --bench cluster{}`\n\n{}\n\n| what | figure | aim |\n|---|---|---|",
        clock::now().strftime("%Y-%m-%d"),
        String::from_utf8_lossy(&head.stdout).trim(),
        if arguments.is_empty() { String::new() } else { format!(" -- {}", arguments.join(" ")) },
        machine(),
    );
    if wants("take-over") {
        take_over(&kafka, if quick { 2 } else { 20 });
    }
    if wants("hand-over") {
        hand_over(&kafka, if quick { 1 } else { 10 }, if quick { 100 } else { 1_000 });
    }
    if wants("two") {
        two(&kafka, if quick { 200 } else { 2_000 });
    }
}

/// Instances with a spool each, at one marketplace.
struct Instances {
    marketplace: Marketplace,
    folders: Vec<TempDir>,
    running: BTreeMap<usize, Program>,
}

impl Instances {
    fn new(kafka: &Kafka, instances: usize, shops: usize, orders: usize, poll: Duration, delay: &str) -> Self {
        let marketplace = Marketplace::open(shops, orders, &["--delay", delay]);
        let topics = Topics::unique("cluster");
        let folders = (0..instances).map(|instance| {
            let folder = disk();
            let (Topics { orders, tracking, dead_letter }, poll) = (&topics, poll.as_millis());
            let mut toml = format!(
                "[kafka]\nbootstrap_servers = {:?}\ntransactional_id_prefix = {orders:?}\nlanes = {LANES}\n\
                 [kafka.topics]\norders = {orders:?}\ntracking = {tracking:?}\ndead_letter = {dead_letter:?}\n\
                 [cluster]\nenabled = true\ngroup_id = {orders:?}\ninstance_id = \"instance-{instance}\"\n\
                 session_timeout = \"{}s\"\n[spool]\ndir = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                 [api]\npoll_interval = \"{poll}ms\"\npoll_interval_max = \"{poll}ms\"\n\
                 requests_per_second_per_host = 100000\n",
                kafka.bootstrap_servers(),
                SESSION.as_secs(),
                folder.path().join("spool"),
            );
            for shop in 1..=shops {
                let url = &marketplace.base_url;
                writeln!(toml, "[stores.s{shop}]\ncountry = \"CO\"\nbase_url = {url:?}\ntoken = \"shop-{shop}\"")
                    .unwrap();
            }
            fs::write(folder.path().join("settings.toml"), toml).unwrap();
            folder
        });
        let folders = folders.collect();
        Self { marketplace, folders, running: BTreeMap::new() }
    }

    fn start(&mut self, instance: usize) {
        let folder = self.folders[instance].path();
        let mut command = child::command(BINARY);
        command.arg("--config").arg(folder.join("settings.toml")).arg("run").current_dir(folder);
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        self.running.insert(instance, Program::spawn(command));
    }

    /// How many lanes an instance serves and may publish on.
    fn lanes(&mut self, instance: usize) -> usize {
        let line =
            self.running.get_mut(&instance).unwrap().wait_for_line("health and metrics are at http://", DEADLINE);
        let url = line.split_once("are at ").unwrap().1.split_whitespace().next().unwrap().trim_end_matches('/');
        let status: serde_json::Value = serde_json::from_str(&http::get(&format!("{url}/status?limit=1")).1).unwrap();
        status["lanes"].as_object().unwrap().values().filter(|lane| lane["state"] == "ready").count()
    }

    fn wait_for_lanes(&mut self, wanted: &[(usize, usize)]) {
        until("lanes are shared", || wanted.iter().all(|(instance, lanes)| self.lanes(*instance) == *lanes));
    }

    /// When each shop was read, in the order of time.
    fn reads(&self) -> BTreeMap<String, Vec<Timestamp>> {
        let (_, answer) = http::get(&format!("{}/_sandbox/requests", self.marketplace.base_url));
        let requests: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let mut reads = BTreeMap::<String, Vec<Timestamp>>::new();
        for request in requests.as_array().unwrap().iter().filter(|request| request["path"] == NEW_ORDERS) {
            let at = request["at"].as_str().unwrap().parse().unwrap();
            reads.entry(request["shop"].to_string()).or_default().push(at);
        }
        reads.values_mut().for_each(|times| times.sort());
        reads
    }

    /// For each shop, the longest time between two reads of which the second came after `since`.
    fn gaps(&self, since: Timestamp) -> Vec<Duration> {
        let longest = |times: &Vec<Timestamp>| {
            let pairs = times.windows(2).filter(|pair| pair[1] > since);
            pairs.map(|pair| Duration::try_from(pair[1].duration_since(pair[0])).unwrap()).max().unwrap_or_default()
        };
        self.reads().values().map(longest).collect()
    }
}

fn take_over(kafka: &Kafka, kills: usize) {
    let mut instances = Instances::new(kafka, 2, 60, 1, POLL, "0s");
    (0..2).for_each(|instance| instances.start(instance));
    let mut times = Vec::new();
    for kill in 0..kills {
        instances.wait_for_lanes(&[(0, LANES / 2), (1, LANES / 2)]);
        let (victim, since) = (kill % 2, clock::now());
        instances.running.remove(&victim).unwrap().kill9();
        instances.wait_for_lanes(&[(1 - victim, LANES)]);
        // A shop's first pass and first read come a moment after its lane is ready.
        until("all shops are read", || instances.reads().values().all(|reads| reads.last() > Some(&(since + SESSION))));
        times.push(instances.gaps(since).into_iter().max().unwrap());
        instances.start(victim);
    }
    row(
        "from kill -9 of an owner to the first read of its last shop by another, s",
        &mut times,
        1.0,
        "≤ session time-out (6) + 2",
    );
}

fn hand_over(kafka: &Kafka, rounds: usize, orders: usize) {
    let mut instances = Instances::new(kafka, 2, 60, orders, POLL, "0s");
    instances.start(0);
    until("all orders are read", || (1..=60).all(|shop| instances.marketplace.pending(&format!("shop-{shop}")) == 0));
    instances.wait_for_lanes(&[(0, LANES)]);
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        let since = clock::now();
        instances.start(1);
        instances.wait_for_lanes(&[(0, LANES / 2), (1, LANES / 2)]);
        let settled = clock::now();
        until("all shops are read", || instances.reads().values().all(|reads| reads.last() > Some(&settled)));
        gaps.extend(instances.gaps(since));
        // Gone for longer than a session, so that the lanes go back.
        instances.running.remove(&1).unwrap().kill9();
        instances.wait_for_lanes(&[(0, LANES)]);
    }
    let what = format!(
        "hand-over of lanes with {} tracked orders: without reads, ms",
        thousands(60.0 * orders as f64 / LANES as f64)
    );
    row(&what, &mut gaps, 1000.0, "p99 ≤ 1,000");
}

fn two(kafka: &Kafka, shops: usize) {
    let orders = shops * 30;
    let mut rates = Vec::new();
    for number in [1, 2] {
        let mut instances = Instances::new(kafka, number, shops, 30, Duration::from_secs(5), "200ms");
        (0..number).for_each(|instance| instances.start(instance));
        until("all orders are read", || instances.marketplace.reads() >= 2 * shops as u64);
        let reads = instances.reads();
        let first = reads.values().filter_map(|times| times.first()).min().unwrap();
        // The last shop's first read brings its orders.
        let last = reads.values().filter_map(|times| times.first()).max().unwrap();
        rates.push(orders as f64 / last.duration_since(*first).as_secs_f64());
        println!(
            "| {shops} shops at 200 ms, {number} instances: orders read /s | {} | |",
            thousands(rates[number - 1])
        );
    }
    println!("| two ÷ one | {:.2} | |", rates[1] / rates[0]);
}

fn row(what: &str, figures: &mut [Duration], unit: f64, aim: &str) {
    figures.sort();
    let figure = |share: f64| figures[((figures.len() - 1) as f64 * share).round() as usize].as_secs_f64() * unit;
    println!(
        "| {what}, p50 / p99 / max of {} | {:.2} / {:.2} / {:.2} | {aim} |",
        figures.len(),
        figure(0.5),
        figure(0.99),
        figure(1.0)
    );
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
