//! Measures what an order costs the program itself, from the bytes of its page to the records of a transaction:
//! `cargo bench --bench order`.
//!
//! - The whole program runs, with a marketplace that has its pages in memory and a broker that takes every record and
//!   drops it. So HTTP, librdkafka and the broker have no share in the figures.
//! - Instructions are counted by valgrind's callgrind, the same at each run but for a percent or two. It sees no
//!   kernel, so the spool's disk costs nothing. The start is subtracted: it is counted with fewer pages too.
//! - Time is that in user space, of all threads.
#![allow(clippy::unwrap_used, reason = "a panic is how a benchmark says that it could not measure")]

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs};

use bytes::Bytes;
use imotriz_kafka::app::{App, Environment};
use imotriz_kafka::config::Config;
use imotriz_kafka::kafka::broker::{Apply, Broker, KafkaFuture, Membership, Producer, TrackingLog};
use imotriz_kafka::kafka::topics::Layout;
use imotriz_kafka::kafka::{Delivered, KafkaFault, OutgoingRecord};
use imotriz_kafka::marketplace::body::IdList;
use imotriz_kafka::marketplace::client::{ApiError, ApiFuture, Fetched, Marketplace, Read};
use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::platform::clock;
use imotriz_kafka::platform::disk::RealDisk;
use imotriz_kafka::platform::jobs::Threads;
use imotriz_kafka::sandbox::{NEW_ORDERS, Sandbox, SandboxArgs};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use measure::{disk, thousands, user_time};

#[allow(dead_code, reason = "shared with the other benchmarks, which use the rest")]
mod measure;

const PAGE: usize = 30;
/// Enough for the clock of the kernel, which counts hundredths of a second.
const TIMED: usize = 2_000;
/// Valgrind takes some fifty times as long.
const COUNTED: [usize; 2] = [20, 140];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, file, pages] = &arguments[..]
        && role == "--drain"
    {
        return drain(Path::new(file), pages.parse().unwrap());
    }
    let folder = disk();
    let file = folder.path().join("pages");
    let bytes = write_pages(&file);
    println!("An order of {} bytes, from its page to the records of a transaction:", bytes / (TIMED * PAGE));
    println!("{:.1} µs of CPU time in user space", time(&file));
    match instructions(&file, folder.path()) {
        Some(instructions) => println!("{} instructions", thousands(instructions)),
        None => println!("NOT MEASURED: instructions, for valgrind is not installed"),
    }
}

/// Writes the sandbox's pages to a file, one a line, and returns their size.
#[tokio::main]
async fn write_pages(file: &Path) -> usize {
    let sandbox = Sandbox::start(SandboxArgs::with_orders(TIMED * PAGE)).await.unwrap();
    let (client, url) = (reqwest::Client::new(), format!("{}{NEW_ORDERS}", sandbox.base_url()));
    let mut pages = String::new();
    for _ in 0..TIMED {
        let answer = client.get(&url).header("Authorization", "sandbox-token").send().await.unwrap();
        pages.push_str(&answer.text().await.unwrap());
        pages.push('\n');
    }
    assert_eq!(pages.lines().count(), TIMED);
    fs::write(file, &pages).unwrap();
    pages.len()
}

/// Microseconds of CPU time in user space for each order.
fn time(file: &Path) -> f64 {
    let run = |pages: usize| -> f64 {
        let output = this_program(Command::new(env::current_exe().unwrap()), file, pages);
        output.parse().unwrap()
    };
    (run(TIMED) - run(1)) * 1e6 / ((TIMED - 1) * PAGE) as f64
}

/// Instructions for each order; `None` without valgrind.
fn instructions(file: &Path, folder: &Path) -> Option<f64> {
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().ok()?;
    let [start, more] = COUNTED.map(|pages| {
        let profile = folder.join("profile");
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--tool=callgrind"]);
        valgrind.arg(format!("--callgrind-out-file={}", profile.display())).arg(env::current_exe().unwrap());
        this_program(valgrind, file, pages);
        let profile = fs::read_to_string(profile).unwrap();
        let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        total.parse::<f64>().unwrap()
    });
    Some((more - start) / ((COUNTED[1] - COUNTED[0]) * PAGE) as f64)
}

