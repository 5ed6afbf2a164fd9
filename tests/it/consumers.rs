//! Tests that the consumers under `examples/consumers` all read the same orders alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::sandbox::{Change, Fault, SandboxArgs};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, civil};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::support::consume::{self, Record};
use crate::support::program::Program;
use crate::support::scene::Scene;
use crate::support::{example, port, registry};

/// A JVM that starts while everybody else is at work, with a rebalance to wait for.
const CONSUMER_DEADLINE: Duration = Duration::from_secs(120);
pub const CALL_DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn the_consumer_in_python_reads_every_order_exactly_and_once() {
    reads_every_order_exactly_and_once("python");
}

#[test]
fn the_consumer_in_rust_reads_every_order_exactly_and_once() {
    reads_every_order_exactly_and_once("rust");
}

#[test]
fn the_consumer_in_java_reads_every_order_exactly_and_once() {
    reads_every_order_exactly_and_once("java");
}

#[test]
fn the_consumer_in_node_reads_every_order_exactly_and_once() {
    reads_every_order_exactly_and_once("node");
}

#[test]
fn the_consumer_in_go_reads_every_order_exactly_and_once() {
    reads_every_order_exactly_and_once("go");
}

#[test]
fn the_consumer_in_python_skips_what_it_cannot_decode_and_says_so() {
    skips_what_it_cannot_decode_and_says_so("python");
}

#[test]
fn the_consumer_in_rust_skips_what_it_cannot_decode_and_says_so() {
    skips_what_it_cannot_decode_and_says_so("rust");
}

#[test]
fn the_consumer_in_java_skips_what_it_cannot_decode_and_says_so() {
    skips_what_it_cannot_decode_and_says_so("java");
}

#[test]
fn the_consumer_in_node_skips_what_it_cannot_decode_and_says_so() {
    skips_what_it_cannot_decode_and_says_so("node");
}

#[test]
fn the_consumer_in_go_skips_what_it_cannot_decode_and_says_so() {
    skips_what_it_cannot_decode_and_says_so("go");
}

/// Nothing is skipped while the registry is away. Once it is back, the orders before, between and behind what is broken
/// are read.
fn skips_what_it_cannot_decode_and_says_so(language: &str) {
    let scene = Scene::new(&format!("undecodable-{language}"), SandboxArgs::with_orders(3));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    scene.drain();
    let broken = write_broken(&scene);
    let messages = scene.events().len();

    let unreachable = format!("http://127.0.0.1:{}", port::free());
    let mut stopped = start(&scene, language, &unreachable, "group", messages);
    assert!(!stopped.wait(CONSUMER_DEADLINE).success());
    assert_eq!(
        (stopped.stdout().as_str(), stopped.stderr().contains("skipped (")),
        ("", false),
        "{}",
        stopped.output()
    );

    let mut program = start(&scene, language, registry().url(), "group", messages);
    program.expect_exit(0, CONSUMER_DEADLINE);
    let lines: Vec<Value> = program.stdout().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), 4, "three orders, and a copy without headers");
    let copy = lines.iter().find(|line| line["order_id"] == broken.behind.as_str()).expect("what comes behind is read");
    assert_eq!(copy["reason_header"].as_str().unwrap_or_default(), "");
    let stderr = program.stderr();
    for (count, place) in (1..).zip(&broken.places) {
        let line = stderr.lines().find_map(|line| line.strip_prefix(place.as_str()));
        let reason = line.and_then(|line| line.strip_prefix(&format!(": skipped ({count} so far): ")));
        assert!(reason.is_some_and(|reason| !reason.is_empty() && !reason.contains('@')), "{place}: {stderr}");
    }
    assert_eq!(stderr.matches("skipped (").count(), broken.places.len(), "{stderr}");
}

/// Records that no consumer can decode, and one behind them that each can.
pub struct Broken {
    /// Where they are, as `TOPIC[PARTITION]@OFFSET`, in the order of the offsets.
    pub places: Vec<String>,
    /// The order in the record behind them, which has neither key nor headers.
    pub behind: String,
    /// The order in the record whose schema nobody knows, and that record as it should have been.
    pub unknown: (String, Vec<u8>),
}

