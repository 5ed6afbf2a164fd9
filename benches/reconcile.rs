//! Measures how fast the program starts and repairs, compared with the limits of each: `cargo bench --bench reconcile`.
//!
//! - **Repair.** The sandbox, in a process of its own, lists 100,000 orders and answers each request for an order after
//!   20 ms. Some thousand of them were lost on cut pages. The time runs from the first request for an order to the
//!   answer of the last. The limit: as many requests of 20 ms each, with the same concurrency.
//! - **Load.** Loads 1,000,000 tracking records into the index, in a process of its own. The limit: a consumer with
//!   librdkafka's default settings that reads the same partition and drops the records. They take turns.
//! - **Memory.** The resident memory of that process after the load, less that of the same process on an empty
//!   partition: both have had a consumer by then. The peak is the kernel's `VmHWM`.
//! - **Diff.** Compares 100,000 listed orders, a thousand of them not tracked, with the 1,000,000.
//! - **List.** Reads 1,000,000 IDs from a body that is never in memory as a whole.
//!
//! The broker is a real Kafka: `-- HOST:PORT`, or `IMOTRIZ_TEST_KAFKA`, or one that the benchmark starts. `--orders N`
//! and `--records N` make the benchmark smaller.
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not measure")]

use std::io::{Read, Write as _};
use std::time::{Duration, Instant};
use std::{env, io};

use imotriz_kafka::avro::contract::ORDER_TRACKING;
use imotriz_kafka::avro::decoder::Decoder;
use imotriz_kafka::kafka::Connection;
use imotriz_kafka::kafka::tracking_reader::TrackingReader;
use imotriz_kafka::marketplace::body::read_id_list;
use imotriz_kafka::order::ids::{OrderIds, StoreName};
use imotriz_kafka::pipeline::index::Index;
use imotriz_kafka::pipeline::index::diff::missing;
use imotriz_kafka::pipeline::publish::catch_up;
use imotriz_kafka::pipeline::tracking_memory::{TrackingMemory, lane_of};
use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde_json::{Value, json};

use measure::{Usage, disk, machine, thousands};
use support::program::{Program, Settings};
use support::topics::{self, Topics};
use support::{Kafka, child, http};
use tracked::{FIRST_ID, fill};

#[allow(dead_code, reason = "shared with the other benchmarks, which use the rest")]
mod measure;
mod tracked;

#[path = "../tests/it/support"]
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
const DEADLINE: Duration = Duration::from_secs(600);
const DELAY: f64 = 0.02;
const CONCURRENCY: f64 = 8.0;
/// Orders of a page.
const PAGE: usize = 25;
/// Pages that are lost: a thousand orders.
const LOST_PAGES: usize = 40;
const LISTED: usize = 100_000;
const NOT_TRACKED: usize = 1_000;

fn main() {
    let options = Options::from_arguments();
    match &options.role {
        Some(Role::Load { servers, topic }) => return load(servers, topic, options.records),
        Some(Role::Bare { servers, topic }) => return bare(servers, topic),
        Some(Role::List) => return list(options.records),
        None => {}
    }
    let kafka = options.servers.clone().map_or_else(|| Kafka::start_private(&[]), Kafka::running);
    println!("{}\n\n| what | figure | aim |\n|---|---|---|", machine());
    repair(&kafka, options.orders);
    start(&kafka, &options);
    long_list(&options);
}

/// What a process of this benchmark is for.
enum Role {
    Load { servers: String, topic: String },
    Bare { servers: String, topic: String },
    List,
}

struct Options {
    orders: usize,
    records: usize,
    rounds: usize,
    servers: Option<String>,
    role: Option<Role>,
}

impl Options {
    fn from_arguments() -> Self {
        let servers = env::var("IMOTRIZ_TEST_KAFKA").ok();
        let mut options = Self { orders: LISTED, records: 1_000_000, rounds: 3, servers, role: None };
        let mut arguments = env::args().skip(1);
        let number = |argument: Option<String>| argument.unwrap().parse().expect("a number is expected");
        while let Some(argument) = arguments.next() {
            let mut next = || arguments.next().unwrap();
            match argument.as_str() {
                // Cargo's.
                "--bench" => {}
                "--orders" => options.orders = number(arguments.next()),
                "--records" => options.records = number(arguments.next()),
                "--rounds" => options.rounds = number(arguments.next()),
                "--load" => options.role = Some(Role::Load { servers: next(), topic: next() }),
                "--bare" => options.role = Some(Role::Bare { servers: next(), topic: next() }),
                "--list" => options.role = Some(Role::List),
                _ => options.servers = Some(argument),
            }
        }
        options
    }
}

