//! Tests of orders that are published again or forgotten: because they changed, because an operator asks for it, or
//! because retention is over. Also of a late page, whose orders must not be published again.

use std::time::Duration;

use bytes::Bytes;
use imotriz_kafka::avro::contract::ORDER_TRACKING;
use imotriz_kafka::avro::event::{ContentHash, Reason, Revision};
use imotriz_kafka::avro::tracking::{OrderState, OrderTracking};
use imotriz_kafka::order::ids::{OrderId, ReadId, StoreName};
use imotriz_kafka::platform::clock;
use imotriz_kafka::sandbox::{Call, Change, Fault, SandboxArgs};
use imotriz_kafka::spool::{Spool, SpoolOptions};
use jiff::{Timestamp, ToSpan as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::consume::{self, Record};
use crate::support::http::block_on;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::{kafka, python, wait};

/// The reason of each event of an order, in their order.
fn reasons(events: &[Record], id: &OrderId) -> Vec<String> {
    let of_order = events.iter().filter(|event| event.key.as_deref() == Some(id.as_str()));
    of_order.map(|event| event.header("imotriz-reason").unwrap().to_owned()).collect()
}

fn pay(scene: &Scene, id: &OrderId) {
    scene.shop().change(id, Change { status: Some("pagado".to_owned()), total: Some(json!("77.25")) }).unwrap();
}

fn summary(scene: &Scene, arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&scene.run(arguments, code).stdout()).unwrap()
}

#[test]
fn an_order_that_changed_is_published_as_its_next_revision_and_the_others_are_not() {
    let scene = Scene::new("changed", SandboxArgs::with_orders(5))
        .with("IMOTRIZ_RECONCILE__CHANGES_PER_SECOND", "200")
        .with("IMOTRIZ_RECONCILE__DETECT_CHANGES", "true");
    scene.drain();
    let id: OrderId = scene.delivered()[2].parse().unwrap();
    pay(&scene, &id);
    assert_eq!(summary(&scene, &["--json", "reconcile"], 0)["updated"], 1);

    assert_eq!(reasons(&scene.events(), &id), ["DRAINED", "UPDATED"]);
    assert_eq!(scene.events().len(), 6);
    let events = python::read_orders_without_registry(kafka(), &scene.topics.orders);
    let updated = events.iter().find(|event| event["event"]["reason"] == "UPDATED").unwrap();
    assert_eq!((&updated["event"]["total"], &updated["event"]["revision"]), (&json!("77.2500"), &json!(2)));
    // It is as it is published now.
    assert_eq!(summary(&scene, &["--json", "reconcile"], 0)["updated"], 0);
    assert_eq!(scene.events().len(), 6);
}

#[test]
fn nobody_looks_for_changes_who_was_not_told_to() {
    let scene = Scene::new("unchanged", SandboxArgs::with_orders(5));
    scene.drain();
    pay(&scene, &scene.delivered()[2].parse().unwrap());
    scene.run(&["reconcile"], 0);
    assert_eq!(scene.events().len(), 5);
    assert_eq!(scene.shop().summary().requests[&Call::Order], 0);
}

#[test]
fn a_drain_that_repairs_does_not_wait_for_a_look_at_all_orders() {
    let scene =
        Scene::new("drain-unchanged", SandboxArgs::with_orders(5)).with("IMOTRIZ_RECONCILE__DETECT_CHANGES", "true");
    scene.drain();
    scene.shop().add(3, 0);
    scene.script(&[Some(Fault::DropAfter)]);
    scene.drain();
    assert_eq!(scene.events().len(), 8);
    assert_eq!(scene.shop().summary().requests[&Call::Order], 3, "those that were missing");
}

#[test]
fn an_order_that_is_listed_and_no_longer_found_is_counted_and_stays_as_it_was_published() {
    let scene = Scene::new("vanished", SandboxArgs::with_orders(3))
        .with("IMOTRIZ_RECONCILE__CHANGES_PER_SECOND", "200")
        .with("IMOTRIZ_RECONCILE__DETECT_CHANGES", "true");
    scene.drain();
    let id: OrderId = scene.delivered()[1].parse().unwrap();
    scene.shop().hide(&[id], Call::Order, true).unwrap();
    let looked = summary(&scene, &["--json", "reconcile"], 0);
    assert_eq!((&looked["not_found"], &looked["updated"]), (&json!(1), &json!(0)));
    assert_eq!(scene.events().len(), 3);
}

#[test]
fn a_running_program_looks_for_changes_at_a_bounded_rate_beside_its_other_work() {
    const PERIOD: Duration = Duration::from_millis(250);
    let scene = Scene::new("changing", SandboxArgs::with_orders(5))
        .with("IMOTRIZ_RECONCILE__DETECT_CHANGES", "true")
        .with("IMOTRIZ_RECONCILE__CHANGES_PER_SECOND", "4")
        // One round follows the other at once.
        .with("IMOTRIZ_RECONCILE__INTERVAL", "10ms")
        .with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    scene.drain();
    let last: OrderId = scene.delivered()[4].parse().unwrap();
    pay(&scene, &last);
    let mut program = scene.settings.start(&["run"]);
    wait::until("the round has begun", RUN_DEADLINE, || scene.shop().summary().requests[&Call::Order] > 0);
    scene.shop().add(3, 0);
    wait::until("new orders are published meanwhile", RUN_DEADLINE, || scene.events().len() >= 8);
    wait::until("the change is found", RUN_DEADLINE, || reasons(&scene.events(), &last).len() == 2);
    wait::until("three rounds are over", RUN_DEADLINE, || scene.shop().summary().requests[&Call::Order] > 3 * 8);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);

    assert_eq!(reasons(&scene.events(), &last), ["DRAINED", "UPDATED"]);
    let asked: Vec<Timestamp> = scene
        .shop()
        .requests()
        .iter()
        .filter(|request| request.kind == Call::Order)
        .map(|request| request.at)
        .collect();
    let periods = asked.len() as u32 - 1;
    let took: Duration = asked[asked.len() - 1].duration_since(asked[0]).try_into().unwrap();
    // The first may have been under way for longer than the last.
    assert!(took + PERIOD >= periods * PERIOD, "{periods} periods in {took:?}");
}

