//! A reader in another language, with other libraries: what a seller's own consumer would see.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::program::Program;
use super::registry::Registry;
use super::{Kafka, child, services};

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");
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

fn read(kafka: &Kafka, schemas: &str, topic: &str) -> Vec<Value> {
    let mut command = child::command(interpreter());
    command.arg(SCRIPT).args([kafka.bootstrap_servers(), schemas, topic]);
    let mut reader = Program::spawn(command);
    let status = reader.wait(READ_DEADLINE);
    assert!(status.success(), "the Python reader failed: {status}\n{}", reader.output());
    reader.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Python with the pinned packages, in an environment of its own, which is made once.
fn interpreter() -> &'static Path {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
        let name = format!("python-{:016x}", xxh3_64(REQUIREMENTS.as_bytes()));
        services::prepared(&name, install).join("venv/bin/python")
    });
    &PYTHON
}

fn install(directory: &Path) {
    let log = directory.join("install.log");
    let run = |mut command: Command, what: &str| {
        command.current_dir(directory);
        services::run(command, &log, &format!("{what}: it takes Python 3.10 or newer (Debian: python3-venv) and pip"));
    };
    let mut venv = child::command("python3");
    venv.args(["-m", "venv", "venv"]);
    run(venv, "making a virtual environment");
    let mut pip = child::command(directory.join("venv/bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    pip.arg("-r").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/python/requirements.txt"));
    run(pip, "installing the packages of the Python reader");
}