/// Lists many orders, of which some pages were lost, and has the program repair that.
fn repair(kafka: &Kafka, orders: usize) {
    let mut command = child::command(BINARY);
    command.args(["--json", "sandbox", "--listen", "127.0.0.1:0", "--orders", &orders.to_string()]);
    command.args(["--page-size", &PAGE.to_string()]);
    let mut shop = Program::spawn(command);
    let line: Value = serde_json::from_str(&shop.wait_for_line("base_url", DEADLINE)).unwrap();
    let base_url = line["base_url"].as_str().unwrap();
    let control = |call: &str, body: Value| {
        let (status, answer) = http::post(&format!("{base_url}/_sandbox/{call}"), &body);
        assert_eq!(status, 200, "{answer}");
    };
    // The first read comes through, or nobody would know how many orders it had marked.
    let script = ["ok", "truncate"].repeat(LOST_PAGES);
    control("faults", json!({ "script": script }));

    let spool = disk();
    let settings = Settings::new(kafka, &Topics::unique("bench"))
        .with("IMOTRIZ_SPOOL__DIR", &spool.path().display().to_string())
        .with("IMOTRIZ_RECONCILE__CONCURRENCY", &CONCURRENCY.to_string())
        .with_store("bogota", base_url, "sandbox-token", "CO");
    // Without a list it can't repair by itself.
    let mut drain = settings.start_with(&["drain"], &[("IMOTRIZ_API__PATHS__ORDER_IDS", "/nowhere")]);
    drain.expect_exit(0, DEADLINE);
    control("faults", json!({ "on": "order", "rates": format!("order/late:{}ms=1", DELAY * 1000.0) }));
    let start = Instant::now();
    let mut reconcile = settings.start(&["--json", "reconcile"]);
    reconcile.expect_exit(10, DEADLINE);
    let whole = start.elapsed();
    let summary: Value = serde_json::from_str(&reconcile.stdout()).unwrap();
    assert_eq!((&summary["listed"], &summary["unaccounted"]), (&json!(orders), &json!(0)), "{summary}");

    let (_, log) = http::get(&format!("{base_url}/_sandbox/requests"));
    let log: Vec<Value> = serde_json::from_str(&log).unwrap();
    let mut calls: Vec<Timestamp> = log
        .iter()
        .filter(|call| call["kind"] == "order")
        .map(|call| call["at"].as_str().unwrap().parse().unwrap())
        .collect();
    calls.sort();
    let took = calls[calls.len() - 1].duration_since(calls[0]).as_secs_f64() + DELAY;
    let ideal = calls.len() as f64 * DELAY / CONCURRENCY;
    let what = format!(
        "{} of {} listed orders fetched at {} ms a request, {CONCURRENCY} at a time, s",
        calls.len(),
        thousands(orders as f64),
        DELAY * 1000.0
    );
    row(&what, &format!("{took:.2}"), "");
    row("that time ÷ ideal", &format!("{:.2}", took / ideal), "≤ 1.3");
    row("the whole command, s", &format!("{:.2}", whole.as_secs_f64()), "");
}

fn row(what: &str, figure: &str, aim: &str) {
    println!("| {what} | {figure} | {aim} |");
    io::stdout().flush().unwrap();
}

/// Loads the index, and holds a list against it.
fn start(kafka: &Kafka, options: &Options) {
    let (full, empty) = (topics::unique("bench-tracking"), topics::unique("bench-empty"));
    for topic in [&full, &empty] {
        topics::create(kafka, topic, 1, &[("cleanup.policy", "compact")]);
    }
    fill(kafka, &full, 1, &[store()], 0..options.records);
    let role = |role: &str, topic: &str| -> Value {
        let mut command = child::command(env::current_exe().unwrap());
        command.args([role, kafka.bootstrap_servers(), topic, "--records", &options.records.to_string()]);
        let mut process = Program::spawn(command);
        process.expect_exit(0, DEADLINE);
        serde_json::from_str(&process.stdout()).unwrap()
    };
    let rounds: Vec<(Value, Value)> =
        (0..options.rounds).map(|_| (role("--bare", &full), role("--load", &full))).collect();
    let nothing = role("--load", &empty);
    let median = |figure: &dyn Fn(&(Value, Value)) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let of = |value: &Value, name: &str| value[name].as_f64().unwrap();
    let records = thousands(options.records as f64);
    row(
        &format!("a bare consumer reads {records} tracking records, s"),
        &format!("{:.2}", median(&|round| of(&round.0, "seconds"))),
        "",
    );
    row("the index is loaded from them, s", &format!("{:.2}", median(&|round| of(&round.1, "seconds"))), "");
    row(
        "load ÷ bare consumer",
        &format!("{:.2}", median(&|round| of(&round.1, "seconds") / of(&round.0, "seconds"))),
        "≤ 1.5",
    );
    for (what, name) in
        [("memory for each tracked order, bytes", "resident_mb"), ("the same at the peak, bytes", "peak_mb")]
    {
        let bytes =
            median(&|round| (of(&round.1, name) - of(&nothing, name)) * 1024.0 * 1024.0 / options.records as f64);
        row(what, &format!("{bytes:.0}"), if name == "resident_mb" { "≤ 80" } else { "" });
    }
    row(
        "100,000 listed orders held against the index, ms",
        &format!("{:.1}", median(&|round| of(&round.1, "diff_ms"))),
        "< 20",
    );
}

