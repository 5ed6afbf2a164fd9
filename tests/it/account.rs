//! Tests of the account of losses: how many orders a cut read marked, how many were found since, and what a person has
//! to do about the rest.

use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::sandbox::{Call, Fault, SandboxArgs};
use serde_json::{Value, json};

use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene, keys, was_killed};
use crate::support::verdict::Verdict;
use crate::support::wait;

const PAGE: usize = 30;
const NOTHING_MISSING: i32 = 0;
const REPAIRED: i32 = 10;
const NOT_REPAIRED: i32 = 11;
const FINDING: i32 = 7;
const WRONG_LIST: (&str, &str) = ("IMOTRIZ_API__PATHS__ORDER_IDS", "/nowhere");

/// A shop with more than two pages of orders that are too old for the list, and a few that are not.
fn old_shop(test: &str) -> Scene {
    Scene::new(test, SandboxArgs { older: 65, ..SandboxArgs::with_orders(70) })
}

/// The second page of old orders was marked and lost.
fn with_a_lost_old_page(test: &str) -> (Scene, Vec<OrderId>) {
    let scene = old_shop(test);
    scene.script(&[None, Some(Fault::DropAfter)]);
    let drained = scene.drain();
    assert!(drained.stdout().contains("at least 30 orders handed over"), "{}", drained.output());
    assert!(drained.stderr().contains("un-synchronise by hand"), "{}", drained.output());
    let lost = lost(&scene);
    assert_eq!((lost.len(), scene.spooled("unknown")), (PAGE, 0));
    (scene, lost)
}

fn lost(scene: &Scene) -> Vec<OrderId> {
    let events = keys(&scene.events());
    scene.shop().orders().into_iter().filter_map(|order| order.id).filter(|id| !events.contains(id.as_str())).collect()
}

fn run_with(scene: &Scene, arguments: &[&str], variable: (&str, &str)) -> Program {
    let mut program = scene.settings.start_with(arguments, &[variable]);
    program.wait(RUN_DEADLINE);
    program
}

