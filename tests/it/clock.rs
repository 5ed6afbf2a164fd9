//! Tests of a clock that is days ahead or behind, from one start to the next and while the program runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::platform::clock;
use imotriz_kafka::sandbox::{Call, SandboxArgs};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::scene::{RUN_DEADLINE, Scene, ids_of, keys, was_killed};
use crate::support::verdict::Verdict;
use crate::support::wait;

const VARIABLE: &str = "IMOTRIZ_TEST_CLOCK_OFFSET";
const WRONG_LIST: (&str, &str) = ("IMOTRIZ_API__PATHS__ORDER_IDS", "/nowhere");

/// How many events say that they were read so many days from now, give or take an hour.
fn read_days_from_now(scene: &Scene, days: i64) -> usize {
    let then = clock::now() + SignedDuration::from_hours(24 * days);
    let read_at = |event: &str| event.parse::<Timestamp>().unwrap();
    let events = scene.events();
    let times = events.iter().map(|event| read_at(event.header("ce_time").unwrap()));
    times.filter(|time| time.duration_since(then).abs() < SignedDuration::from_hours(1)).count()
}

fn ids_of_shop(scene: &Scene) -> BTreeSet<String> {
    scene.shop().orders().iter().filter_map(|order| order.id.as_ref().map(OrderId::to_string)).collect()
}

fn kill(scene: &Scene, arguments: &[&str], place: &str, variables: &[(&str, &str)]) {
    let variables = [variables, &[("IMOTRIZ_TEST_KILL_AT", place)]].concat();
    let mut program = scene.settings.start_with(arguments, &variables);
    let status = program.wait(RUN_DEADLINE);
    assert!(was_killed(status), "it was not killed at {place}, but {status}\n{}", program.output());
}

fn run(scene: &Scene, arguments: &[&str], variables: &[(&str, &str)], code: i32) {
    scene.settings.start_with(arguments, variables).expect_exit(code, RUN_DEADLINE);
}

/// What is missing, as the account has it.
fn open(scene: &Scene, moved: (&str, &str), code: i32) -> Vec<Value> {
    let mut shown = scene.settings.start_with(&["--json", "spool", "account"], &[moved]);
    shown.expect_exit(code, RUN_DEADLINE);
    shown.stdout().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["open"].clone()).collect()
}

/// The seller asks for orders again that were published under one clock and under the other.
fn ask_again(scene: &Scene, wishes: &mut Vec<String>) {
    let events = keys(&scene.events());
    let again: Vec<OrderId> = events.iter().step_by(7).map(|id| id.parse().unwrap()).collect();
    scene.shop().unsynchronise(&again).unwrap();
    wishes.extend(again.iter().map(OrderId::to_string));
}

/// The second of three pages is lost under a clock that is right: 5 of its orders are too old for the list, and 5 new
/// ones come in that moment, so that the counts alone don't tell of the old ones. Drain, reconciler and what is killed of
/// them follow under a clock that is so many days off, and then under the right one again.
fn a_life_with_a_clock_that_is_off_by(days: i64) {
    let scene = Scene::new("clock", SandboxArgs { older: 35, ..SandboxArgs::with_orders(65) });
    let offset = format!("{days}d");
    let moved = (VARIABLE, offset.as_str());
    kill(&scene, &["drain"], "fetched:2", &[]);
    scene.shop().add(5, 0);
    // The last page is what is left to read: no other read is in flight.
    kill(&scene, &["drain"], "committed", &[moved, WRONG_LIST]);
    run(&scene, &["drain"], &[moved, WRONG_LIST], 0);
    kill(&scene, &["reconcile"], "committed:2", &[moved]);
    run(&scene, &["reconcile"], &[moved], 0);
    assert!(read_days_from_now(&scene, 0) > 0 && read_days_from_now(&scene, days) >= 25, "the clock was not moved");

    let events = keys(&scene.events());
    let lost: Vec<OrderId> =
        ids_of_shop(&scene).iter().filter(|id| !events.contains(*id)).map(|id| id.parse().unwrap()).collect();
    assert_eq!(lost.len(), 5, "the old ones of the page that was lost");
    assert!(lost.iter().all(|id| ids_of(&scene.reads()[1]).contains(&id.to_string())));
    // By this clock nobody can tell whether the list was taken in time.
    assert_eq!(open(&scene, moved, 0), [json!({ "unknown_up_to": 5 })]);

    let mut wishes = Vec::new();
    ask_again(&scene, &mut wishes);
    run(&scene, &["drain"], &[moved], 0);
    ask_again(&scene, &mut wishes);
    scene.shop().unsynchronise(&lost).unwrap();
    scene.drain();
    assert_eq!(open(&scene, ("TZ", "UTC"), 0), [] as [Value; 0], "a person has brought them back");
    Verdict::of(ids_of_shop(&scene).into_iter().chain(wishes), &scene.events()).assert_clean();
    assert_eq!(scene.spool().len(), 0);
}

#[test]
fn a_clock_that_is_8_days_ahead_loses_and_doubles_nothing_and_makes_the_account_no_surer() {
    a_life_with_a_clock_that_is_off_by(8);
}

#[test]
fn a_clock_that_is_8_days_behind_loses_and_doubles_nothing_and_makes_the_account_no_surer() {
    a_life_with_a_clock_that_is_off_by(-8);
}

/// What a running program goes by.
struct Clock(PathBuf);

impl Clock {
    fn set(&self, offset: &str) {
        let new = self.0.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

#[test]
fn a_clock_that_is_set_under_a_running_program_holds_up_neither_reads_nor_passes() {
    let scene = Scene::new("clock-set", SandboxArgs { page_size: 10, ..SandboxArgs::with_orders(30) });
    let clock = Clock(scene.settings.directory().join("clock"));
    clock.set("0d");
    let scene = scene
        .with(VARIABLE, clock.0.to_str().unwrap())
        .with("IMOTRIZ_API__POLL_INTERVAL", "100ms")
        .with("IMOTRIZ_RECONCILE__INTERVAL", "1s");
    let passes = || scene.shop().summary().requests[&Call::OrderIds];
    let mut program = scene.settings.start(&["run"]);
    let mut wishes = Vec::new();
    let mut expected = 30;
    wait::until("all is published", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    for (offset, days) in [("8d", 8), ("-8d", -8), ("0d", 0)] {
        clock.set(offset);
        let before = passes();
        scene.shop().add(10, 0);
        ask_again(&scene, &mut wishes);
        expected += 10;
        wait::until("all is published", RUN_DEADLINE, || scene.events().len() == expected + wishes.len());
        wait::until("passes go on", RUN_DEADLINE, || passes() > before + 1);
        assert!(read_days_from_now(&scene, days) >= 10, "the clock was not set to {offset}");
    }
    program.signal(Signal::TERM);
    program.expect_exit(0, Duration::from_secs(20));
    Verdict::of(ids_of_shop(&scene).into_iter().chain(wishes), &scene.events()).assert_clean();
    assert_eq!(scene.spool().len(), 0);
}
