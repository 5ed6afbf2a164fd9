//! The schema registry: away, back, and asked by command.

use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::gate::Gate;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::{http, python, registry, wait};

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
    let line = program.wait_for_line("not ready; orders stay on the marketplace or in the spool", RUN_DEADLINE);
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
