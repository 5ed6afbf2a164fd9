//! Tests of `drain` from the marketplace to a consumer written in another language.

use std::collections::BTreeMap;

use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::sandbox::{Change, SandboxArgs};
use jiff::civil;
use serde_json::{Value, json};

use crate::support::scene::{Scene, keys};
use crate::support::{consume, kafka, python, registry};

const ORDERS: usize = 95;

#[test]
fn a_drain_publishes_every_order_once() {
    let scene = Scene::new("drain", SandboxArgs::with_orders(ORDERS));
    let drained = scene.drain();
    assert!(drained.stdout().starts_with("95 orders published, 0 dead letters, 0 already known; 4 pages read"));

    let events = python::read_orders_without_registry(kafka(), &scene.topics.orders);
    assert_first_events(&scene, &events);
    scene.verdict().assert_clean();
    assert_nothing_new(&scene);
}

#[test]
fn a_drain_with_a_registry_publishes_every_order_once() {
    let scene = Scene::new("drain", SandboxArgs::with_orders(ORDERS));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    scene.drain();

    let events = python::read_orders(kafka(), registry(), &scene.topics.orders);
    assert_first_events(&scene, &events);
    scene.verdict().assert_clean();
    assert_nothing_new(&scene);
}

/// Each order is there once, with all that the marketplace said, and one tracking record for each.
fn assert_first_events(scene: &Scene, events: &[Value]) {
    assert_eq!(events.len(), ORDERS);
    let shop = scene.shop();
    for found in events {
        let id = found["key"].as_str().unwrap();
        let record = shop.record(&id.parse().unwrap()).expect("the shop has sold it");
        assert_says(&found["event"], &serde_json::from_slice(&record).unwrap());
        assert_eq!(found["event"]["reason"], "DRAINED");
        assert_eq!(found["event"]["revision"], 1);
        let headers = &found["headers"];
        assert_eq!(headers["imotriz-reason"], "DRAINED");
        assert_eq!(headers["ce_id"], format!("bogota/{id}/1"));
        assert_eq!(headers["ce_type"], "com.imotriz.order.v1.drained");
        assert_eq!(headers["ce_subject"], id);
    }
    let tracked = consume::committed(kafka(), &scene.topics.tracking);
    assert_eq!(tracked.len(), ORDERS);
    let expected = scene.delivered().into_iter().map(|id| format!("bogota/{id}")).collect();
    assert_eq!(keys(&tracked), expected);
}

/// Amounts to their last digit, times, and text.
fn assert_says(event: &Value, record: &Value) {
    let order = &record["order"];
    assert_eq!(event["order_id"], order["id"].to_string());
    assert_eq!(event["store"], "bogota");
    assert_eq!(event["currency"], "COP");
    for amount in ["total", "subtotal", "shipping", "discount"] {
        assert_eq!(event[amount], four_places(&order[amount]), "{amount}");
    }
    assert_eq!(event["status"], order["status"]);
    assert_eq!(event["created_at_raw"], order["created_at"]);
    assert_eq!(event["created_at"], utc(&order["created_at"]));
    assert_eq!(event["updated_at"], utc(&order["updated_at"]));
    assert_eq!(event["buyer"]["name"], record["buyer"]["name"]);
    assert_eq!(event["buyer"]["email"], record["buyer"]["email"]);
    let (lines, products) = (event["lines"].as_array().unwrap(), record["products"].as_array().unwrap());
    assert_eq!(lines.len(), products.len());
    for (line, product) in lines.iter().zip(products) {
        assert_eq!(line["code"], product["code"]);
        assert_eq!(line["name"], product["name"]);
        for amount in ["quantity", "unit_price", "unit_price_before"] {
            assert_eq!(line[amount], four_places(&product[amount]), "{amount}");
        }
    }
}

/// An amount as the marketplace writes it, with four digits after the point.
fn four_places(amount: &Value) -> Value {
    if amount.is_null() {
        return Value::Null;
    }
    let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    json!(format!("{whole}.{part:0<4}"))
}

/// The wall clock of Colombia, five hours behind and without summer time, as a time in UTC.
fn utc(local: &Value) -> Value {
    let Some(local) = local.as_str() else { return Value::Null };
    let local: civil::DateTime = local.parse().unwrap();
    let utc = local.checked_add(jiff::SignedDuration::from_hours(5)).unwrap();
    json!(format!("{}+00:00", utc.strftime("%Y-%m-%dT%H:%M:%S")))
}

