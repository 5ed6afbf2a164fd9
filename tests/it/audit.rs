//! Tests of what becomes of reads that a kill cut off when their lane is another instance's.

use std::collections::BTreeSet;

use imotriz_kafka::sandbox::{Call, Fault, SandboxArgs};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::admin::address;
use super::shared::{Instances, LANES, lanes, many};
use crate::support::metrics::sum;
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

/// An instance that was killed when it had published a page of each shop and was reading the second one, which is the last.
fn killed_in_its_reads(test: &str, args: SandboxArgs) -> Instances {
    let mut instances = Instances::new(test, 2, args);
    let settings = instances.settings.drain(..).map(|settings| settings.with("IMOTRIZ_RECONCILE__INTERVAL", "3s"));
    instances.settings = settings.collect();
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

/// Starts the other instance, which takes the lanes over.
fn taken_over(instances: &mut Instances) -> String {
    let second = address(instances.start(1));
    wait::until("the other one has its lanes", RUN_DEADLINE, || lanes(&second).len() == LANES);
    second
}

/// How many stores are in the lanes that an instance has.
fn stores(url: &str) -> usize {
    let status: Value = serde_json::from_str(&http::get(&format!("{url}/status")).1).unwrap();
    let lanes = status["lanes"].as_object().unwrap().values();
    lanes.map(|lane| lane["stores"].as_u64().unwrap() as usize).sum()
}

/// Waits until the first instance has looked into each read, and knows of so many no more than that they may have marked
/// older orders.
fn expect_possible(instances: &Instances, url: &str, reads: usize) {
    wait::until("each read was looked into", RUN_DEADLINE, || {
        spooled(instances, "unknown") == 0 && sum(url, "imotriz_unaccounted_orders") == 0.0
    });
    assert_eq!(sum(url, "imotriz_unsettled_unknown_reads"), 0.0);
    let entries = say(instances, &["account"]);
    assert_eq!(entries.len(), reads, "{entries:?}");
    let possible = json!({ "unknown_up_to": PAGE });
    assert!(entries.iter().all(|entry| entry["open"] == possible), "nobody can tell more: {entries:?}");
}

#[test]
fn reads_that_a_kill_cut_off_are_looked_into_while_their_lane_is_anothers_who_is_not_fenced() {
    let mut instances = killed_in_its_reads("audit", many(SHOPS, 2 * PAGE));
    let shops = instances.sandbox.market().shops().to_vec();
    // What the reads had marked is listed, and can't be fetched for now.
    shops.iter().for_each(|shop| shop.script(Call::Order, &[Some(Fault::ErrorBefore); 100_000]).unwrap());
    let second = taken_over(&mut instances);
    let first = address(instances.start(0));
    wait::until("the lanes are shared", RUN_DEADLINE, || {
        (lanes(&first).len(), lanes(&second).len()) == (LANES / 2, LANES / 2)
    });
    instances.running.get_mut(&0).unwrap().wait_for_line("listed orders are still not published", RUN_DEADLINE);
    assert_eq!(spooled(&instances, "unknown"), SHOPS, "a read was settled whose orders are missing");
    shops.iter().for_each(|shop| shop.clear_scripts());
    instances.expect_all_published();
    let theirs: BTreeSet<String> = lanes(&second).into_iter().collect();
    // Of its own lanes it found by itself what the reads had marked.
    expect_possible(&instances, &first, stores(&second));
    assert_eq!(lanes(&second).into_iter().collect::<BTreeSet<_>>(), theirs, "they were its own all the time");

    let entries = say(&instances, &["account"]);
    let read = entries[0]["reads"][0].as_str().unwrap();
    let mut settled = instances.settings[0].start(&["spool", "account", "settle", read]);
    settled.expect_exit(0, RUN_DEADLINE);
    assert_eq!(say(&instances, &["account"]).len(), entries.len() - 1);

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
    instances.expect_all_published();
    let mut other = instances.running.remove(&1).unwrap();
    other.signal(Signal::TERM);
    other.expect_exit(0, RUN_DEADLINE);
    let first = address(instances.start(0));
    wait::until("it has its lanes again", RUN_DEADLINE, || lanes(&first).len() == LANES);
    expect_possible(&instances, &first, SHOPS);
    instances.expect_all_published();
}