/// Writes them all into the partition of the first event.
pub fn write_broken(scene: &Scene) -> Broken {
    let events = scene.events();
    let good = events[0].payload.clone().unwrap();
    let tracking = consume::committed(scene.kafka(), &scene.topics.tracking);
    let mut unknown = events[2].clone();
    rename(&mut unknown);
    let repaired = unknown.payload.clone().unwrap();
    let mut behind = Record { partition: events[0].partition, ..events[1].clone() };
    rename(&mut behind);
    let broken = [
        None,
        Some(b"{}".to_vec()),
        Some([&[0, 0x7f, 0xff, 0xff, 0xff], &repaired[5..]].concat()),
        Some(good[..good.len() / 2].to_vec()),
        Some(in_the_year_10_000(&good)),
        tracking[0].payload.clone(),
    ];

    let producer: BaseProducer = scene.kafka().client().create().unwrap();
    for payload in &broken {
        send(&producer, &scene.topics.orders, &Record { payload: payload.clone(), ..events[0].clone() });
    }
    let names = (behind.key.take().unwrap(), unknown.key.unwrap());
    behind.headers.clear();
    send(&producer, &scene.topics.orders, &behind);
    producer.flush(CALL_DEADLINE).unwrap();

    let after = scene.events();
    let mut offsets: Vec<_> = after.iter().filter(|event| event.partition == behind.partition).collect();
    offsets.sort_by_key(|event| event.offset);
    let written = &offsets[offsets.len() - broken.len() - 1..offsets.len() - 1];
    assert_eq!(written.iter().map(|event| event.payload.clone()).collect::<Vec<_>>(), broken);
    let place = |event: &&Record| format!("{}[{}]@{}", scene.topics.orders, event.partition, event.offset);
    Broken { places: written.iter().map(place).collect(), behind: names.0, unknown: (names.1, repaired) }
}

/// The event in a message, with another date: the first that is no `datetime` of Python's.
fn in_the_year_10_000(message: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/order_event.avsc");
    let schema = Schema::parse_str(&fs::read_to_string(path).unwrap()).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let Avro::Record(mut fields) = reader.read_value(&mut &message[5..]).unwrap() else {
        panic!("a message is a record");
    };
    let date = fields.iter_mut().find(|(name, _)| name == "created_at").unwrap();
    date.1 = Avro::Union(1, Box::new(Avro::TimestampMillis(253_402_300_800_000)));
    let mut written = message[..5].to_vec();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    writer.write_value(&mut written, Avro::Record(fields)).unwrap();
    written
}

/// A topic with orders that came in every usual way, with a transaction that was given up, and with events that are
/// there twice. What the consumer prints is compared with what the marketplace said.
fn reads_every_order_exactly_and_once(language: &str) {
    let scene = Scene::new(&format!("consumer-{language}"), SandboxArgs::with_orders(40));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    scene.shop().insert(EXACT).unwrap();
    // The first page is lost after it was marked: its 30 orders are reconciled.
    scene.script(&[Some(Fault::DropAfter)]);
    scene.run(&["drain"], 0);
    give_up_a_transaction(&scene);
    let again: OrderId = scene.marked()[0].parse().unwrap();
    scene.shop().unsynchronise(std::slice::from_ref(&again)).unwrap();
    scene.shop().change(&again, Change { status: None, total: Some(json!("1.5")) }).unwrap();
    scene.drain();
    let events = scene.events();
    let doubled = &events[..5];
    write_again(&scene, doubled);

    let lines = run(&scene, language, "group", events.len() + doubled.len());
    assert_eq!(lines.len(), 42, "41 orders, one of them twice");
    let reasons = lines.iter().fold(BTreeMap::new(), |mut counts, line| {
        *counts.entry(line["reason"].as_str().unwrap()).or_insert(0) += 1;
        counts
    });
    assert_eq!(reasons, BTreeMap::from([("RECONCILED", 30), ("DRAINED", 11), ("RESYNCED", 1)]));
    let names: BTreeSet<_> =
        lines.iter().map(|line| (line["order_id"].to_string(), line["revision"].as_i64())).collect();
    assert_eq!(names.len(), 42);
    for line in &lines {
        assert_is_what_the_marketplace_said(&scene, line, &again);
        let event = events.iter().find(|event| event.header("ce_id") == Some(&ce_id(line))).unwrap();
        assert_eq!(line["reason_header"], line["reason"]);
        assert_eq!(Some(line["reason"].as_str().unwrap()), event.header("imotriz-reason"));
        let read_at: Timestamp = event.header("ce_time").unwrap().parse().unwrap();
        assert_eq!(time(&line["read_at"]).unwrap().as_millisecond(), read_at.as_millisecond());
    }
    let exact = lines.iter().find(|line| line["order_id"] == "990001").unwrap();
    assert_eq!(exact["total"], "12345678901234.5678");
    assert_eq!(time(&exact["created_at"]), Some("2026-11-20T19:03:11.250Z".parse().unwrap()));

    // What was handled is committed: the next run begins behind it.
    let new = scene.shop().add(1, 0)[0].to_string();
    scene.drain();
    let lines = run(&scene, language, "group", 1);
    assert_eq!(lines.iter().map(|line| line["order_id"].as_str().unwrap()).collect::<Vec<_>>(), [new]);
}

