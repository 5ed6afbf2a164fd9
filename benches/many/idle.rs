//! Shops without orders.

use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use imotriz_kafka::platform::clock;
use jiff::Timestamp;

use super::marketplace::Marketplace;
use super::measure::{Usage, bare_client, thousands};
use super::process::{Held, written};
use super::program::{POLL_INTERVAL, Setup, disk_used, until};
use super::support::program::Program;
use super::{Kafka, Options, row};

/// How many shops, and how many files the program may have open.
const CASES: [(usize, Option<u64>); 4] = [(10, None), (100, None), (1_000, None), (10_000, Some(1_024))];

/// For the parts of the program that work for a while after the first reads.
const SETTLE: Duration = Duration::from_secs(5);

pub fn measure(kafka: &Kafka, options: &Options) {
    let cases = CASES.iter().filter(|(shops, _)| options.wants(&format!("idle-{shops}")));
    let mut cases = cases.peekable();
    if cases.peek().is_none() {
        return;
    }
    println!(
        "| idle shops | threads | open files | of these to the marketplace | memory (peak), MB | CPU, % of a core | polls /s | \
         first read after, s | every shop read after, s | spool on the disk, MB | the marketplace's CPU, % of a core |"
    );
    println!("|{}", "---|".repeat(11));
    for &(shops, limit) in cases {
        Idle::measure(kafka, options, shops, limit).report(shops, limit);
    }
    println!(
        "\nAims for 1,000: 16 threads, 200 files beside the marketplace's, 60 MB, 2 %. For 10,000: 250 MB, 8 %, first \
         read within 5 s, 100 MB of disk.\n"
    );
}

struct Idle {
    held: Held,
    memory: f64,
    peak: f64,
    /// Shares of a core.
    cpu: f64,
    marketplace_cpu: f64,
    polls: f64,
    first_read: f64,
    all_read: f64,
    disk: f64,
}

impl Idle {
    fn measure(kafka: &Kafka, options: &Options, shops: usize, limit: Option<u64>) -> Self {
        let marketplace = Marketplace::open(shops, 0, &[]);
        let setup = Setup::new(kafka, &marketplace, shops, POLL_INTERVAL, options.lanes);
        let start = clock::now();
        let mut program = setup.start(limit.unwrap_or_else(super::open_files), &["run"]);
        until("every shop is read", &mut program, || marketplace.reads() >= shops as u64);
        // A shop may have been read twice before another was read at all.
        let mut reads = Vec::new();
        until("every shop is read", &mut program, || {
            reads = marketplace.first_reads();
            reads.len() == shops
        });
        let after = |read: Timestamp| read.duration_since(start).as_secs_f64();
        thread::sleep(SETTLE);

        let begin = Moment::of(&program, &marketplace);
        let mut held = Held::default();
        let span = options.scaled(Duration::from_secs(60), Duration::from_secs(6));
        while begin.at.elapsed() < span {
            held = held.most(Held::by(program.pid(), marketplace.port()));
            thread::sleep(span / 6);
        }
        let end = Moment::of(&program, &marketplace);
        let seconds = end.at.duration_since(begin.at).as_secs_f64();
        Self {
            held,
            memory: end.program.resident_mb,
            peak: end.program.peak_mb,
            cpu: (end.program.cpu - begin.program.cpu).as_secs_f64() / seconds,
            marketplace_cpu: (end.marketplace.cpu - begin.marketplace.cpu).as_secs_f64() / seconds,
            polls: (end.reads - begin.reads) as f64 / seconds,
            first_read: after(reads[0]),
            all_read: after(reads[shops - 1]),
            disk: disk_used(&setup.spool()) as f64 / 1024.0 / 1024.0,
        }
    }