#[test]
fn an_operator_gets_an_order_again_as_its_next_revision() {
    let scene = Scene::new("republish", SandboxArgs::with_orders(3));
    scene.drain();
    let id: OrderId = scene.delivered()[1].parse().unwrap();
    pay(&scene, &id);
    let republished = summary(&scene, &["--json", "republish", id.as_str()], 0);
    assert_eq!(republished["published"], 1);
    assert_eq!(reasons(&scene.events(), &id), ["DRAINED", "REPUBLISHED"]);
    assert_eq!(scene.events().len(), 4);

    let program = scene.run(&["republish", id.as_str(), "no-such-order"], 11);
    assert!(program.stdout().contains("does not have the order no-such-order (404)"), "{}", program.output());
    assert_eq!(reasons(&scene.events(), &id), ["DRAINED", "REPUBLISHED", "REPUBLISHED"]);
    let program = scene.run(&["republish", "--store", "quito", id.as_str()], 2);
    assert!(program.stderr().contains("say with --store which store is meant: bogota"), "{}", program.output());
    // Nothing of this is a read of new orders.
    let reads = scene.reads().len();
    scene.run(&["republish", id.as_str()], 0);
    assert_eq!(scene.reads().len(), reads);
}

/// As this program wrote it so many days ago.
fn track(scene: &Scene, id: &str, days_ago: i64, placed_days_ago: Option<i64>) {
    let then = clock::now() - (24 * days_ago).hours();
    let record = OrderTracking {
        store: "bogota".parse().unwrap(),
        order_id: id.parse().unwrap(),
        state: OrderState::Published,
        revision: Some(Revision::FIRST),
        reason: Reason::Drained,
        read_id: ReadId::fresh(),
        content_hash: Some(ContentHash::of_bytes(b"x")),
        published_at: then.as_millisecond(),
        event_partition: Some(0),
        order_created_at: placed_days_ago.map(|days| (clock::now() - (24 * days).hours()).as_millisecond()),
    };
    let value = record.to_message(ORDER_TRACKING.frame());
    let producer: BaseProducer = scene.kafka().client().create().unwrap();
    let key = record.key().to_string();
    let lane = tracked(scene)[0].partition;
    producer.send(BaseRecord::to(&scene.topics.tracking).partition(lane).key(&key).payload(&value)).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
}

fn tracked(scene: &Scene) -> Vec<Record> {
    consume::committed(scene.kafka(), &scene.topics.tracking)
}

fn tombstones(scene: &Scene) -> Vec<String> {
    tracked(scene).into_iter().filter(|record| record.payload.is_none()).filter_map(|record| record.key).collect()
}

#[test]
fn what_is_past_its_retention_is_forgotten_and_nothing_else() {
    let scene = Scene::new("retention", SandboxArgs::with_orders(3)).with("IMOTRIZ_RECONCILE__RETENTION", "40d");
    let scene = scene.with("IMOTRIZ_RECONCILE__INTERVAL", "1s");
    scene.drain();
    for (id, days_ago) in [("old-1", 41), ("young", 39), ("old-2", 400), ("again", 50), ("again", 1)] {
        track(&scene, id, days_ago, None);
    }
    // Published by a clock that was weeks behind, and one whose record looks old although the marketplace lists it.
    track(&scene, "behind", 60, Some(2));
    let listed = scene.marked()[0].clone();
    track(&scene, &listed, 60, Some(60));
    let mut program = scene.settings.start(&["run"]);
    wait::until("the old ones are forgotten", RUN_DEADLINE, || tombstones(&scene).len() >= 2);
    // Orders go on being published, with what else there is to forget.
    scene.shop().add(2, 0);
    wait::until("new orders are published", RUN_DEADLINE, || scene.events().len() == 5);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    assert_eq!(tombstones(&scene), ["bogota/old-1", "bogota/old-2"]);
    scene.verdict().assert_clean();
}

#[test]
fn a_page_that_waited_in_another_spool_while_its_order_was_reconciled_is_not_published_again() {
    let scene = Scene::new("late", SandboxArgs::with_orders(1));
    scene.script(&[Some(Fault::DropAfter)]);
    scene.drain();
    let id: OrderId = scene.marked()[0].parse().unwrap();
    assert_eq!(reasons(&scene.events(), &id), ["RECONCILED"]);

    let store: StoreName = "bogota".parse().unwrap();
    let (spool, _) = Spool::open(SpoolOptions::new(scene.settings.directory().join("spool"))).unwrap();
    let record = String::from_utf8(scene.shop().record(&id).unwrap().to_vec()).unwrap();
    let body = Bytes::from(format!(r#"{{"data":[{record}]}}"#));
    let written = block_on(spool.reserve(&store).unwrap().write(clock::now() - 2.minutes(), body));
    written.unwrap().1.unwrap().cancel().unwrap();
    drop(spool);
    let drained = scene.drain();
    assert!(drained.stdout().contains("1 already known"), "{}", drained.output());
    assert_eq!(reasons(&scene.events(), &id), ["RECONCILED"]);

    // What the seller asks for again is another matter.
    scene.shop().unsynchronise(std::slice::from_ref(&id)).unwrap();
    scene.drain();
    assert_eq!(reasons(&scene.events(), &id), ["RECONCILED", "RESYNCED"]);
}
