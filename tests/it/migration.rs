//! Tests of a second version of the schemas beside the first: how each reads the other's messages.

use std::fs;
use std::path::Path;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::sandbox::SandboxArgs;
use rdkafka::producer::{BaseProducer, Producer};
use serde_json::{Value, json};

use crate::consumers::{self, CALL_DEADLINE};
use crate::support::consume::{self, Record};
use crate::support::scene::{Scene, keys};
use crate::support::{http, python, registry};

/// What precedes a datum: a zero and the schema's ID.
const FRAME: usize = 5;
const NEW_REASON: &str = "MERGED";

/// A schema of the first version, and the second that is made of it: a field and a reason more, and another text.
struct Versions {
    first: Schema,
    second: Schema,
    second_json: Value,
}

impl Versions {
    fn of(file: &str) -> Self {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(file)).unwrap();
        let mut json: Value = serde_json::from_str(&text).unwrap();
        json["doc"] = json!("The second version.");
        let fields = json["fields"].as_array_mut().unwrap();
        let reason = fields.iter_mut().find(|field| field["name"] == "reason").unwrap();
        reason["type"]["symbols"].as_array_mut().unwrap().push(json!(NEW_REASON));
        fields.push(json!({"name": "channel", "type": ["null", "string"], "default": null, "doc": "New."}));
        let parse = |text: &str| Schema::parse_str(text).unwrap();
        Self { first: parse(&text), second: parse(&json.to_string()), second_json: json }
    }

    /// The message of the first version as a program of the second would have written it.
    fn rewrite(&self, message: &[u8], id: u32) -> Vec<u8> {
        let reader = GenericDatumReader::builder(&self.first).build().unwrap();
        let Avro::Record(mut fields) = reader.read_value(&mut &message[FRAME..]).unwrap() else {
            panic!("a message is a record");
        };
        for (name, value) in &mut fields {
            if let (true, Avro::Enum(index, symbol)) = (name == "reason", value) {
                (*index, *symbol) = (6, NEW_REASON.to_owned());
            }
        }
        let text = Box::new(Avro::String("a field that the first version has not".to_owned()));
        fields.push(("channel".to_owned(), Avro::Union(1, text)));
        let writer = GenericDatumWriter::builder(&self.second).build().unwrap();
        let mut rewritten = [&[0], id.to_be_bytes().as_slice()].concat();
        writer.write_value(&mut rewritten, Avro::Record(fields)).unwrap();
        rewritten
    }
}

/// Registers a schema as the next version under the subject of `topic`; status and answer.
fn register(topic: &str, schema: &Value) -> (u16, Value) {
    let url = format!("{}/subjects/{topic}-value/versions", registry().url());
    let (status, text) = http::post(&url, &json!({ "schema": schema.to_string() }));
    (status, serde_json::from_str(&text).unwrap())
}

/// Adds the last messages of a topic once more, written by the second version and under keys of their own.
fn publish_second_version(scene: &Scene, topic: &str, versions: &Versions) -> Vec<Record> {
    let (status, answer) = register(topic, &versions.second_json);
    assert_eq!(status, 200, "{answer}");
    let id = u32::try_from(answer["id"].as_u64().unwrap()).unwrap();
    let mut records = consume::committed(scene.kafka(), topic);
    let producer: BaseProducer = scene.kafka().client().create().unwrap();
    for record in &mut records {
        consumers::rename(record);
        record.payload = record.payload.as_deref().map(|message| versions.rewrite(message, id));
        consumers::send(&producer, topic, record);
    }
    producer.flush(CALL_DEADLINE).unwrap();
    records
}

fn scene(test: &str, orders: usize) -> Scene {
    let scene = Scene::new(test, SandboxArgs::with_orders(orders));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    scene.drain();
    scene
}

#[test]
fn consumers_of_the_first_version_read_events_of_the_second() {
    let scene = scene("migration", 10);
    let before = scene.events();
    let written = publish_second_version(&scene, &scene.topics.orders, &Versions::of("order_event.avsc"));
    assert_eq!((before.len(), written.len()), (10, 10));

    for language in ["python", "rust", "java", "node", "go"] {
        let lines = consumers::run(&scene, language, language, 20);
        assert_eq!(lines.len(), 20, "{language}");
        for old in &before {
            let find = |key: &str| lines.iter().find(|line| line["order_id"] == key).unwrap();
            let (first, second) = (find(old.key.as_deref().unwrap()), find(&consumers::other_id(old)));
            for same in ["total", "created_at", "read_at", "currency", "revision", "store"] {
                assert_eq!(first[same], second[same], "{language}");
            }
            assert_eq!(first["reason"], "DRAINED");
            // Read by the writer's schema alone, or with the reader's as well: a new name, or the default.
            assert!([json!(NEW_REASON), json!("UNKNOWN")].contains(&second["reason"]), "{language}: {second}");
        }
    }
}

#[test]
fn a_consumer_of_the_second_version_reads_events_of_the_first() {
    let scene = scene("migration-back", 10);
    let versions = Versions::of("order_event.avsc");
    publish_second_version(&scene, &scene.topics.orders, &versions);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("second.avsc");
    fs::write(&file, versions.second_json.to_string()).unwrap();

    let events = python::read_orders_as(scene.kafka(), registry(), &scene.topics.orders, &file);
    assert_eq!(events.len(), 20);
    let (second, first): (Vec<&Value>, Vec<&Value>) =
        events.iter().partition(|event| event["event"]["reason"] == NEW_REASON);
    assert_eq!((first.len(), second.len()), (10, 10));
    assert!(first.iter().all(|event| event["event"]["channel"].is_null() && event["event"]["reason"] == "DRAINED"));
    assert!(second.iter().all(|event| event["event"]["channel"] == "a field that the first version has not"));
}

/// After a step back to the first version the program finds what the second one published.
#[test]
fn the_program_reads_what_a_later_version_has_tracked() {
    let scene = scene("migration-tracking", 5);
    let records = publish_second_version(&scene, &scene.topics.tracking, &Versions::of("order_tracking.avsc"));
    let known = records[0].key.as_deref().unwrap().rsplit('/').next().unwrap().to_owned();
    scene.shop().insert(&json!({ "order": { "id": known, "total": "1" } }).to_string()).unwrap();
    let id: OrderId = known.parse().unwrap();
    scene.drain();
    let event = scene.events().into_iter().find(|event| event.key.as_deref() == Some(id.as_str())).unwrap();
    // It was tracked with revision 1.
    assert_eq!(event.header("ce_id"), Some(format!("bogota/{id}/2").as_str()));
    assert_eq!(keys(&scene.events()).len(), 6);
}

#[test]
fn the_registry_refuses_a_version_that_would_break_consumers() {
    let scene = scene("migration-refused", 1);
    let json = Versions::of("order_event.avsc").second_json;
    let with = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut changed = json.clone();
        change(changed["fields"].as_array_mut().unwrap());
        register(&scene.topics.orders, &changed).0
    };
    assert_eq!(
        with(&|fields| fields.push(json!({"name": "must", "type": "string"}))),
        409,
        "a field without a default"
    );
    assert_eq!(with(&|fields| fields.retain(|field| field["name"] != "order_id")), 409, "a field less");
    let total = |fields: &mut Vec<Value>| {
        let total = fields.iter_mut().find(|field| field["name"] == "total").unwrap();
        total["type"] = json!(["null", "double"]);
    };
    assert_eq!(with(&total), 409, "money as a float");
    assert_eq!(with(&|_| {}), 200);
}