    fn report(&self, shops: usize, limit: Option<u64>) {
        let under = limit.map_or_else(String::new, |limit| format!(" (`ulimit -n {limit}`)"));
        println!(
            "| {}{under} | {} | {} | {} | {:.0} ({:.0}) | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} |",
            thousands(shops as f64),
            self.held.threads,
            self.held.files,
            self.held.connections,
            self.memory,
            self.peak,
            self.cpu * 100.0,
            self.polls,
            self.first_read,
            self.all_read,
            self.disk,
            self.marketplace_cpu * 100.0,
        );
        io::stdout().flush().unwrap();
    }
}

/// Counters at one moment.
struct Moment {
    at: Instant,
    program: Usage,
    marketplace: Usage,
    reads: u64,
    written: u64,
}

impl Moment {
    fn of(program: &Program, marketplace: &Marketplace) -> Self {
        let reads = marketplace.reads();
        Self {
            at: Instant::now(),
            program: Usage::of(program.pid()).unwrap(),
            marketplace: marketplace.usage(),
            reads,
            written: written(program.pid()),
        }
    }
}

/// The shops that are polled.
const POLLED: usize = 100;
const OFTEN: Duration = Duration::from_millis(100);

/// What 20 s at this interval took of CPU time, how many polls they saw, and how many bytes were written.
fn polled(kafka: &Kafka, options: &Options, poll_interval: Duration) -> (f64, f64, f64) {
    let marketplace = Marketplace::open(POLLED, 0, &[]);
    let setup = Setup::new(kafka, &marketplace, POLLED, poll_interval, options.lanes);
    let mut program = setup.start(super::open_files(), &["run"]);
    until("every shop is read", &mut program, || marketplace.first_reads().len() == POLLED);
    thread::sleep(SETTLE);
    let begin = Moment::of(&program, &marketplace);
    thread::sleep(measured(options));
    let end = Moment::of(&program, &marketplace);
    let cpu = (end.program.cpu - begin.program.cpu).as_secs_f64();
    (cpu, (end.reads - begin.reads) as f64, (end.written - begin.written) as f64)
}

fn measured(options: &Options) -> Duration {
    options.scaled(Duration::from_secs(20), Duration::from_secs(5))
}

/// CPU time of a poll in seconds, in this process, of tasks that do nothing but sleep, ask and throw the answer away.
fn polled_barely(options: &Options) -> f64 {
    let marketplace = Marketplace::open(POLLED, 0, &[]);
    let url = format!("{}{}", marketplace.base_url, imotriz_kafka::sandbox::NEW_ORDERS);
    let client = bare_client();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for shop in 1..=POLLED {
        let (client, url, token) = (client.clone(), url.clone(), format!("shop-{shop}"));
        runtime.spawn(async move {
            tokio::time::sleep(OFTEN.mul_f64(fastrand::f64())).await;
            loop {
                let request = client.get(&url).header("Authorization", &token);
                request.send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
                // With the program's jitter: without any, tasks end up in step, and one wake-up serves many.
                tokio::time::sleep(OFTEN.mul_f64(1.0 - 0.2 * fastrand::f64())).await;
            }
        });
    }
    thread::sleep(SETTLE);
    let now = || (Usage::of(std::process::id()).unwrap().cpu, marketplace.reads());
    let begin = now();
    thread::sleep(measured(options));
    let end = now();
    runtime.shutdown_background();
    (end.0 - begin.0).as_secs_f64() / (end.1 - begin.1) as f64
}

pub fn measure_poll(kafka: &Kafka, options: &Options) {
    let bare = polled_barely(options);
    let (few, many) = (polled(kafka, options, POLL_INTERVAL), polled(kafka, options, OFTEN));
    let poll = (many.0 - few.0) / (many.1 - few.1);
    row("polls of an idle shop measured", &thousands(many.1), "");
    row("CPU of a poll of an idle shop, µs", &format!("{:.0}", poll * 1e6), "≤ 60");
    row("CPU of a poll by a bare loop over the same HTTP client, µs", &format!("{:.0}", bare * 1e6), "");
    row("the first ÷ the second", &format!("{:.2}", poll / bare), "");
    row("written to the disk by one, bytes", &format!("{:.0}", many.2 / many.1), "0");
}
