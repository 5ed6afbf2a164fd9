//! Tests of what becomes of reads that a kill cut off when their lane is another instance's.

use std::collections::BTreeSet;

use imotriz_kafka::sandbox::{Call, Fault};
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

#[test]
fn reads_that_a_kill_cut_off_are_looked_into_while_their_lane_is_anothers_who_is_not_fenced() {
    let mut instances = Instances::new("audit", 2, many(SHOPS, 2 * PAGE));
    for shop in instances.sandbox.market().shops() {
        shop.script(Call::NewOrders, &[None, Some(Fault::Late(RUN_DEADLINE))]).unwrap();
    }
    instances.start(0);
    wait::until(
        "the first page of each shop is published and let go, and the second one is being read",
        RUN_DEADLINE,
        || {
            let market = instances.sandbox.market();
            market.shops().iter().all(|shop| shop.requests().iter().any(|read| read.fault.is_some()))
                && consume::committed(instances.kafka(), &instances.topics.orders).len() == SHOPS * PAGE
                && spooled(&instances, "page") == 0
        },
    );
    instances.running.remove(&0).unwrap().kill9();
    assert_eq!(instances.marked().len(), 2 * SHOPS * PAGE, "the reads that were cut off had marked their orders");

    let second = address(instances.start(1));
    wait::until("the other one has its lanes", RUN_DEADLINE, || lanes(&second).len() == LANES);
    instances.expect_all_published();
    let first = address(instances.start(0));
    wait::until("the lanes are shared", RUN_DEADLINE, || {
        (lanes(&first).len(), lanes(&second).len()) == (LANES / 2, LANES / 2)
    });
    let theirs: BTreeSet<String> = lanes(&second).into_iter().collect();
    wait::until("each read was looked into", RUN_DEADLINE, || {
        spooled(&instances, "unknown") == 0 && sum(&first, "imotriz_unaccounted_orders") == 0.0
    });
    assert_eq!(sum(&first, "imotriz_unsettled_unknown_reads"), 0.0);
    let entries = say(&instances, &["account"]);
    assert_eq!(entries.len(), SHOPS);
    let possible = json!({ "unknown_up_to": PAGE });
    assert!(entries.iter().all(|entry| entry["open"] == possible), "nobody can tell more: {entries:?}");
    assert_eq!(lanes(&second).into_iter().collect::<BTreeSet<_>>(), theirs, "they were its own all the time");

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