/// More digits than a double has, and a time with milliseconds.
const EXACT: &str = r#"{"order":{"id":990001,"total":"12345678901234.5678","created_at":"2026-11-20 14:03:11.250"},
    "products":[],"buyer":{"email":"ana@example.com"}}"#;

/// Runs a consumer until it has handled so many messages; what it printed. The name of its group begins with the topic's.
pub fn run(scene: &Scene, language: &str, group: &str, messages: usize) -> Vec<Value> {
    let mut program = start(scene, language, registry().url(), group, messages);
    program.expect_exit(0, CONSUMER_DEADLINE);
    assert!(!program.output().contains('@'), "a buyer's data in the output");
    program.stdout().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn start(scene: &Scene, language: &str, registry: &str, group: &str, messages: usize) -> Program {
    let mut command = example::consumer(language);
    command.args([scene.kafka().bootstrap_servers(), registry, &scene.topics.orders]);
    command.args([format!("{}-{group}", scene.topics.orders), messages.to_string()]);
    Program::spawn(command)
}

fn assert_is_what_the_marketplace_said(scene: &Scene, line: &Value, again: &OrderId) {
    let id: OrderId = line["order_id"].as_str().unwrap().parse().unwrap();
    let record: Value = serde_json::from_slice(&scene.shop().record(&id).unwrap()).unwrap();
    let text = |field: &str| record["order"][field].as_str().map_or(record["order"][field].to_string(), str::to_owned);
    let total: Decimal = line["total"].as_str().unwrap().parse().unwrap();
    if id != *again || line["revision"] == 2 {
        assert_eq!(total, text("total").parse::<Decimal>().unwrap(), "{line}");
    }
    assert_eq!(line["reason"] == "RESYNCED", line["revision"] == 2, "{line}");
    assert_eq!((&line["store"], &line["currency"]), (&json!("bogota"), &json!("COP")));
    // Bogotá is five hours behind, all year.
    let local: civil::DateTime = text("created_at").parse().unwrap();
    let utc = TimeZone::UTC.to_timestamp(local.checked_add(5.hours()).unwrap()).unwrap();
    assert_eq!(time(&line["created_at"]), Some(utc), "{line}");
}

fn ce_id(line: &Value) -> String {
    format!("{}/{}/{}", line["store"].as_str().unwrap(), line["order_id"].as_str().unwrap(), line["revision"])
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().map(|text| text.parse().expect(text))
}

/// Orders that nobody may see: copies of events under IDs of their own, in a transaction that is aborted.
fn give_up_a_transaction(scene: &Scene) {
    let mut config = scene.kafka().client();
    config.set("transactional.id", format!("{}-given-up", scene.topics.orders));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(CALL_DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    for mut event in scene.events() {
        rename(&mut event);
        send(&producer, &scene.topics.orders, &event);
    }
    producer.flush(CALL_DEADLINE).unwrap();
    producer.abort_transaction(CALL_DEADLINE).unwrap();
}

/// Gives an event or a tracking record the ID of an order that there isn't, which is as long as its own.
pub fn rename(record: &mut Record) {
    let other = other_id(record);
    let key = record.key.as_mut().unwrap();
    let at = key.len() - other.len();
    let payload = record.payload.as_mut().unwrap();
    let id = &key.as_bytes()[at..];
    let place = payload.windows(id.len()).position(|bytes| bytes == id).expect("the ID is in the message");
    payload[place..place + id.len()].copy_from_slice(other.as_bytes());
    key.replace_range(at.., &other);
}

/// The ID that [`rename`] gives: no ID of the sandbox or of a test begins with an 8.
pub fn other_id(record: &Record) -> String {
    let id = record.key.as_deref().unwrap().rsplit('/').next().expect("a key is not empty");
    format!("8{}", &id[1..])
}

/// The same events once more, as a tool that copies a topic may do it.
fn write_again(scene: &Scene, events: &[Record]) {
    let producer: BaseProducer = scene.kafka().client().create().unwrap();
    for event in events {
        send(&producer, &scene.topics.orders, event);
    }
    producer.flush(CALL_DEADLINE).unwrap();
}

/// Sends a record into its own partition of a topic.
pub fn send(producer: &BaseProducer, topic: &str, event: &Record) {
    let headers = event
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).partition(event.partition).headers(headers);
    record.key = event.key.as_deref();
    record.payload = event.payload.as_deref();
    producer.send(record).map_err(|(error, _)| error).unwrap();
}
