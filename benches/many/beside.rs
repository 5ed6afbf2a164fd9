//! A small shop beside a big one in the same lane. Both are polled every 100 ms.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::marketplace::Marketplace;
use super::measure::thousands;
use super::program::{DEADLINE, Setup, until};
use super::{Kafka, Options, row};

const BIG: &str = "shop-1";
const SMALL: &str = "shop-2";
const ARRIVING: usize = 30;
/// How many orders are placed at a time in the big shop, at most.
const MOST: usize = 50_000;
/// So many more than are missing are placed, and all at a time: the big shop is read between two requests, nearly as fast
/// as it can be filled.
const READ_MEANWHILE: usize = 5_000;

pub fn measure(kafka: &Kafka, options: &Options) {
    let (pending, times): (u64, u64) = options.scaled((300_000, 200), (30_000, 10));
    let marketplace = Marketplace::open(2, 0, &[]);
    let fill = || {
        while let missing @ 1.. = pending.saturating_sub(marketplace.pending(BIG)) {
            marketplace.place(BIG, (missing as usize + READ_MEANWHILE).min(MOST));
        }
    };
    fill();
    let setup = Setup::new(kafka, &marketplace, 2, Duration::from_millis(100), Some(1));
    let mut program = setup.start(super::open_files(), &["run"]);
    until("the big shop is read", &mut program, || marketplace.pending(BIG) < pending);
    // IDs of the second shop are above those of the first.
    let first = marketplace.place(SMALL, 1)[0];
    let committed = follow(kafka, &setup.topics.orders, first);
    wait_for(&committed, &[first]);

    let mut waits: Vec<Duration> = (0..times)
        .map(|number| {
            fill();
            // At another moment of the poll interval each time.
            thread::sleep(Duration::from_millis(number * 37 % 100));
            let placed = Instant::now();
            let ids = marketplace.place(SMALL, ARRIVING);
            wait_for(&committed, &ids).duration_since(placed)
        })
        .collect();
    waits.sort();
    let milliseconds = |share: f64| {
        let at = (share * waits.len() as f64).ceil() as usize;
        format!("{:.0}", waits[at.max(1) - 1].as_secs_f64() * 1000.0)
    };
    let what = format!("{ARRIVING} orders beside {} pending, from placed to committed", thousands(pending as f64));
    row(&format!("{what}, p50 of {times}, ms"), &milliseconds(0.5), "");
    row(&format!("{what}, p99 of {times}, ms"), &milliseconds(0.99), "≤ 1,000");
    row(&format!("{what}, at most, ms"), &milliseconds(1.0), "");
}

/// When the last of these orders came.
fn wait_for(committed: &Receiver<(u64, Instant)>, ids: &[u64]) -> Instant {
    let mut wanted: HashSet<u64> = ids.iter().copied().collect();
    loop {
        let (id, at) = committed.recv_timeout(DEADLINE).expect("the small shop's orders are committed");
        wanted.remove(&id);
        if wanted.is_empty() {
            return at;
        }
    }
}

/// Reads what is committed, and tells of the orders from this ID on.
fn follow(kafka: &Kafka, topic: &str, first: u64) -> Receiver<(u64, Instant)> {
    let mut config = kafka.client();
    config.set("group.id", "bench").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE).unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || tell(&consumer, first, &sender));
    receiver
}

/// Until nobody listens any more.
fn tell(consumer: &BaseConsumer, first: u64, sender: &Sender<(u64, Instant)>) {
    loop {
        // That the broker is gone is told by what it no longer delivers.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let id = std::str::from_utf8(message.key().unwrap()).unwrap().parse().unwrap();
        if id >= first && sender.send((id, Instant::now())).is_err() {
            return;
        }
    }
}
