//! How long shops are not read while their lane goes from one instance to another.

use std::collections::BTreeMap;
use std::time::Duration;

use imotriz_kafka::pipeline::tracking_memory::lane_of;
use imotriz_kafka::platform::clock;
use jiff::Timestamp;
use rustix::process::Signal;

use super::instances::{Instances, LANES, SetUp, until};
use super::measure::thousands;
use super::program::DEADLINE;
use super::{Kafka, row};

const SESSION: Duration = Duration::from_secs(6);

pub fn take_over(kafka: &Kafka, kills: usize) {
    let mut instances = Instances::new(kafka, &SetUp { orders: 1, session: Some(SESSION), ..SetUp::default() });
    (0..2).for_each(|instance| instances.start(instance));
    let mut gaps = Vec::new();
    for kill in 0..kills {
        instances.wait_for_lanes(&[(0, LANES / 2), (1, LANES / 2)]);
        let victim = kill % 2;
        let moving = instances.lanes(victim);
        let since = clock::now();
        instances.running.remove(&victim).unwrap().kill9();
        instances.wait_for_lanes(&[(1 - victim, LANES)]);
        gaps.extend(read_again(&instances, since, &moving));
        instances.start(victim);
    }
    let what = format!("take-over: from the last read before kill -9 to the first by another, {kills} kills, s");
    row_of(&what, &mut gaps, 1.0, "p99 ≤ 8, the session time-out of 6 s and 2 s");
}

pub fn hand_over(kafka: &Kafka, rounds: usize, orders: usize) {
    let shops = 60;
    let mut instances = Instances::new(kafka, &SetUp { shops, orders, ..SetUp::default() });
    instances.start(0);
    until("all orders are read", || {
        (1..=shops).all(|shop| instances.marketplace.pending(&format!("shop-{shop}")) == 0)
    });
    instances.wait_for_lanes(&[(0, LANES)]);
    let (mut joins, mut leaves) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let since = clock::now();
        instances.start(1);
        instances.wait_for_lanes(&[(0, LANES / 2), (1, LANES / 2)]);
        let moving = instances.lanes(1);
        joins.extend(read_again(&instances, since, &moving));

        let since = clock::now();
        let mut leaving = instances.running.remove(&1).unwrap();
        leaving.signal(Signal::TERM);
        leaving.expect_exit(0, DEADLINE);
        instances.wait_for_lanes(&[(0, LANES)]);
        leaves.extend(read_again(&instances, since, &moving));
    }
    let tracked = thousands((shops * orders / LANES) as f64);
    let what = |how| format!("hand-over of lanes with {tracked} tracked orders to an instance that {how}, ms");
    row_of(&what("joins"), &mut joins, 1000.0, "p99 ≤ 1,000");
    row_of(&what("is left when one stops"), &mut leaves, 1000.0, "p99 ≤ 1,000");
}

/// Waits until all shops of these lanes are read by their new owner, which has the lanes by now, and tells the longest
/// time between two reads that each of them has seen since then.
fn read_again(instances: &Instances, since: Timestamp, lanes: &[i32]) -> Vec<Duration> {
    let settled = clock::now();
    let mut reads = BTreeMap::new();
    until("all shops are read", || {
        reads = instances.reads();
        reads.retain(|shop, _| lanes.contains(&lane_of_shop(shop)));
        reads.values().all(|times| times.last() > Some(&settled))
    });
    let longest = |times: &Vec<Timestamp>| {
        let pairs = times.windows(2).filter(|pair| pair[1] > since);
        pairs.map(|pair| Duration::try_from(pair[1].duration_since(pair[0])).unwrap()).max().unwrap()
    };
    reads.values().map(longest).collect()
}

/// The lane of the store that sells at a shop of the marketplace.
fn lane_of_shop(shop: &str) -> i32 {
    let store = shop.replace("shop-", "s").parse().unwrap();
    lane_of(&store, i32::try_from(LANES).unwrap())
}

fn row_of(what: &str, figures: &mut [Duration], unit: f64, aim: &str) {
    figures.sort();
    let figure = |share: f64| figures[((figures.len() - 1) as f64 * share).round() as usize].as_secs_f64() * unit;
    let figures = format!("{:.2} / {:.2} / {:.2} of {}", figure(0.5), figure(0.99), figure(1.0), figures.len());
    row(&format!("{what}: p50 / p99 / most of all shops that moved"), &figures, aim);
}