/// Runs this program in its other role, and returns what it prints.
fn this_program(mut command: Command, file: &Path, pages: usize) -> String {
    let output = command.arg("--drain").arg(file).arg(pages.to_string()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Drains the first pages, and prints the CPU time in user space, in seconds.
#[tokio::main(worker_threads = 1)]
async fn drain(file: &Path, pages: usize) {
    let pages: VecDeque<Bytes> = fs::read_to_string(file).unwrap().lines().take(pages).map(page).collect();
    let (spool, expected) = (disk(), pages.len() * PAGE);
    let config = format!(
        "[spool]\ndir = '{}'\n[kafka]\nbootstrap_servers = 'none:9092'\n[stores.bogota]\ncountry = 'CO'\ntoken = 'none'",
        spool.path().display()
    );
    let config = Config::from_toml(&config).unwrap();
    let shop = Arc::new(Shop(Mutex::new(pages)));
    let environment = Environment {
        disk: RealDisk::shared(),
        jobs: Threads::shared(),
        broker: Arc::new(Nowhere),
        marketplace: Arc::new(move |_, _| Ok(Arc::<Shop>::clone(&shop))),
    };
    let (layout, stop) = (Some(Layout { lanes: 1 }), CancellationToken::new());
    let app = App::build_in(environment, layout, &config, true, Arc::default(), stop).await.unwrap();
    let counters = app.counters();
    app.run().await.unwrap();
    assert_eq!(counters.total(|store| store.published.total()), expected as u64);
    println!("{}", user_time().as_secs_f64());
}

fn page(line: &str) -> Bytes {
    Bytes::copy_from_slice(line.as_bytes())
}

/// Hands out pages.
#[derive(Debug)]
struct Shop(Mutex<VecDeque<Bytes>>);

impl Marketplace for Shop {
    fn new_orders<'a>(&'a self, _: &'a SecretString) -> ApiFuture<'a, Read> {
        let body = self.0.lock().unwrap().pop_front().unwrap_or_else(|| page(r#"{"data":[]}"#));
        Box::pin(async { Read::Fetched(Fetched { body, read_at: clock::now() }) })
    }

    fn order_ids<'a>(&'a self, _: Option<u64>, _: &'a SecretString) -> ApiFuture<'a, Result<IdList, ApiError>> {
        unreachable!("a drain needs no list")
    }

    fn order<'a>(&'a self, _: &'a OrderId, _: &'a SecretString) -> ApiFuture<'a, Result<Bytes, ApiError>> {
        unreachable!("every read succeeds")
    }
}

/// A broker that takes all records and keeps none.
struct Nowhere;

impl Broker for Nowhere {
    fn open(&self, _: i32, _: Duration) -> KafkaFuture<'_, Box<dyn Producer>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn Producer>) })
    }

    fn tracking(&self, _: i32, _: Duration) -> Box<dyn TrackingLog> {
        Box::new(Self)
    }

    fn tracking_is_void(&self, _: Duration) -> Result<bool, KafkaFault> {
        Ok(false)
    }

    fn join(&self) -> Result<Membership, KafkaFault> {
        Err(KafkaFault::Passing { what: "joining a group", why: "there is none".to_owned() })
    }

    fn transaction_timeout(&self) -> Duration {
        Duration::from_secs(20)
    }
}

impl Producer for Nowhere {
    fn begin(&self) -> KafkaFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn deliver<'a>(&'a self, records: &'a [OutgoingRecord<'a>]) -> KafkaFuture<'a, Vec<Delivered>> {
        Box::pin(async { Ok(vec![Delivered { partition: 0, offset: 0 }; records.len()]) })
    }

    fn commit(&self) -> KafkaFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn must_be_replaced(&self) -> bool {
        false
    }

    fn all_brokers_are_down(&self) -> bool {
        false
    }
}

impl TrackingLog for Nowhere {
    fn lane(&self) -> i32 {
        0
    }

    fn position(&self) -> i64 {
        0
    }

    fn read_to_end(&mut self, _: &mut Apply<'_>) -> Result<(), KafkaFault> {
        Ok(())
    }
}