/// What `spool account` shows.
fn account(scene: &Scene, code: i32) -> Vec<Value> {
    let shown = scene.run(&["--json", "spool", "account"], code);
    shown.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn only(scene: &Scene, code: i32) -> Value {
    let mut entries = account(scene, code);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

fn reconcile(scene: &Scene, code: i32) -> Value {
    serde_json::from_str(&scene.run(&["--json", "reconcile"], code).stdout()).unwrap()
}

fn all_once(scene: &Scene) {
    let shop = scene.shop().orders().into_iter().filter_map(|order| order.id).map(|id| id.to_string());
    Verdict::of(shop, &scene.events()).assert_clean();
}

#[test]
fn a_page_cut_after_marking_is_on_the_account_and_is_ticked_off_by_the_reconciler() {
    let scene = Scene::new("ticked", SandboxArgs::with_orders(95));
    scene.script(&[None, Some(Fault::Truncate)]);
    run_with(&scene, &["drain"], WRONG_LIST);
    assert_eq!(scene.shop().summary().faults.len(), 1, "the fault struck");
    let entry = only(&scene, 0);
    assert_eq!(entry["marked"], json!({ "at_least": 30, "at_most": 30, "counted": true }));
    assert_eq!((&entry["found"], &entry["open"]), (&0.into(), &"not_looked_for".into()));
    assert!((190..=192).contains(&entry["hours_left"].as_u64().unwrap()), "{entry}");
    assert_eq!(reconcile(&scene, REPAIRED)["unaccounted"], 0);
    assert_eq!(account(&scene, 0), Vec::<Value>::new());
    all_once(&scene);
}

#[test]
fn orders_older_than_the_list_stay_on_the_account_until_they_are_unsynchronised_by_hand_and_drained() {
    let (scene, lost) = with_a_lost_old_page("aged");
    let entry = only(&scene, FINDING);
    assert_eq!((&entry["store"], &entry["open"]), (&"bogota".into(), &json!({ "at_least": 30 })));
    let summary = reconcile(&scene, NOT_REPAIRED);
    assert_eq!((&summary["missing"], &summary["unaccounted"]), (&0.into(), &30.into()));

    scene.shop().unsynchronise(&lost[..12]).unwrap();
    scene.drain();
    assert_eq!(only(&scene, FINDING)["open"], json!({ "at_least": 18 }));
    scene.shop().unsynchronise(&lost[12..]).unwrap();
    // An order that was published before does not stand for one that was lost, nor does a new one.
    scene.shop().add(3, 0);
    scene.drain();
    assert_eq!(account(&scene, 0), Vec::<Value>::new());
    assert_eq!(reconcile(&scene, NOTHING_MISSING)["unaccounted"], 0);
    all_once(&scene);
}

#[test]
fn new_orders_and_orders_that_come_again_do_not_stand_for_lost_ones() {
    let (scene, lost) = with_a_lost_old_page("others");
    let published = keys(&scene.events()).iter().take(9).map(|id| id.parse().unwrap()).collect::<Vec<OrderId>>();
    assert!(published.iter().all(|id| !lost.contains(id)));
    scene.shop().unsynchronise(&published).unwrap();
    scene.shop().add(4, 0);
    scene.drain();
    assert_eq!(only(&scene, FINDING)["open"], json!({ "at_least": 30 }));
}

#[test]
fn a_page_that_is_replayed_after_a_kill_ticks_its_orders_off_once() {
    for place in ["committed", "released"] {
        let (scene, lost) = with_a_lost_old_page(place);
        scene.shop().unsynchronise(&lost[..10]).unwrap();
        let mut killed = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", place)]);
        assert!(was_killed(killed.wait(RUN_DEADLINE)));
        scene.drain();
        assert_eq!(only(&scene, FINDING)["open"], json!({ "at_least": 20 }), "killed where it had {place}");
    }
}

#[test]
fn what_a_killed_pass_has_published_is_ticked_off_by_the_next() {
    let scene = Scene::new("tickoff", SandboxArgs::with_orders(95));
    scene.script(&[None, Some(Fault::Truncate)]);
    run_with(&scene, &["drain"], WRONG_LIST);
    let mut killed = scene.settings.start_with(&["reconcile"], &[("IMOTRIZ_TEST_KILL_AT", "committed:2")]);
    assert!(was_killed(killed.wait(RUN_DEADLINE)));
    all_once(&scene);
    assert_eq!(only(&scene, 0)["found"], 0, "it could not tell");
    assert_eq!(reconcile(&scene, NOTHING_MISSING)["unaccounted"], 0);
    assert_eq!(account(&scene, 0), Vec::<Value>::new());
}

#[test]
fn the_first_read_of_all_loses_an_unknown_number() {
    let scene = old_shop("first");
    scene.script(&[Some(Fault::DropAfter)]);
    let drained = scene.drain();
    assert!(
        drained
            .stdout()
            .contains("1 read without an answer may have marked orders that are too old to be listed, 30 at most"),
        "{}",
        drained.output()
    );
    let entry = only(&scene, 0);
    assert_eq!((&entry["marked"]["counted"], &entry["open"]), (&false.into(), &json!({ "unknown_up_to": 30 })));
    let table = scene.run(&["spool", "account"], 0).stdout();
    assert!(table.contains("possibly some, at most 30") && table.contains("The entry goes by itself"), "{table}");
    let summary = reconcile(&scene, NOTHING_MISSING);
    assert_eq!((&summary["unaccounted_reads"], &summary["possibly_unaccounted"]), (&1.into(), &30.into()));

    let read = entry["reads"][0].as_str().unwrap();
    scene.run(&["spool", "account", "settle", read], 0);
    assert_eq!(account(&scene, 0), Vec::<Value>::new());
    reconcile(&scene, NOTHING_MISSING);
    assert_eq!(account(&scene, 0), Vec::<Value>::new());
    scene.run(&["spool", "account", "settle", read], 2);
    scene.run(&["spool", "account", "settle", "that one"], 2);
}

#[test]
fn a_first_drain_whose_first_reads_end_with_a_captcha_page_is_content_once_list_and_topic_are_equal() {
    let scene = Scene::new("captcha", SandboxArgs::with_orders(95));
    scene.script(&[Some(Fault::Html); 5]);
    let drained = scene.drain();
    assert_eq!(scene.shop().summary().faults.get("html"), Some(&5), "the faults struck");
    all_once(&scene);
    for certain in ["un-synchronise by hand", "at least"] {
        assert!(!drained.output().contains(certain), "{}", drained.output());
    }
    let entries = account(&scene, 0);
    assert!(entries.iter().all(|entry| entry["lapses_at"].is_string()), "{entries:?}");
    let summary = reconcile(&scene, NOTHING_MISSING);
    assert_eq!((&summary["missing"], &summary["unaccounted"]), (&0.into(), &0.into()));
}

#[test]
fn orders_that_were_published_before_a_read_marked_them_again_are_not_unaccounted() {
    let scene = Scene::new("again", SandboxArgs::with_orders(95));
    scene.drain();
    // The marketplace hands all of them over once more, and one page of them is lost.
    let ids: Vec<OrderId> = scene.shop().orders().into_iter().filter_map(|order| order.id).collect();
    scene.shop().unsynchronise(&ids).unwrap();
    scene.script(&[None, Some(Fault::DropAfter)]);
    let drained = scene.drain();
    assert_eq!(scene.shop().summary().faults.len(), 1, "the fault struck");
    assert_eq!(keys(&scene.events()).len(), 95);
    assert!(!drained.output().contains("un-synchronise by hand"), "{}", drained.output());
    let entry = only(&scene, 0);
    assert_eq!(entry["marked"], json!({ "at_least": 30, "at_most": 30, "counted": true }));
    assert_eq!(entry["open"], json!({ "unknown_up_to": 30 }));
    assert_eq!(reconcile(&scene, NOTHING_MISSING)["unaccounted"], 0);
}

#[test]
fn a_program_that_is_killed_while_nothing_is_pending_raises_no_alarm() {
    let scene = Scene::new("idle", SandboxArgs::with_orders(PAGE + 5)).with("IMOTRIZ_API__POLL_INTERVAL", "50ms");
    let mut program = scene.settings.start(&["run"]);
    wait::until("it has polled in vain", RUN_DEADLINE, || scene.reads().len() > 4);
    program.signal(rustix::process::Signal::KILL);
    assert!(was_killed(program.wait(RUN_DEADLINE)));
    let lists = || scene.shop().summary().requests[&Call::OrderIds];
    let before = lists();
    let drained = scene.drain();
    assert!(lists() > before, "what the last poll may have marked is looked for");
    assert!(drained.stderr().contains("the program did not end well the last time"), "{}", drained.output());
    assert_eq!(account(&scene, 0), Vec::<Value>::new());
    assert_eq!(reconcile(&scene, NOTHING_MISSING)["unaccounted_reads"], 0);
    all_once(&scene);
}

#[test]
fn a_running_program_settles_what_a_person_says_is_settled() {
    let (scene, _) = with_a_lost_old_page("byhand");
    let scene = scene.with("IMOTRIZ_RECONCILE__INTERVAL", "1s").with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let mut program = scene.settings.start(&["run"]);
    program.wait_for_line("un-synchronise by hand", RUN_DEADLINE);
    let read = only(&scene, FINDING)["reads"][0].as_str().unwrap().to_owned();
    scene.run(&["spool", "account", "settle", &read], 0);
    wait::until("the wish is granted", RUN_DEADLINE, || {
        let files = std::fs::read_dir(scene.settings.directory().join("spool")).unwrap();
        !files.flatten().any(|file| file.path().extension().is_some_and(|extension| extension == "settled"))
    });
    program.signal(rustix::process::Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    assert_eq!(account(&scene, 0), Vec::<Value>::new());
}