/// A list that nobody holds as a whole.
fn long_list(options: &Options) {
    let mut command = child::command(env::current_exe().unwrap());
    command.args(["--list", "--records", &options.records.to_string()]);
    let mut process = Program::spawn(command);
    process.expect_exit(0, DEADLINE);
    let told: Value = serde_json::from_str(&process.stdout()).unwrap();
    let ids = thousands(options.records as f64);
    row(&format!("a list of {ids} IDs is read, s"), &format!("{:.2}", told["seconds"].as_f64().unwrap()), "");
    row("memory that it takes at the peak, MB", &format!("{:.1}", told["peak_mb"].as_f64().unwrap()), "");
}

fn store() -> StoreName {
    "bogota".parse().unwrap()
}

/// Role: loads the index, compares, and tells.
fn load(servers: &str, topic: &str, records: usize) {
    let connection = Connection {
        bootstrap_servers: servers.to_owned(),
        properties: Default::default(),
        property_files: Default::default(),
        transactional_id_prefix: "bench".to_owned(),
        transaction_timeout: Duration::from_secs(30),
    };
    let spool = disk();
    let memory = TrackingMemory::open(spool.path(), topic, 1).unwrap();
    assert_eq!(lane_of(&store(), 1), 0);
    let mut reader = TrackingReader::new(connection, topic.to_owned(), 0, DEADLINE);
    let mut decoder = Decoder::new(&ORDER_TRACKING, None);
    let mut index = Index::default();
    let start = Instant::now();
    catch_up(&mut index, &mut reader, &mut decoder, &memory, &mut |_| {}).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let usage = Usage::of(std::process::id()).unwrap();

    let first = FIRST_ID + records - (LISTED - NOT_TRACKED).min(records);
    let listed: OrderIds = (first..first + LISTED).map(|id| id.to_string().parse().unwrap()).collect();
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            let diff = missing(&store(), &listed, &index, false);
            let took = start.elapsed().as_secs_f64() * 1000.0;
            assert!(index.is_empty() || diff.missing.len() >= NOT_TRACKED);
            took
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!(
        "{}",
        json!({
            "seconds": seconds, "resident_mb": usage.resident_mb, "peak_mb": usage.peak_mb, "diff_ms": times[times.len() / 2],
        })
    );
}

/// Role: reads the same and throws it away.
fn bare(servers: &str, topic: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "bench").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let start = Instant::now();
    let (_, end) = consumer.fetch_watermarks(topic, 0, DEADLINE).unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut position = 0;
    while position < end {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => position = message.offset() + 1,
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }
    println!("{}", json!({ "seconds": start.elapsed().as_secs_f64() }));
}

/// Role: reads a list of IDs from a body that is made while it is read.
fn list(ids: usize) {
    let before = Usage::of(std::process::id()).unwrap();
    let start = Instant::now();
    let read = read_id_list(Body { next: 0, ids, piece: Vec::new() }).unwrap().ids;
    assert_eq!(read.len(), ids);
    let seconds = start.elapsed().as_secs_f64();
    let after = Usage::of(std::process::id()).unwrap();
    println!("{}", json!({ "seconds": seconds, "peak_mb": after.peak_mb - before.peak_mb }));
}

struct Body {
    next: usize,
    ids: usize,
    piece: Vec<u8>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.next <= self.ids {
            let number = FIRST_ID + self.next;
            match self.next {
                0 => write!(self.piece, r#"{{"data":[{number}"#)?,
                last if last == self.ids => write!(self.piece, "]}}")?,
                _ => write!(self.piece, ",{number}")?,
            }
            self.next += 1;
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece[..length]);
        self.piece.drain(..length);
        Ok(length)
    }
}
