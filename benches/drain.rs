//! Measures how fast the program drains, compared with a loop that only reads: `cargo bench --bench drain`.
//!
//! - The marketplace is the sandbox in a process of its own, with a fixed delay for each answer. The loop requests the
//!   same pages over one keep-alive connection, reads each body to its end and drops it: no program that reads page by
//!   page can be faster. The same loop with a write and a sync for each page is the limit for a program that keeps what
//!   it reads. Loops and program take turns, so that other load on the machine affects all of them.
//! - Rates come from the sandbox's own log: from the arrival of the first request to that of the last, which arrives
//!   when all pages but one have been read, kept and handed on. "To the last commit" ends when the program saw it.
//! - The broker is a real Kafka: the one whose address is given (`-- HOST:PORT`, or `IMOTRIZ_TEST_KAFKA`), or one that
//!   the benchmark starts, as the integration tests do. It shares the machine's cores with everything else.
//! - Memory is the kernel's `VmHWM`, the peak of resident memory. librdkafka's share is measured in a process that has
//!   an idle transactional producer and nothing else.
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not measure")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, thread};

use jiff::Timestamp;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _};
use serde_json::Value;

use measure::{Usage, bare_client, disk, machine, thousands};
use support::program::{Program, Settings};
use support::topics::Topics;
use support::{Kafka, child, http, wait};

#[allow(dead_code, reason = "shared with the other benchmarks, which use the rest")]
mod measure;

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
const PAGE: usize = 30;
const DEADLINE: Duration = Duration::from_secs(300);
/// Drains that nobody measures, for a broker that is new.
const WARM_UP: usize = 5;
const IDLE: Duration = Duration::from_secs(20);

/// What is drained, and what is aimed at.
struct Case {
    delay: Duration,
    orders: usize,
    target: &'static str,
}

const CASES: [Case; 3] = [
    Case { delay: Duration::from_millis(50), orders: 3_000, target: "≥ 0.985" },
    Case { delay: Duration::from_millis(20), orders: 6_000, target: "≥ 0.97" },
    Case { delay: Duration::ZERO, orders: 30_000, target: "≥ 28,000 orders/s" },
];

fn main() {
    let options = Options::from_arguments();
    if let Some(servers) = &options.idle_producer {
        return idle_producer(servers);
    }
    let kafka = options.kafka();
    println!("{}\n", machine());
    // A broker that has just been started compiles its code while it serves: latencies are then several times as high.
    for _ in 0..WARM_UP {
        Round::measure(&CASES[CASES.len() - 1], &kafka);
    }
    println!("| delay of an answer | what | median | min–max | target |\n|---|---|---|---|---|");
    for case in &CASES {
        let rounds: Vec<_> = (0..options.rounds).map(|_| Round::measure(case, &kafka)).collect();
        case.report(&rounds);
    }
    sync_limit();
    memory(&kafka);
}

struct Options {
    rounds: usize,
    servers: Option<String>,
    /// The other role of this binary: see [`memory`].
    idle_producer: Option<String>,
}

impl Options {
    fn from_arguments() -> Self {
        let mut options = Self { rounds: 5, servers: env::var("IMOTRIZ_TEST_KAFKA").ok(), idle_producer: None };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo's.
                "--bench" => {}
                "--rounds" => options.rounds = arguments.next().unwrap().parse().expect("--rounds takes a number"),
                "--idle-producer" => options.idle_producer = arguments.next(),
                _ => options.servers = Some(argument),
            }
        }
        options
    }

    fn kafka(&self) -> Kafka {
        match &self.servers {
            Some(servers) => Kafka::running(servers.clone()),
            None => Kafka::start_private(&[]),
        }
    }
}

/// One turn of the loop, one of the loop that syncs, and one of the program.
struct Round {
    bare: f64,
    synced: f64,
    read: f64,
    committed: f64,
    wall: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
}

