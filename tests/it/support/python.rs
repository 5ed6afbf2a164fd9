//! A consumer in Python, with other libraries: what a seller's own consumer would read.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::program::Program;
use super::registry::Registry;
use super::{Kafka, child, example};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/read_orders.py");
const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/order_event.avsc");
const READ_DEADLINE: Duration = Duration::from_secs(120);

/// All committed events of a topic as Python's Avro reader gives them: `key`, `headers`, `partition`, `offset` and
/// `event`, with decimals as text and times in ISO 8601.
///
/// # Panics
/// When Python can't be had or can't read the topic; the message says why.
pub fn read_orders(kafka: &Kafka, registry: &Registry, topic: &str) -> Vec<Value> {
    read(kafka, registry.url(), topic)
}

/// The same for events in Avro's single-object encoding, by the schema that the repository publishes.
///
/// # Panics
/// As [`read_orders`].
pub fn read_orders_without_registry(kafka: &Kafka, topic: &str) -> Vec<Value> {
    read(kafka, SCHEMA, topic)
}

/// The same by the writer's schema and `reader`, a file with the schema that the reader would like to have.
///
/// # Panics
/// As [`read_orders`].
pub fn read_orders_as(kafka: &Kafka, registry: &Registry, topic: &str, reader: &Path) -> Vec<Value> {
    read_with(kafka, registry.url(), topic, Some(reader))
}

fn read(kafka: &Kafka, schemas: &str, topic: &str) -> Vec<Value> {
    read_with(kafka, schemas, topic, None)
}

fn read_with(kafka: &Kafka, schemas: &str, topic: &str, reader: Option<&Path>) -> Vec<Value> {
    let mut command = child::command(example::interpreter());
    command.arg(SCRIPT).args([kafka.bootstrap_servers(), schemas, topic]).args(reader);
    let mut reader = Program::spawn(command);
    let status = reader.wait(READ_DEADLINE);
    assert!(status.success(), "the Python reader failed: {status}\n{}", reader.output());
    reader.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
