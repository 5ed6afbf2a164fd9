//! Tests of the test harness against real services.

use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::child::{self, Child};
use crate::support::consume::{self, Record};
use crate::support::program::{Program, Settings};
use crate::support::topics::{self, Topics};
use crate::support::verdict::Verdict;
use crate::support::{Kafka, http, kafka, prerequisites, python, registry, wait};

const DEADLINE: Duration = Duration::from_secs(30);

fn transactional_producer(kafka: &Kafka, id: &str) -> BaseProducer {
    let producer: BaseProducer = kafka.client().set("transactional.id", id).set("linger.ms", "0").create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer
}

/// Begins a transaction and produces one record for each key, flushed but not committed.
fn begin(producer: &BaseProducer, topic: &str, keys: &[&str]) {
    producer.begin_transaction().unwrap();
    for key in keys {
        producer.send(BaseRecord::to(topic).key(*key).payload("{}")).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

fn keys(records: &[Record]) -> Vec<&str> {
    let mut keys: Vec<&str> = records.iter().map(|record| record.key.as_deref().unwrap()).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_consumer_sees_what_was_committed_and_not_what_was_aborted() {
    let topic = topics::unique("isolation");
    topics::create(kafka(), &topic, 3, &[("compression.type", "zstd")]);
    let producer = transactional_producer(kafka(), &topic);
    begin(&producer, &topic, &["1", "2", "3"]);
    producer.commit_transaction(DEADLINE).unwrap();
    begin(&producer, &topic, &["4", "5"]);
    producer.abort_transaction(DEADLINE).unwrap();

    assert_eq!(keys(&consume::committed(kafka(), &topic)), ["1", "2", "3"]);
    assert_eq!(keys(&consume::uncommitted(kafka(), &topic)), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_record_is_read_with_its_headers_and_a_topic_without_records_is_read_at_once() {
    let topic = topics::unique("headers");
    topics::create(kafka(), &topic, 1, &[]);
    assert!(consume::committed(kafka(), &topic).is_empty());

    let producer: BaseProducer = kafka().client().create().unwrap();
    let header = rdkafka::message::Header { key: "imotriz-reason", value: Some("DRAINED") };
    let headers = rdkafka::message::OwnedHeaders::new().insert(header);
    producer.send(BaseRecord::to(&topic).key("7").payload("{}").headers(headers)).map_err(|(error, _)| error).unwrap();
    producer.flush(DEADLINE).unwrap();

    let records = consume::committed(kafka(), &topic);
    assert_eq!(records[0].header("imotriz-reason"), Some("DRAINED"));
    assert_eq!(records[0].payload.as_deref(), Some(&b"{}"[..]));
    assert_eq!((records[0].partition, records[0].offset, records.len()), (0, 0, 1));
}

#[test]
fn a_verdict_names_what_was_lost_doubled_and_invented() {
    let seen = |key: &str| Record { partition: 0, offset: 0, key: Some(key.into()), payload: None, headers: vec![] };
    Verdict::of(["1", "2", "2"], &[seen("2"), seen("1"), seen("2")]).assert_clean();

    let verdict = Verdict::of(["1", "2", "3", "3"], &[seen("2"), seen("2"), seen("3"), seen("9")]);
    assert_eq!(verdict.lost, ["1", "3"]);
    assert_eq!(verdict.doubled, ["2"]);
    assert_eq!(verdict.invented, ["9"]);
}

#[test]
fn a_broker_that_was_killed_comes_back_with_its_records_on_the_same_address() {
    let mut kafka = Kafka::start_private(&[("num.partitions", "1")]);
    topics::create(&kafka, "orders", 1, &[]);
    let producer = transactional_producer(&kafka, "restart");
    begin(&producer, "orders", &["1"]);
    producer.commit_transaction(DEADLINE).unwrap();
    // A commit is answered before its markers are written: they are left to whoever comes back.
    kafka.kill();
    kafka.restart();
    assert_eq!(keys(&consume::committed(&kafka, "orders")), ["1"]);
    begin(&producer, "orders", &["2"]);
    producer.commit_transaction(DEADLINE).unwrap();

    kafka.stop();
    kafka.restart();
    assert_eq!(keys(&consume::committed(&kafka, "orders")), ["1", "2"]);
}

#[test]
fn a_paused_broker_keeps_silent_until_it_is_resumed() {
    let mut kafka = Kafka::start_private(&[]);
    let producer: BaseProducer = kafka.client().create().unwrap();
    let answers = |wait| producer.client().fetch_metadata(None, wait).is_ok();
    assert!(answers(DEADLINE));
    kafka.pause();
    assert!(!answers(Duration::from_secs(1)));
    kafka.resume();
    assert!(answers(DEADLINE));
}

const SCHEMA: &str = r#"{"type": "record", "name": "Probe", "fields": [
    {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;

fn register(subject: &str) -> u32 {
    let versions = format!("{}/subjects/{subject}/versions", registry().url());
    let (status, answer) = http::post(&versions, &json!({ "schema": SCHEMA }));
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["id"].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn the_registry_gives_back_what_was_registered_and_refuses_what_would_break_readers() {
    let subject = topics::unique("registry");
    let id = register(&subject);
    let (status, answer) = http::get(&format!("{}/schemas/ids/{id}", registry().url()));
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200, "{answer}");
    let text = answer["schema"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), serde_json::from_str::<Value>(SCHEMA).unwrap());

    let level = format!("{}/config/{subject}", registry().url());
    assert_eq!(http::put(&level, &json!({ "compatibility": "FULL_TRANSITIVE" })).0, 200);
    let broken = json!({ "schema": SCHEMA.replace("total", "sum") });
    assert_eq!(http::post(&format!("{}/subjects/{subject}/versions", registry().url()), &broken).0, 409);
}

#[test]
fn a_reader_in_python_sees_decimals_with_all_their_digits_and_times_in_utc() {
    let topic = topics::unique("python");
    topics::create(kafka(), &topic, 2, &[]);
    let id = register(&format!("{topic}-value"));
    // 129900.0000 at scale 4 in four bytes, and 2026-01-02T03:04:05.678Z, encoded by hand from the Avro specification.
    let mut payload = vec![0];
    payload.extend(id.to_be_bytes());
    payload.push(8);
    payload.extend(1_299_000_000_i32.to_be_bytes());
    payload.extend(zigzag(1_767_323_045_678));
    let producer = transactional_producer(kafka(), &topic);
    producer.begin_transaction().unwrap();
    producer.send(BaseRecord::to(&topic).key("7").payload(&payload)).map_err(|(error, _)| error).unwrap();
    producer.commit_transaction(DEADLINE).unwrap();
    begin(&producer, &topic, &["hidden"]);
    producer.abort_transaction(DEADLINE).unwrap();

    let events = python::read_orders(kafka(), registry(), &topic);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["key"], "7");
    assert_eq!(events[0]["event"]["total"], "129900.0000");
    assert_eq!(events[0]["event"]["at"], "2026-01-02T03:04:05.678000+00:00");
}

/// Avro's encoding of a positive `long`.
fn zigzag(number: u64) -> Vec<u8> {
    let (mut rest, mut bytes) = (number << 1, Vec::new());
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

#[test]
fn a_program_is_watched_signalled_and_killed() {
    let shell = |script: &str| {
        let mut command = child::command("sh");
        command.args(["-c", script]);
        Program::spawn(command)
    };
    let mut program = shell("trap 'echo stopping; exit 3' TERM; echo started; while :; do sleep 0.05; done");
    program.wait_for_line("started", DEADLINE);
    program.signal(Signal::TERM);
    assert_eq!(program.wait(DEADLINE).code(), Some(3));
    assert_eq!(program.stdout(), "started\nstopping");

    // More than a pipe holds, on both outputs.
    let mut chatty = shell("for i in $(seq 20000); do echo out $i; echo err $i >&2; done; sleep 600");
    chatty.wait_for_line("out 20000", DEADLINE);
    chatty.wait_for_line("err 20000", DEADLINE);
    chatty.kill9();
    assert_eq!(chatty.stderr().lines().count(), 20_000);
}

#[test]
fn the_program_is_set_up_by_variables_alone() {
    let settings = Settings::new(kafka(), &Topics::unique("settings")).with_registry(registry().url()).with_store(
        "bogota",
        "http://127.0.0.1:1",
        "token",
        "CO",
    );
    let mut program = settings.start(&["--version"]);
    assert!(program.wait(DEADLINE).success(), "{}", program.output());
    assert!(settings.directory().is_dir());
}

const HOLD: &str = "IMOTRIZ_TEST_HOLD";

#[test]
#[ignore = "the parent in `children_die_with_a_test_binary_that_is_killed`, which starts it"]
fn a_parent_that_waits_to_be_killed() {
    if env::var_os(HOLD).is_some() {
        let mut command = child::command("sleep");
        command.arg("600");
        let child = Child::spawn(command);
        println!("child {}.", child.pid());
        wait::until("somebody kills this process", 10 * DEADLINE, || false);
    }
}

#[test]
fn children_die_with_a_test_binary_that_is_killed() {
    let mut command: Command = child::command(env::current_exe().unwrap());
    command.args(["--ignored", "--nocapture", "--exact", "harness::a_parent_that_waits_to_be_killed"]).env(HOLD, "1");
    let mut parent = Program::spawn(command);
    let line = parent.wait_for_line("child ", DEADLINE);
    let (_, pid) = line.split_once("child ").unwrap();
    let status = format!("/proc/{}/status", pid.trim_end_matches('.'));
    let lives = || fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ"));
    assert!(lives());

    parent.kill9();
    wait::until("the child is gone", DEADLINE, || !lives());
}

#[test]
fn who_picks_tests_is_not_asked_for_what_others_need() {
    let all =
        |arguments: &[&str]| prerequisites::runs_all_tests(arguments.iter().map(|argument| (*argument).to_owned()));
    assert!(all(&[]) && all(&["--nocapture"]) && all(&["--test-threads=2", "--quiet"]));
    assert!(!all(&["drain::"]) && !all(&["--skip", "go"]) && !all(&["--bench"]));
}
