//! Tests that `schemas/asyncapi.yaml` describes the program: AsyncAPI's own parser accepts it, its topics are those of
//! the settings, and its headers are those of real messages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use imotriz_kafka::avro::contract::{ORDER_EVENT, ORDER_TRACKING};
use imotriz_kafka::config::Config;
use imotriz_kafka::sandbox::SandboxArgs;
use serde_json::{Value, json};

use crate::support::consume::{self, Record};
use crate::support::program::Program;
use crate::support::scene::Scene;
use crate::support::{child, example, registry};

const CHECK_DEADLINE: Duration = Duration::from_secs(120);

fn schemas() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas"))
}

/// The document with everything that it refers to, once AsyncAPI's parser has found no fault with it, and each of
/// `messages` (a message's name in the document, and headers) has headers as they are declared.
fn document(messages: &Value) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("messages.json");
    fs::write(&file, messages.to_string()).unwrap();
    let mut command = child::command("node");
    command.arg(example::asyncapi().join("check.js")).arg(schemas().join("asyncapi.yaml")).arg(&file);
    let mut check = Program::spawn(command);
    check.expect_exit(0, CHECK_DEADLINE);
    serde_json::from_str(&check.stdout()).unwrap()
}

fn headers(message: &str, records: &[Record]) -> Vec<Value> {
    let of = |record: &Record| {
        let headers = record.headers.iter().map(|(name, value)| (name.clone(), json!(value)));
        json!({ "message": message, "headers": headers.collect::<serde_json::Map<_, _>>() })
    };
    records.iter().map(of).collect()
}

#[test]
fn the_asyncapi_document_says_what_is_published() {
    let scene = Scene::new("asyncapi", SandboxArgs::with_orders(10));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    scene.shop().insert(r#"{"order":{"id":990001,"total":"12.34567"}}"#).unwrap();
    scene.shop().insert(r#"{"order":{"reference":"IM-1"}}"#).unwrap();
    scene.drain();
    let events = scene.events();
    let letters = consume::committed(scene.kafka(), &scene.topics.dead_letter);
    let tracking = consume::committed(scene.kafka(), &scene.topics.tracking);
    assert_eq!((events.len(), letters.len(), tracking.len()), (10, 2, 11));
    assert!(tracking.iter().all(|record| record.headers.is_empty()), "the document declares none");
    let messages = [headers("orderEvent", &events), headers("deadLetter", &letters)].concat();

    let document = document(&json!(messages));
    let topics = Config::default().kafka.topics;
    let addresses: BTreeSet<_> = document["channels"]
        .as_object()
        .unwrap()
        .values()
        .map(|channel| channel["address"].as_str().unwrap())
        .collect();
    assert_eq!(addresses, BTreeSet::from([topics.orders.as_str(), &topics.tracking, &topics.dead_letter]));
    for channel in document["channels"].as_object().unwrap().values() {
        assert_eq!(channel["bindings"]["kafka"]["topic"], channel["address"]);
    }
    let kafka = Config::default().kafka;
    let partitions = |channel: &str| document["channels"][channel]["bindings"]["kafka"]["partitions"].as_i64();
    assert_eq!(partitions("orders"), Some(kafka.orders_partitions.into()));
    assert_eq!(partitions("tracking"), Some(kafka.lanes.into()));
}

#[test]
fn the_asyncapi_document_refers_to_the_schemas_that_are_registered() {
    let text = fs::read_to_string(schemas().join("asyncapi.yaml")).unwrap();
    for contract in [&ORDER_EVENT, &ORDER_TRACKING] {
        let json: Value = serde_json::from_str(contract.text()).unwrap();
        let file = text.lines().filter_map(|line| line.trim().strip_prefix("$ref: ./")).find(|file| {
            let schema = fs::read_to_string(schemas().join(file)).unwrap();
            serde_json::from_str::<Value>(&schema).unwrap() == json
        });
        assert!(file.is_some(), "{} is not in the document", contract.record());
    }
    // A reason is either known to the document, or never written.
    let reasons: Value = serde_json::from_str::<Value>(ORDER_EVENT.text()).unwrap()["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|field| field["name"] == "reason")
        .unwrap()["type"]["symbols"]
        .clone();
    let written: Vec<_> = reasons.as_array().unwrap().iter().filter_map(Value::as_str).skip(1).collect();
    assert!(text.contains(&format!("enum: [{}]", written.join(", "))), "{written:?}");
}
