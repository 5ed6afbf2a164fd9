//! Tests of `reconcile`: orders that the marketplace marked and never delivered are published, once.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::sandbox::{Call, Fault, SandboxArgs};
use serde_json::Value;

use crate::support::consume::{self, Record};
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene, keys, was_killed};
use crate::support::verdict::Verdict;
use crate::support::{kafka, wait};

const ORDERS: usize = 95;
const PAGE: usize = 30;
const WRONG_LIST: (&str, &str) = ("IMOTRIZ_API__PATHS__ORDER_IDS", "/nowhere");
const WRONG_ORDER: (&str, &str) = ("IMOTRIZ_API__PATHS__ORDER", "/nowhere/{id}");

const NOTHING_MISSING: i32 = 0;
const REPAIRED: i32 = 10;
const NOT_REPAIRED: i32 = 11;
const MISSING: i32 = 12;

/// All orders are marked, and a page of them was lost: the program could not look for it, for it had no list.
fn with_a_lost_page(test: &str) -> (Scene, Vec<OrderId>) {
    let scene = Scene::new(test, SandboxArgs::with_orders(ORDERS));
    scene.script(&[None, Some(Fault::Truncate)]);
    let drained = run_with(&scene, &["drain"], &[WRONG_LIST], 0);
    assert!(drained.stderr().contains("api.paths.order_ids"), "{}", drained.output());
    let events = keys(&scene.events());
    let lost: Vec<OrderId> =
        ids_of_shop(&scene).iter().filter(|id| !events.contains(*id)).map(|id| id.parse().unwrap()).collect();
    assert_eq!(scene.shop().summary().pending, 0);
    assert_eq!((lost.len(), scene.spooled("unknown")), (PAGE, 1));
    (scene, lost)
}

fn run_with(scene: &Scene, arguments: &[&str], variables: &[(&str, &str)], code: i32) -> Program {
    let mut program = scene.settings.start_with(arguments, variables);
    program.expect_exit(code, RUN_DEADLINE);
    program
}

fn calls(scene: &Scene, call: Call) -> u64 {
    scene.shop().summary().requests[&call]
}

fn with_reason<'a>(events: &'a [Record], reason: &str) -> Vec<&'a Record> {
    events.iter().filter(|event| event.header("imotriz-reason") == Some(reason)).collect()
}

fn all_once(scene: &Scene) {
    Verdict::of(ids_of_shop(scene), &scene.events()).assert_clean();
}

fn ids_of_shop(scene: &Scene) -> BTreeSet<String> {
    scene.shop().orders().iter().filter_map(|order| order.id.as_ref().map(OrderId::to_string)).collect()
}

fn summary(program: &Program) -> Value {
    serde_json::from_str(&program.stdout()).unwrap()
}

#[test]
fn pages_that_are_cut_or_dropped_after_marking_are_published_by_the_same_drain() {
    let scene = Scene::new("cut", SandboxArgs::with_orders(ORDERS));
    scene.script(&[None, Some(Fault::Truncate), Some(Fault::DropAfter)]);
    let drained = scene.drain();
    assert_eq!(scene.shop().summary().faults.len(), 2, "both faults struck");
    assert!(drained.stdout().contains("60 orders had been handed over and never arrived"), "{}", drained.output());

    all_once(&scene);
    let events = scene.events();
    assert_eq!(with_reason(&events, "RECONCILED").len(), 2 * PAGE);
    assert_eq!(with_reason(&events, "DRAINED").len(), ORDERS - 2 * PAGE);
    assert_eq!(scene.spool(), Vec::<Value>::new(), "the unknown reads are settled");
    assert_eq!(calls(&scene, Call::Order), 2 * PAGE as u64);
}

