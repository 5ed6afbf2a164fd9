//! How fast instances publish what has gathered on the marketplace.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bare;
use super::instances::{Instances, LANES, SetUp};
use super::measure::thousands;
use super::program::DEADLINE;
use super::{Kafka, http, row};

/// The share of all orders from which and to which the time is taken: neither while instances have just begun, nor while
/// the last shops are left.
const BEGIN: f64 = 0.2;
const END: f64 = 0.9;
/// Pages of each shop.
const PAGES: usize = 3;
const PAGE: usize = 30;

/// What instances have published of a backlog.
struct Published {
    /// Orders a second.
    rate: f64,
    /// Of all orders, by each instance.
    shares: Vec<f64>,
}

pub fn two(kafka: &Kafka, shops: usize) {
    let orders = PAGES * PAGE;
    let measure = |number: usize| {
        // So many requests at a time that they take the marketplace's time and not the machine's.
        let api = "max_in_flight_per_host = 16";
        // More polls than answers would be in the way of the backlog, and few would find it late.
        let poll = Duration::from_millis(15) * u32::try_from(shops).unwrap();
        let set_up = SetUp { instances: number, shops, poll, delay: "200ms", api, ..SetUp::default() };
        let mut instances = ready(kafka, &set_up);
        place(&instances, orders);
        published(&mut instances, shops * orders)
    };
    let (one, two) = (measure(1), measure(2));
    let what = format!("{} shops at 200 ms, 16 requests at a time by each instance", thousands(shops as f64));
    row(&format!("{what}: one publishes, orders/s"), &thousands(one.rate), "");
    row(&format!("{what}: two publish, orders/s"), &thousands(two.rate), "");
    row("two ÷ one", &format!("{:.2}", two.rate / one.rate), "no lane idle");
    let shares: Vec<_> = two.shares.iter().map(|share| format!("{:.1}", share * 100.0)).collect();
    row("what each of the two has published of all orders, %", &shares.join(" + "), "the sum is 100");
}

pub fn catch_up(kafka: &mut Kafka, each: usize) {
    const SHOPS: usize = 60;
    let mut instances = ready(kafka, &SetUp { shops: SHOPS, ..SetUp::default() });
    kafka.pause();
    place(&instances, each);
    kafka.resume();
    let orders = SHOPS * each;
    let published = published(&mut instances, orders);
    let topics = instances.topics.clone();
    // What is left of the machine is the bare producer's and the broker's.
    drop(instances);
    let bare = bare::publish(kafka, &topics);
    let what = format!("{} orders after Kafka was away", thousands(orders as f64));
    row(&format!("{what}: two instances publish, orders/s"), &thousands(published.rate), "");
    row("the same bytes by a bare transactional producer, orders/s", &thousands(bare.rate), "");
    row("instances ÷ bare producer", &format!("{:.2}", published.rate / bare.rate), "≥ 0.7");
    row("key, value and headers of an event, bytes", &thousands(bare.event), "");
    row("key and value of a tracking record, bytes", &thousands(bare.tracking_record), "");
}

/// Instances that share the lanes, and have looked into all shops.
fn ready(kafka: &Kafka, set_up: &SetUp) -> Instances {
    let mut instances = Instances::new(kafka, set_up);
    (0..set_up.instances).for_each(|instance| instances.start(instance));
    let shared: Vec<_> = (0..set_up.instances).map(|instance| (instance, LANES / set_up.instances)).collect();
    instances.wait_for_lanes(&shared);
    super::instances::until("all shops are read", || instances.reads().len() == set_up.shops);
    instances
}

/// Places so many orders in each shop.
fn place(instances: &Instances, each: usize) {
    let url = format!("{}/_sandbox/orders", instances.marketplace.base_url);
    let (status, answer) = http::post(&url, &json!({ "count": each }));
    assert_eq!(status, 200, "{answer}");
}

/// Waits until all of them are published.
fn published(instances: &mut Instances, orders: usize) -> Published {
    let end = Instant::now() + DEADLINE;
    let mut seen = Vec::new();
    loop {
        let running: Vec<usize> = instances.running.keys().copied().collect();
        let statuses: Vec<Value> = running.into_iter().map(|instance| instances.status(instance)).collect();
        let counts: Vec<usize> = statuses.iter().map(count).collect();
        let published: usize = counts.iter().sum();
        seen.push((Instant::now(), published));
        if published >= orders {
            assert_eq!(published, orders, "orders were published twice");
            let committed = |lane: &Value| lane["committed"].as_u64().unwrap();
            let lanes = statuses.iter().flat_map(|status| status["lanes"].as_object().unwrap().values());
            let committed: Vec<u64> = lanes.map(committed).collect();
            assert!(committed.len() == LANES && !committed.contains(&0), "a lane was idle: {committed:?}");
            let shares = counts.iter().map(|count| *count as f64 / orders as f64).collect();
            return Published { rate: rate(&seen, orders), shares };
        }
        assert!(Instant::now() < end, "{orders} orders are not published within {DEADLINE:?}: {statuses:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// What an instance has published.
fn count(status: &Value) -> usize {
    let counts = status["totals"]["published"].as_object().unwrap().values();
    counts.map(|count| usize::try_from(count.as_u64().unwrap()).unwrap()).sum()
}

/// Orders a second.
fn rate(seen: &[(Instant, usize)], orders: usize) -> f64 {
    let reached = |share: f64| seen.iter().find(|(_, seen)| *seen as f64 >= share * orders as f64).unwrap();
    let ((from, begin), (to, end)) = (reached(BEGIN), reached(END));
    (end - begin) as f64 / to.duration_since(*from).as_secs_f64()
}