impl Round {
    fn measure(case: &Case, kafka: &Kafka) -> Self {
        let shop = Shop::open(case);
        bare_loop(&shop.base_url, case.orders.div_ceil(PAGE), |_| {});
        let bare = case.rate(shop.span());

        let shop = Shop::open(case);
        let spool = disk();
        let file = page_file(&spool);
        bare_loop(&shop.base_url, case.orders.div_ceil(PAGE), |page| {
            file.write_all_at(page, 0).unwrap();
            file.sync_data().unwrap();
        });
        let synced = case.rate(shop.span());

        let shop = Shop::open(case);
        let spool = disk();
        let drained = Drained::run(&settings(kafka, &Topics::unique("bench"), spool.path(), &shop.base_url));
        assert_eq!(drained.summary["published"], case.orders, "{}", drained.summary);
        let (first, _) = shop.span();
        let latency = |quantile| drained.summary["page_commit_ms"][quantile].as_f64().unwrap();
        Self {
            bare,
            synced,
            read: case.rate(shop.span()),
            committed: case.orders as f64 / seconds(first, time(&drained.summary["last_commit"])),
            wall: drained.wall.as_secs_f64(),
            cpu: drained.last.cpu.as_secs_f64(),
            p50: latency("p50"),
            p99: latency("p99"),
        }
    }
}

impl Case {
    /// The last request arrives when all pages but its own are through.
    fn rate(&self, (first, last): (Timestamp, Timestamp)) -> f64 {
        (self.orders - PAGE) as f64 / seconds(first, last)
    }

    fn report(&self, rounds: &[Round]) {
        let delay = self.delay.as_millis();
        let line = |what: &str, decimals: usize, target: &str, figure: &dyn Fn(&Round) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            let [low, median, high] = [0, figures.len() / 2, figures.len() - 1].map(|at| {
                let figure = figures[at];
                if decimals == 0 { thousands(figure) } else { format!("{figure:.decimals$}") }
            });
            println!("| {delay} ms | {what} | {median} | {low}–{high} | {target} |");
        };
        let of_reading = if self.delay.is_zero() { self.target } else { "" };
        let of_ratio = if self.delay.is_zero() { "" } else { self.target };
        line("bare loop, orders/s", 0, "", &|round| round.bare);
        line("the same, each page written and synced, orders/s", 0, "", &|round| round.synced);
        line("drain to the last page read, orders/s", 0, of_reading, &|round| round.read);
        line("drain to the last commit, orders/s", 0, "", &|round| round.committed);
        line("drain ÷ bare loop", 3, of_ratio, &|round| round.read / round.bare);
        line("drain ÷ bare loop that syncs", 3, "", &|round| round.read / round.synced);
        line("from the last byte of a page to its commit, p50, ms", 1, "", &|round| round.p50);
        line("from the last byte of a page to its commit, p99, ms", 1, "", &|round| round.p99);
        line("whole process, s", 2, "", &|round| round.wall);
        line("its CPU time, s", 2, "", &|round| round.cpu);
    }
}

/// The marketplace, in a process of its own.
struct Shop {
    base_url: String,
    _process: Program,
}

impl Shop {
    fn open(case: &Case) -> Self {
        let mut command = child::command(BINARY);
        command.args(["--json", "sandbox", "--listen", "127.0.0.1:0"]);
        command.args(["--orders", &case.orders.to_string(), "--delay", &format!("{}ms", case.delay.as_millis())]);
        let mut process = Program::spawn(command);
        let line: Value = serde_json::from_str(&process.wait_for_line("base_url", DEADLINE)).unwrap();
        Self { base_url: line["base_url"].as_str().unwrap().to_owned(), _process: process }
    }

    /// When the first and the last request came.
    fn span(&self) -> (Timestamp, Timestamp) {
        let url = format!("{}/_sandbox/requests", self.base_url);
        let (status, log) = http::get(&url);
        assert_eq!(status, 200);
        let log: Vec<Value> = serde_json::from_str(&log).unwrap();
        (time(&log[0]["at"]), time(&log[log.len() - 1]["at"]))
    }
}

/// Reads pages one after the other, and does nothing with them but `keep`.
fn bare_loop(base_url: &str, pages: usize, keep: impl Fn(&[u8]) + Sync) {
    let client = bare_client();
    let url = format!("{base_url}{}", imotriz_kafka::sandbox::NEW_ORDERS);
    http::block_on(async {
        for _ in 0..pages {
            let request = client.get(&url).header("Authorization", "sandbox-token");
            let mut response = request.send().await.unwrap().error_for_status().unwrap();
            let mut page = Vec::new();
            while let Some(chunk) = response.chunk().await.unwrap() {
                page.extend_from_slice(&chunk);
            }
            keep(&page);
        }
    });
}