#[test]
fn a_marketplace_that_answers_two_calls_a_second_is_waited_for_until_every_order_is_published() {
    let scene = Scene::new("limited", SandboxArgs::with_orders(ORDERS));
    scene.script(&[None, Some(Fault::Truncate), Some(Fault::DropAfter)]);
    run_with(&scene, &["drain"], &[WRONG_LIST], 0);
    scene.shop().set_rate_limit(Some(2));
    let drained = scene.drain();
    assert!(scene.shop().summary().faults.get("throttle") > Some(&0), "the limit was met");
    assert!(
        drained.stdout().contains("60 orders had been handed over and never arrived: 60 fetched by ID and published"),
        "{}",
        drained.output()
    );
    all_once(&scene);
    assert_eq!(scene.spooled("unknown"), 0);
}

#[test]
fn a_drain_that_could_not_fetch_all_that_was_missing_says_how_many_and_ends_with_11() {
    let (scene, _) = with_a_lost_page("unfetched");
    scene.shop().set_fault_rates("order/error-before=1".parse().unwrap());
    let drained = scene.run(&["drain"], NOT_REPAIRED);
    assert!(drained.stdout().contains("0 fetched by ID and published"), "{}", drained.output());
    assert!(drained.stdout().contains("30 orders could not be fetched"), "{}", drained.output());
    assert!(drained.stderr().contains("start `drain` or `reconcile` again"), "{}", drained.output());
    scene.shop().set_fault_rates("".parse().unwrap());
    scene.drain();
    all_once(&scene);
}

#[test]
fn a_list_that_says_that_it_is_not_whole_fails_the_pass_unless_its_pages_can_be_asked_for() {
    let (scene, lost) = with_a_lost_page("pages");
    scene.shop().set_list_page_size(Some(15));
    let reconciled = scene.run(&["reconcile"], 3);
    let told = "the list of order IDs is not whole: it says that there are 95 orders, and names 15";
    assert!(reconciled.stderr().contains(told), "{}", reconciled.output());
    assert!(!reconciled.stdout().contains("nothing is missing"), "{}", reconciled.output());
    assert_eq!(scene.spooled("unknown"), 1, "nothing is settled by it");
    let dry = scene.run(&["reconcile", "--dry-run"], 3);
    assert!(dry.stderr().contains(told), "{}", dry.output());
    let mut doctor = scene.settings.start(&["doctor"]);
    doctor.wait(RUN_DEADLINE);
    assert!(doctor.output().contains("the list of order IDs is not whole"), "{}", doctor.output());

    let wrong = ("IMOTRIZ_API__LIST_PAGE_PARAMETER", "seite");
    let reconciled = run_with(&scene, &["reconcile"], &[wrong], 3);
    assert!(reconciled.stderr().contains("page 2 names no other order"), "{}", reconciled.output());
    let right = ("IMOTRIZ_API__LIST_PAGE_PARAMETER", "page");
    let dry = run_with(&scene, &["reconcile", "--dry-run"], &[right], MISSING);
    assert_eq!(dry.stdout().lines().count(), lost.len());
    run_with(&scene, &["reconcile"], &[right], REPAIRED);
    all_once(&scene);
    assert_eq!(scene.spooled("unknown"), 0);
}

#[test]
fn a_drain_without_an_unknown_read_does_not_reconcile() {
    let scene = Scene::new("plain", SandboxArgs::with_orders(ORDERS));
    scene.drain();
    assert_eq!((calls(&scene, Call::OrderIds), calls(&scene, Call::Order)), (0, 0));
}

#[test]
fn an_unknown_read_that_an_earlier_drain_left_behind_is_settled_by_the_next() {
    let (scene, _) = with_a_lost_page("left");
    scene.drain();
    all_once(&scene);
    assert_eq!(scene.spooled("unknown"), 0);
}

#[test]
fn a_damaged_page_of_an_earlier_run_is_fetched_again() {
    let scene = Scene::new("damaged", SandboxArgs::with_orders(PAGE));
    let mut killed = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "planned")]);
    assert!(was_killed(killed.wait(RUN_DEADLINE)));
    let page = scene.spool().into_iter().find(|entry| entry["state"] == "page").unwrap();
    let path = page["file"].as_str().unwrap();
    let mut bytes = fs::read(path).unwrap();
    // In the text of its frame.
    let text = b"imotriz-spool/2 page";
    let position = bytes.windows(text.len()).position(|part| part == text).unwrap();
    bytes[position] ^= 1;
    fs::write(path, bytes).unwrap();
    scene.drain();
    all_once(&scene);
    assert_eq!(with_reason(&scene.events(), "RECONCILED").len(), PAGE);
}

