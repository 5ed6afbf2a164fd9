//! Tests of what becomes of reads that a kill cut off when their lane is another instance's.

use std::collections::BTreeSet;

use imotriz_kafka::sandbox::{Call, Fault, SandboxArgs};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::admin::address;
use super::shared::{Instances, LANES, lanes, many};
use crate::support::scene::RUN_DEADLINE;
use crate::support::{consume, http, wait};

const SHOPS: usize = 12;
const PAGE: usize = 30;

/// What a command says about the first instance's spool, line by line.
fn say(instances: &Instances, arguments: &[&str]) -> Vec<Value> {
    let mut program = instances.settings[0].start(&[&["--json", "spool"], arguments].concat());
    program.expect_exit(0, RUN_DEADLINE);
    program.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn spooled(instances: &Instances, state: &str) -> usize {
    say(instances, &["list"]).iter().filter(|entry| entry["state"] == state).count()
}

/// The sum of a metric over all its series.
fn sum(url: &str, metric: &str) -> f64 {
    let metrics = http::get(&format!("{url}/metrics")).1;
    let series = metrics.lines().filter(|line| line.starts_with(metric));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// An instance that was killed when it had published a page of each shop and was reading the second one, which is the last.
fn killed_in_its_reads(test: &str, args: SandboxArgs) -> Instances {
    let mut instances = Instances::new(test, 2, args);
    for shop in instances.sandbox.market().shops() {
        shop.script(Call::NewOrders, &[None, Some(Fault::Late(RUN_DEADLINE))]).unwrap();
    }
    instances.start(0);
    wait::until("the first pages are published and let go, and the second ones are being read", RUN_DEADLINE, || {
        let market = instances.sandbox.market();
        market.shops().iter().all(|shop| shop.requests().iter().any(|read| read.fault.is_some()))
            && consume::committed(instances.kafka(), &instances.topics.orders).len() == SHOPS * PAGE
            && spooled(&instances, "page") == 0
    });
    instances.running.remove(&0).unwrap().kill9();
    assert_eq!(instances.marked().len(), 2 * SHOPS * PAGE, "the reads that were cut off had marked their orders");
    instances
}

/// Starts the other instance, which finds and publishes what was being read.
fn taken_over(instances: &mut Instances) -> String {
    let second = address(instances.start(1));
    wait::until("the other one has its lanes", RUN_DEADLINE, || lanes(&second).len() == LANES);
    instances.expect_all_published();
    second
}

/// Waits until the first instance has looked into each read.
fn expect_all_possible(instances: &Instances, url: &str) {
    wait::until("each read was looked into", RUN_DEADLINE, || {
        spooled(instances, "unknown") == 0 && sum(url, "imotriz_unaccounted_orders") == 0.0
    });
    assert_eq!(sum(url, "imotriz_unsettled_unknown_reads"), 0.0);
    let entries = say(instances, &["account"]);
    assert_eq!(entries.len(), SHOPS);
    let possible = json!({ "unknown_up_to": PAGE });
    assert!(entries.iter().all(|entry| entry["open"] == possible), "nobody can tell more: {entries:?}");
}

#[test]
fn reads_that_a_kill_cut_off_are_looked_into_while_their_lane_is_anothers_who_is_not_fenced() {
    let mut instances = killed_in_its_reads("audit", many(SHOPS, 2 * PAGE));
    let second = taken_over(&mut instances);
    let first = address(instances.start(0));
    wait::until("the lanes are shared", RUN_DEADLINE, || {
        (lanes(&first).len(), lanes(&second).len()) == (LANES / 2, LANES / 2)
    });
    let theirs: BTreeSet<String> = lanes(&second).into_iter().collect();
    expect_all_possible(&instances, &first);
    assert_eq!(lanes(&second).into_iter().collect::<BTreeSet<_>>(), theirs, "they were its own all the time");

    let entries = say(&instances, &["account"]);
    let read = entries[0]["reads"][0].as_str().unwrap();
    let mut settled = instances.settings[0].start(&["spool", "account", "settle", read]);
    settled.expect_exit(0, RUN_DEADLINE);
    assert_eq!(say(&instances, &["account"]).len(), SHOPS - 1);

    instances.expect_all_published();
    for program in instances.running.values_mut() {
        program.signal(Signal::TERM);
        program.expect_exit(0, RUN_DEADLINE);
        let said = program.output();
        assert!(!said.contains("fenced"), "a lane was taken from its owner: {said}");
    }
}

#[test]
fn orders_that_another_instance_has_found_are_no_certain_loss_when_the_lane_comes_back() {
    // Those that the first instance had published before are too old to be listed: no list names an order that it knew.
    let args = SandboxArgs { older: PAGE, ..many(SHOPS, 2 * PAGE) };
    let mut instances = killed_in_its_reads("back", args);
    taken_over(&mut instances);
    let mut other = instances.running.remove(&1).unwrap();
    other.signal(Signal::TERM);
    other.expect_exit(0, RUN_DEADLINE);
    let first = address(instances.start(0));
    wait::until("it has its lanes again", RUN_DEADLINE, || lanes(&first).len() == LANES);
    expect_all_possible(&instances, &first);
    instances.expect_all_published();
}