/// One run of the program to its end.
struct Drained {
    summary: Value,
    wall: Duration,
    last: Usage,
}

impl Drained {
    fn run(settings: &Settings) -> Self {
        let start = Instant::now();
        let mut program = settings.start(&["--json", "drain"]);
        // The peak only grows: what is missed is what the last milliseconds add.
        let mut last = Usage::default();
        while let Some(usage) = Usage::of(program.pid()) {
            last = usage;
            thread::sleep(Duration::from_millis(20));
        }
        let status = program.wait(DEADLINE);
        let wall = start.elapsed();
        assert!(status.success(), "{status}\n{}", program.output());
        let summary = serde_json::from_str(&program.stdout()).unwrap();
        Self { summary, wall, last }
    }
}

fn settings(kafka: &Kafka, topics: &Topics, spool: &Path, base_url: &str) -> Settings {
    Settings::new(kafka, topics).with("IMOTRIZ_SPOOL__DIR", &spool.display().to_string()).with_store(
        "bogota",
        base_url,
        "sandbox-token",
        "CO",
    )
}

/// A file with space for a page, as the spool has them.
fn page_file(folder: &tempfile::TempDir) -> File {
    let file = File::create(folder.path().join("page")).unwrap();
    file.write_all_at(&vec![0; 256 * 1024], 0).unwrap();
    file.sync_all().unwrap();
    file
}

/// What the disk alone allows: a page written over and synced, one after the other.
fn sync_limit() {
    const TIMES: u32 = 500;
    let folder = disk();
    let file = page_file(&folder);
    let page = vec![b'x'; 30_000];
    let start = Instant::now();
    for _ in 0..TIMES {
        file.write_all_at(&page, 0).unwrap();
        file.sync_data().unwrap();
    }
    let each = start.elapsed() / TIMES;
    println!(
        "\nOne page of 30 kB written and synced: {:.2} ms, that is at most {} orders/s through one file at a time.",
        each.as_secs_f64() * 1000.0,
        thousands(PAGE as f64 / each.as_secs_f64())
    );
}

/// Memory of a drain, of a program that waits, and of librdkafka by itself.
fn memory(kafka: &Kafka) {
    let case = Case { delay: Duration::ZERO, orders: 30_000, target: "" };
    let (shop, spool, topics) = (Shop::open(&case), disk(), Topics::unique("bench"));
    let settings = settings(kafka, &topics, spool.path(), &shop.base_url);
    let drained = Drained::run(&settings);

    let mut producer = child::command(env::current_exe().unwrap());
    producer.args(["--idle-producer", kafka.bootstrap_servers()]);
    let mut producer = Program::spawn(producer);
    producer.wait_for_line("ready", DEADLINE);
    let idle = Usage::of(producer.pid()).unwrap();

    // All is drained by now: it has the index of 30,000 orders and nothing to do.
    let waiting = settings.with("RUST_LOG", "debug").start(&["run"]);
    let loaded = || waiting.stderr().contains("index is up to date");
    wait::until("the program is up", DEADLINE, loaded);
    thread::sleep(Duration::from_secs(2));
    let before = Usage::of(waiting.pid()).unwrap();
    thread::sleep(IDLE);
    let after = Usage::of(waiting.pid()).unwrap();

    println!("\n| memory | MB | target |\n|---|---|---|");
    println!("| `drain` of 30,000 orders, peak | {:.1} | |", drained.last.peak_mb);
    println!("| an idle librdkafka producer, peak | {:.1} | |", idle.peak_mb);
    println!("| the difference | {:.1} | < 40 |", drained.last.peak_mb - idle.peak_mb);
    println!("| `run` with nothing to do and 30,000 orders in its index | {:.1} | |", after.resident_mb);
    let share = (after.cpu - before.cpu).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    println!("\n`run` with nothing to do takes {share:.2} % of a core.");
}

/// A process with a transactional producer that has done nothing yet, until it is killed.
fn idle_producer(servers: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("transactional.id", "bench-idle-producer");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    println!("ready");
    thread::park();
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