#[test]
fn orders_that_are_listed_and_pending_are_drained_and_not_taken_for_lost() {
    let scene = Scene::new("pending", SandboxArgs::with_orders(ORDERS));
    let reconciled = scene.run(&["--json", "reconcile"], NOTHING_MISSING);
    assert_eq!(summary(&reconciled)["listed"], ORDERS);
    assert_eq!(summary(&reconciled)["missing"], 0);
    assert_eq!(calls(&scene, Call::Order), 0);
    all_once(&scene);
    assert_eq!(with_reason(&scene.events(), "DRAINED").len(), ORDERS);
}

#[test]
fn the_exit_code_tells_repaired_from_nothing_missing() {
    let (scene, _) = with_a_lost_page("exit");
    let reconciled = scene.run(&["--json", "reconcile"], REPAIRED);
    assert_eq!(summary(&reconciled)["published"], PAGE);
    all_once(&scene);
    assert_eq!(scene.spooled("unknown"), 0);
    scene.run(&["reconcile"], NOTHING_MISSING);
    all_once(&scene);
}

#[test]
fn an_order_that_a_page_brings_while_it_is_fetched_by_its_id_is_not_doubled() {
    let (scene, lost) = with_a_lost_page("both");
    let scene = scene.with("IMOTRIZ_API__POLL_INTERVAL", "50ms");
    let slow = vec![Some(Fault::Late(Duration::from_secs(3))); PAGE];
    scene.shop().script(Call::Order, &slow).unwrap();
    let mut program = scene.settings.start(&["run"]);
    wait::until("the lost orders are asked for", RUN_DEADLINE, || calls(&scene, Call::Order) > 0);
    scene.shop().unsynchronise(&lost).unwrap();
    wait::until("a page has brought them", RUN_DEADLINE, || scene.events().len() == ORDERS);
    assert!(with_reason(&scene.events(), "RECONCILED").is_empty());
    program.wait_for_line("reconciled: orders were missing", RUN_DEADLINE);
    assert!(calls(&scene, Call::Order) >= PAGE as u64);
    program.signal(rustix::process::Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    all_once(&scene);
    assert_eq!(with_reason(&scene.events(), "DRAINED").len(), ORDERS);
}

#[test]
fn a_read_that_was_in_flight_when_the_list_was_taken_does_not_tell_what_is_pending() {
    let scene = Scene::new("flight", SandboxArgs::with_orders(PAGE)).with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    // The second is slow too, so that the orders of its page are still on their way for a reconciler in a hurry.
    scene.script(&[8, 2].map(|seconds| Some(Fault::Late(Duration::from_secs(seconds)))));
    scene.shop().set_fault_rates("order-ids/error-before=1".parse().unwrap());
    let mut program = scene.settings.start(&["run"]);
    wait::until("the slow read has marked its page", RUN_DEADLINE, || calls(&scene, Call::NewOrders) == 1);
    scene.shop().add(3, 0);
    scene.shop().set_fault_rates("".parse().unwrap());
    wait::until("the others are published", RUN_DEADLINE, || {
        calls(&scene, Call::NewOrders) > 1 && published(&scene, PAGE + 3)
    });
    program.signal(rustix::process::Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);

    let requests = scene.shop().requests();
    let list = requests.iter().find(|request| request.kind == Call::OrderIds && request.status == Some(200)).unwrap();
    let second_read = requests.iter().filter(|request| request.kind == Call::NewOrders).nth(1).unwrap();
    assert!(list.number < second_read.number, "the list was taken while the slow read was in flight");
    assert_eq!(calls(&scene, Call::Order), 0);
    all_once(&scene);
}

#[test]
fn a_running_program_reconciles_at_once_after_an_unknown_read() {
    let scene = Scene::new("wake", SandboxArgs::with_orders(PAGE)).with("IMOTRIZ_RECONCILE__INTERVAL", "1h");
    let scene = scene.with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let mut program = scene.settings.start(&["run"]);
    wait::until("the first orders are published", RUN_DEADLINE, || {
        calls(&scene, Call::OrderIds) == 1 && published(&scene, PAGE)
    });
    scene.script(&[Some(Fault::DropAfter)]);
    scene.shop().add(7, 0);
    wait::until("the orders of the dropped page are published", RUN_DEADLINE, || scene.events().len() == PAGE + 7);
    wait::until("the read is settled", RUN_DEADLINE, || scene.spooled("unknown") == 0);
    program.signal(rustix::process::Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    all_once(&scene);
    assert_eq!(with_reason(&scene.events(), "RECONCILED").len(), 7);
}

/// Whether so many events are there. The topics are, once nothing is pending.
fn published(scene: &Scene, events: usize) -> bool {
    scene.shop().summary().pending == 0 && scene.events().len() == events
}

#[test]
fn a_listed_order_that_is_not_found_is_remembered_as_gone_and_never_asked_for_again() {
    let (scene, lost) = with_a_lost_page("gone");
    scene.shop().hide(&lost[..2], Call::Order, true).unwrap();
    let reconciled = scene.run(&["--json", "reconcile"], NOT_REPAIRED);
    let summary = summary(&reconciled);
    assert_eq!((&summary["published"], &summary["gone"]), (&(PAGE - 2).into(), &2.into()));
    let asked = scene.shop().requests().iter().filter(|call| call.status == Some(404)).count();
    assert_eq!(asked, 2 * 4, "each order four times");

    let before = calls(&scene, Call::Order);
    scene.run(&["reconcile"], NOTHING_MISSING);
    assert_eq!(calls(&scene, Call::Order), before);
    let tracked = keys(&consume::committed(kafka(), &scene.topics.tracking));
    assert!(lost[..2].iter().all(|id| tracked.contains(&format!("bogota/{id}"))));

    scene.shop().unsynchronise(&lost[..2]).unwrap();
    scene.drain();
    all_once(&scene);
}

#[test]
fn a_wrong_path_of_orders_is_named_and_no_order_is_taken_for_gone() {
    let (scene, _) = with_a_lost_page("path");
    let reconciled = run_with(&scene, &["reconcile"], &[WRONG_ORDER], NOT_REPAIRED);
    assert!(reconciled.stderr().contains("api.paths.order"), "{}", reconciled.output());
    assert_eq!(scene.spooled("unknown"), 1);
    scene.run(&["reconcile"], REPAIRED);
    all_once(&scene);
}

#[test]
fn a_wrong_path_of_the_list_fails_the_pass_and_leaves_the_unknown_read_noted() {
    let (scene, _) = with_a_lost_page("list");
    let reconciled = run_with(&scene, &["reconcile"], &[WRONG_LIST], 3);
    assert!(reconciled.stderr().contains("api.paths.order_ids"), "{}", reconciled.output());
    assert_eq!(scene.spooled("unknown"), 1);
}

#[test]
fn orders_and_lists_that_fail_at_first_are_asked_for_again() {
    let (scene, _) = with_a_lost_page("retry");
    let faults = [Fault::ErrorBefore, Fault::DropBefore, Fault::Truncate, Fault::Html, Fault::Throttle(Duration::ZERO)];
    scene.shop().script(Call::OrderIds, &[Some(Fault::ErrorBefore), Some(Fault::Truncate), Some(Fault::Html)]).unwrap();
    scene.shop().script(Call::Order, &faults.map(Some)).unwrap();
    scene.run(&["reconcile"], REPAIRED);
    assert_eq!(scene.shop().summary().scripted, 0, "all faults struck");
    all_once(&scene);
}

#[test]
fn an_order_that_always_fails_keeps_the_unknown_read_noted_and_is_found_by_the_next_pass() {
    let (scene, _) = with_a_lost_page("fails");
    scene.shop().set_fault_rates("order/error-before=1".parse().unwrap());
    let reconciled = scene.run(&["reconcile"], NOT_REPAIRED);
    assert!(reconciled.stdout().contains("30 could not be fetched"), "{}", reconciled.output());
    assert_eq!(scene.spooled("unknown"), 1);
    scene.shop().set_fault_rates("".parse().unwrap());
    scene.run(&["reconcile"], REPAIRED);
    all_once(&scene);
}

#[test]
fn a_dry_run_prints_the_missing_orders_and_changes_nothing() {
    let (scene, lost) = with_a_lost_page("dry");
    let (reads, spool) = (calls(&scene, Call::NewOrders), scene.spool());
    let tracked = consume::uncommitted(kafka(), &scene.topics.tracking).len();
    let dry = scene.run(&["reconcile", "--dry-run"], MISSING);
    let printed: BTreeSet<String> = dry.stdout().lines().map(str::to_owned).collect();
    assert_eq!(printed, lost.iter().map(OrderId::to_string).collect());
    let dry = scene.run(&["--json", "reconcile", "--dry-run"], MISSING);
    let first: Value = serde_json::from_str(dry.stdout().lines().next().unwrap()).unwrap();
    assert_eq!((&first["store"], &first["order_id"]), (&"bogota".into(), &lost[0].as_str().into()));

    assert_eq!((calls(&scene, Call::NewOrders), calls(&scene, Call::Order)), (reads, 0));
    assert_eq!(scene.spool(), spool);
    assert_eq!(consume::uncommitted(kafka(), &scene.topics.tracking).len(), tracked);

    scene.run(&["reconcile"], REPAIRED);
    assert_eq!(scene.run(&["reconcile", "--dry-run"], NOTHING_MISSING).stdout(), "");
}

#[test]
fn a_dry_run_without_a_tracking_topic_says_so_and_calls_nothing_missing() {
    let scene = Scene::new("untracked", SandboxArgs::with_orders(3));
    let dry = scene.run(&["reconcile", "--dry-run"], 4);
    assert_eq!(dry.stdout(), "");
}

#[test]
fn a_list_that_lacks_orders_harms_nothing() {
    let (scene, lost) = with_a_lost_page("short");
    let published: Vec<OrderId> = keys(&scene.events()).iter().take(9).map(|id| id.parse().unwrap()).collect();
    scene.shop().hide(&published, Call::OrderIds, true).unwrap();
    scene.shop().hide(&lost[..5], Call::OrderIds, true).unwrap();
    let short = scene.run(&["--json", "reconcile"], NOT_REPAIRED);
    assert_eq!(summary(&short)["unaccounted"], 5, "the account knows that they are missing");
    assert_eq!(scene.events().len(), ORDERS - 5);
    scene.shop().hide(&lost[..5], Call::OrderIds, false).unwrap();
    scene.run(&["reconcile"], REPAIRED);
    all_once(&scene);
}

#[test]
fn a_program_that_is_killed_in_mid_reconcile_doubles_nothing() {
    let scene = Scene::new("midway", SandboxArgs::with_orders(400));
    scene.script(&[Some(Fault::Truncate); 5]);
    run_with(&scene, &["drain"], &[WRONG_LIST], 0);
    let drained = scene.events().len();
    scene.shop().set_fault_rates("order/late:30ms=1".parse().unwrap());
    let mut killed = 0;
    for place in ["begun:2", "delivered:2", "committed:2"] {
        let mut program = scene.settings.start_with(&["reconcile"], &[("IMOTRIZ_TEST_KILL_AT", place)]);
        killed += usize::from(was_killed(program.wait(RUN_DEADLINE)));
    }
    assert_eq!(killed, 3, "each kill hit");
    let so_far = scene.events();
    assert!(so_far.len() > drained && so_far.len() < 400, "{drained} of {}", so_far.len());
    scene.run(&["reconcile"], REPAIRED);
    all_once(&scene);
}
