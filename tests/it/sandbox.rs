//! Tests of the sandbox as a process that is killed.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::program::{Program, Settings};
use crate::support::scene::{RUN_DEADLINE, keys};
use crate::support::topics::Topics;
use crate::support::{consume, http, kafka, port, wait};

const ORDERS: usize = 300;

fn start(settings: &Settings, listen: &str, state: &Path, delay: &str) -> Program {
    let (orders, state) = (ORDERS.to_string(), state.display().to_string());
    let arguments = ["sandbox", "--listen", listen, "--orders", &orders, "--delay", delay, "--state", &state];
    let mut sandbox = settings.start(&arguments);
    sandbox.wait_for_line("sandbox with 300 orders", RUN_DEADLINE);
    sandbox
}

fn pending(listen: &str) -> usize {
    let state: Value = serde_json::from_str(&http::get(&format!("http://{listen}/_sandbox/state")).1).unwrap();
    state["pending"].as_u64().unwrap() as usize
}

#[test]
fn a_sandbox_that_is_killed_in_the_middle_of_a_drain_hands_out_nothing_again_and_loses_nothing() {
    let listen = format!("127.0.0.1:{}", port::free());
    let topics = Topics::unique("killed-sandbox");
    let settings =
        Settings::new(kafka(), &topics).with_store("bogota", &format!("http://{listen}"), "sandbox-token", "CO");
    let state = settings.directory().join("shop.jsonl");
    // So long that the kill comes before the last page.
    let mut sandbox = start(&settings, &listen, &state, "1s");
    let mut drain = settings.start(&["drain"]);
    wait::until("the drain is under way", RUN_DEADLINE, || pending(&listen) < ORDERS);
    sandbox.kill9();
    drain.kill9();

    let _sandbox = start(&settings, &listen, &state, "0s");
    let left = pending(&listen);
    assert!(0 < left && left < ORDERS, "{left} are left: the kill came too late, or nothing was remembered");
    settings.start(&["drain"]).expect_exit(0, RUN_DEADLINE);
    let events = consume::committed(kafka(), &topics.orders);
    assert_eq!((events.len(), keys(&events).len()), (ORDERS, ORDERS));
}

#[test]
fn shops_of_a_sandbox_that_is_killed_in_the_middle_of_a_drain_each_go_on_where_they_were() {
    const SHOPS: usize = 3;
    let listen = format!("127.0.0.1:{}", port::free());
    let topics = Topics::unique("killed-sandbox-shops");
    let settings = (1..=SHOPS).fold(Settings::new(kafka(), &topics), |settings, shop| {
        settings.with_store(&format!("shop{shop}"), &format!("http://{listen}"), &format!("shop-{shop}"), "CO")
    });
    let start = |delay| {
        let (shops, state) = (SHOPS.to_string(), settings.directory().join("shops.jsonl").display().to_string());
        let arguments = ["sandbox", "--listen", &listen, "--shops", &shops, "--orders", "90", "--delay", delay];
        let mut sandbox = settings.start(&[&arguments[..], &["--state", &state]].concat());
        sandbox.wait_for_line("sandbox with 3 shops and 270 orders", RUN_DEADLINE);
        sandbox
    };
    let mut sandbox = start("1s");
    let mut drain = settings.start(&["drain"]);
    wait::until("the drain is under way", RUN_DEADLINE, || pending(&listen) < SHOPS * 90);
    sandbox.kill9();
    drain.kill9();

    let _sandbox = start("0s");
    let left = pending(&listen);
    assert!(0 < left && left < SHOPS * 90, "{left} are left: the kill came too late, or nothing was remembered");
    settings.start(&["drain"]).expect_exit(0, RUN_DEADLINE);
    let events = consume::committed(kafka(), &topics.orders);
    assert_eq!((events.len(), keys(&events).len()), (SHOPS * 90, SHOPS * 90));
}

#[test]
fn two_sandboxes_never_share_a_state_file() {
    let settings = Settings::of([]);
    let state = settings.directory().join("shop.jsonl");
    let listen = || format!("127.0.0.1:{}", port::free());
    let _first = start(&settings, &listen(), &state, "0s");
    let state = state.display().to_string();
    let mut second = settings.start(&["sandbox", "--listen", &listen(), "--state", &state]);
    second.expect_exit(2, Duration::from_secs(20));
    assert!(second.stderr().contains("another sandbox keeps its state"), "{}", second.output());
}
