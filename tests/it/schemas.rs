//! Tests of the schema registry: its outage, its return, and the `schemas` commands.

use std::collections::BTreeMap;
use std::time::Duration;

use imotriz_kafka::avro::framing::Frame;
use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::admin::{address, ready, status};
use crate::doctor::check;
use crate::support::gate::Gate;
use crate::support::registry::Registry;
use crate::support::scene::{NOT_READY, RUN_DEADLINE, Scene};
use crate::support::{http, port, python, registry, wait};

fn scene_behind_a_gate(test: &str) -> (Scene, Gate) {
    let (gate, url) = Gate::before(registry().url());
    let scene = Scene::new(test, SandboxArgs::with_orders(100));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", &url).with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    (scene, gate)
}

#[test]
fn while_the_registry_is_away_at_the_start_nothing_is_read() {
    let (scene, mut gate) = scene_behind_a_gate("registry-late");
    let mut program = scene.settings.start(&["run"]);
    let line = program.wait_for_line(NOT_READY, RUN_DEADLINE);
    assert!(line.contains("registry"), "{line}");
    assert!(wait::poll(Duration::from_secs(1), || (!scene.reads().is_empty()).then_some(())).is_none());

    gate.open();
    wait::until("all is read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(python::read_orders(scene.kafka(), registry(), &scene.topics.orders).len(), 100);
}

#[test]
fn a_registry_that_goes_away_after_the_start_is_not_missed() {
    let (scene, mut gate) = scene_behind_a_gate("registry-gone");
    gate.open();
    let mut program = scene.settings.start(&["run"]);
    wait::until("all is read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    gate.shut();
    scene.shop().add(100, 0);
    wait::until("the others are read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 200);
}

/// The IDs that the events carry, in the order of their partitions.
fn ids(scene: &Scene) -> Vec<u32> {
    let id = |value: Vec<u8>| match Frame::split(&value).unwrap().0 {
        Frame::Confluent { id } => id,
        frame @ Frame::SingleObject { .. } => panic!("{frame:?}"),
    };
    scene.events().into_iter().filter_map(|event| event.payload).map(id).collect()
}

/// Registers other schemas, until one has a higher ID than this.
fn use_up(registry: &Registry, last: u32) {
    for number in 0.. {
        let schema = json!({ "type": "record", "name": format!("Other{number}"), "fields": [] }).to_string();
        let url = format!("{}/subjects/other-{number}/versions", registry.url());
        let (code, text) = http::post(&url, &json!({ "schema": schema }));
        assert_eq!(code, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        if answer["id"].as_u64().unwrap() > last.into() {
            return;
        }
    }
}

/// A registry that knows nothing.
fn wiped() -> Registry {
    Registry::start_with(&BTreeMap::new(), port::free())
}

/// Adds orders, and waits until all that are there are published.
fn sell(scene: &Scene, orders: usize, in_all: usize) {
    scene.shop().add(orders, 0);
    wait::until("they are read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    wait::until("they are published", RUN_DEADLINE, || scene.events().len() == in_all);
}

#[test]
fn a_registry_that_forgot_under_a_running_program_gets_the_schemas_anew() {
    let (scene, mut gate) = scene_behind_a_gate("registry-forgot");
    gate.open();
    let mut program = scene.settings.start(&["run"]);
    sell(&scene, 0, 100);
    let former = ids(&scene)[0];
    gate.shut();
    sell(&scene, 10, 110);
    assert!(ids(&scene).iter().all(|id| *id == former), "a registry that is away is not missed");

    let wiped = wiped();
    gate.lead_to(wiped.url());
    use_up(&wiped, former);
    let (code, text) = http::get(&format!("{}/schemas/ids/{former}", wiped.url()));
    assert!(code == 200 && text.contains("Other"), "the ID is another schema's: {code} {text}");
    gate.open();
    // Nobody asks whether it is ready: it looks by itself.
    let line = program.wait_for_line("the schemas have other IDs now", RUN_DEADLINE);
    assert!(line.contains(&format!("another schema under the ID {former} ")), "{line}");
    sell(&scene, 10, 120);
    let now: Vec<u32> = ids(&scene).into_iter().filter(|id| *id != former).collect();
    assert_eq!(now.len(), 10);
    let (code, text) = http::get(&format!("{}/schemas/ids/{}", wiped.url(), now[0]));
    assert!(code == 200 && text.contains("OrderEvent"), "{code} {text}");
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);

    // What is out under the former ID nobody can read, and the doctor says so; the program knows its own records.
    let found = check(&scene, &format!("records {}", scene.topics.orders), 7);
    assert!(found["found"].as_str().unwrap().contains(&format!("another schema under the ID {former} ")), "{found}");
    assert!(found["cure"].as_str().unwrap().contains("backup"), "{found}");
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.events().len(), 120);
}

#[test]
fn while_a_registry_has_forgotten_what_may_not_be_registered_nothing_is_read_and_it_is_not_ready() {
    let (scene, mut gate) = scene_behind_a_gate("registry-void");
    gate.open();
    scene.run(&["schemas", "register"], 0);
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__AUTO_REGISTER", "false");
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    ready(&url);
    sell(&scene, 0, 100);
    gate.shut();
    let wiped = wiped();
    gate.lead_to(wiped.url());
    gate.open();
    wait::until("it is not ready, for the registry", RUN_DEADLINE, || {
        let (code, text) = http::get(&format!("{url}/readyz"));
        code == 503 && text.contains("forgotten the schema ID") && text.contains("imotriz-kafka schemas register")
    });
    let lanes = || status(&url)["lanes"].as_object().unwrap().values().cloned().collect::<Vec<_>>();
    wait::until("no lane takes work", RUN_DEADLINE, || lanes().iter().all(|lane| lane["state"] == "opening"));
    let reads_again = |reads: usize| wait::poll(Duration::from_secs(1), || (scene.reads().len() > reads).then_some(()));
    wait::until("the read in flight is over", RUN_DEADLINE, || reads_again(scene.reads().len()).is_none());
    scene.shop().add(10, 0);
    assert!(reads_again(scene.reads().len()).is_none(), "a destructive read while nothing can be published");

    scene.run(&["schemas", "register"], 0);
    ready(&url);
    sell(&scene, 0, 110);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
}

#[test]
fn schemas_are_checked_registered_and_shown() {
    let scene =
        Scene::new("schemas", SandboxArgs::with_orders(0)).with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    let subject = format!("{}-value", scene.topics.orders);
    let checked = scene.run(&["schemas", "check"], 0);
    assert!(checked.stdout().contains(&format!("{subject} is compatible and not yet registered")));

    let registered = scene.run(&["--json", "schemas", "register"], 0);
    let first: Value = serde_json::from_str(registered.stdout().lines().next().unwrap()).unwrap();
    let (status, text) = http::get(&format!("{}/subjects/{subject}/versions/latest", registry().url()));
    let held: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &held["id"]), (200, &first["id"]));
    let checked = scene.run(&["schemas", "check"], 0);
    assert!(checked.stdout().contains(&format!("{subject} is registered with the ID {}", first["id"])));
    assert!(scene.run(&["schemas", "show"], 0).stdout().contains("\"OrderEvent\""));
}

#[test]
fn a_subject_with_another_schema_is_refused_before_anything_is_read() {
    let scene =
        Scene::new("taken", SandboxArgs::with_orders(10)).with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    let subject = format!("{}-value", scene.topics.orders);
    let level = format!("{}/config/{subject}", registry().url());
    let other = json!({ "schema": r#"{"type":"record","name":"Other","fields":[{"name":"a","type":"long"}]}"# });
    assert_eq!(http::post(&format!("{}/subjects/{subject}/versions", registry().url()), &other).0, 200);
    assert_eq!(http::put(&level, &json!({ "compatibility": "FULL_TRANSITIVE" })).0, 200);

    for command in [["schemas", "check"].as_slice(), &["schemas", "register"], &["drain"]] {
        let program = scene.run(command, 5);
        assert!(program.stderr().contains(&subject), "{}", program.stderr());
    }
    assert_eq!(scene.reads().len(), 0);
}