fn assert_nothing_new(scene: &Scene) {
    let before = scene.events().len();
    let again = scene.drain();
    assert!(again.stdout().starts_with("0 orders published, 0 dead letters, 0 already known; 0 pages read"));
    assert_eq!(scene.events().len(), before);
    assert_eq!(scene.spool(), Vec::<Value>::new());
}

#[test]
fn an_order_that_the_seller_asks_for_again_comes_as_its_next_revision() {
    let scene = Scene::new("resync", SandboxArgs::with_orders(5));
    scene.drain();
    let again: Vec<OrderId> = scene.delivered()[1..3].iter().map(|id| id.parse().unwrap()).collect();
    scene.shop().unsynchronise(&again).unwrap();
    let status = Some("enviado hoy".to_owned());
    scene.shop().change(&again[0], Change { status, total: Some(json!("1.5")) }).unwrap();
    scene.drain();

    let events = python::read_orders_without_registry(kafka(), &scene.topics.orders);
    assert_eq!(events.len(), 7);
    let mut revisions: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in &events {
        revisions.entry(event["key"].as_str().unwrap()).or_default().push(event);
    }
    for (id, events) in revisions {
        let asked_for = again.iter().any(|order| order.as_str() == id);
        assert_eq!(events.len(), if asked_for { 2 } else { 1 });
        if let [first, second] = events[..] {
            // One order, one partition: a reader meets the revisions in their order.
            assert_eq!(first["partition"], second["partition"]);
            assert_eq!((&first["event"]["revision"], &second["event"]["revision"]), (&json!(1), &json!(2)));
            assert_eq!(second["event"]["reason"], "RESYNCED");
            assert_eq!(second["headers"]["ce_id"], format!("bogota/{id}/2"));
        }
        if id == again[0].as_str() {
            assert_eq!(events[1]["event"]["total"], "1.5000");
            assert_eq!(events[1]["event"]["status"], "enviado hoy");
        }
    }
}

#[test]
fn an_unchanged_order_is_not_published_again_where_the_policy_says_so() {
    let scene = Scene::new("suppress", SandboxArgs::with_orders(3));
    let scene = scene.with("IMOTRIZ_RESYNC__POLICY", "suppress_unchanged");
    scene.drain();
    let again: Vec<OrderId> = scene.delivered()[..2].iter().map(|id| id.parse().unwrap()).collect();
    scene.shop().unsynchronise(&again).unwrap();
    scene.shop().change(&again[0], Change { status: Some("enviado hoy".to_owned()), total: None }).unwrap();
    let drained = scene.drain();
    assert!(drained.stdout().starts_with("1 order published, 0 dead letters, 1 already known"), "{}", drained.stdout());
    assert_eq!(scene.events().len(), 4);
}

#[test]
fn a_record_that_cannot_be_mapped_is_a_dead_letter_and_its_page_is_published() {
    let scene = Scene::new("dead-letter", SandboxArgs::with_orders(10));
    let bad_total = r#"{"order":{"id":990001,"total":"12.34567"},"products":[],"buyer":{"email":"ana@example.com"}}"#;
    let no_id = r#"{"order":{"reference":"IM-1"},"buyer":{"name":"Íñigo"}}"#;
    scene.shop().insert(bad_total).unwrap();
    scene.shop().insert(no_id).unwrap();
    let drained = scene.drain();
    assert!(drained.stdout().starts_with("10 orders published, 2 dead letters"), "{}", drained.stdout());
    assert!(!drained.output().contains("ana@example.com"), "a buyer's data in the output");

    let events = scene.events();
    assert_eq!(events.len(), 10);
    assert!(!keys(&events).contains("990001"));
    let mut letters = consume::committed(kafka(), &scene.topics.dead_letter);
    letters.sort_by_key(|letter| letter.key.clone());
    assert_eq!(letters.len(), 2);
    for (letter, key, text, pointer) in
        [(&letters[0], None, no_id, None), (&letters[1], Some("990001"), bad_total, Some("/order/total"))]
    {
        assert_eq!(letter.key.as_deref(), key);
        assert_eq!(std::str::from_utf8(letter.payload.as_deref().unwrap()), Ok(text));
        assert_eq!(letter.header("imotriz.error.store"), Some("bogota"));
        assert!(letter.header("imotriz.error.read_id").is_some());
        assert!(letter.header("imotriz.error.reason").is_some_and(|reason| !reason.is_empty()));
        if pointer.is_some() {
            assert_eq!(letter.header("imotriz.error.pointer"), pointer);
        }
    }
    assert_nothing_new(&scene);
}
