//! Tests of the commands: their output and exit codes.

use std::io;

use imotriz_kafka::sandbox::SandboxArgs;
use serde_json::Value;

use crate::support::child::{self, Child};
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::topics;

#[test]
fn settings_are_checked_and_shown_without_their_secrets() {
    let scene = Scene::new("config", SandboxArgs::with_orders(0));
    assert_eq!(scene.run(&["config", "check"], 0).stdout(), "settings are fine; stores: bogota");
    let shown = scene.run(&["config", "show"], 0);
    assert!(shown.stdout().contains(&scene.topics.orders));
    let shown_as_json = scene.run(&["--json", "config", "show"], 0);
    let json: Value = serde_json::from_str(&shown_as_json.stdout()).unwrap();
    assert_eq!(json["settings"]["kafka"]["topics"]["tracking"], *scene.topics.tracking);
    for output in [shown.output(), shown_as_json.output()] {
        assert!(!output.contains("sandbox-token"), "the token in the output");
    }
}

#[test]
fn wrong_settings_are_named_with_their_source() {
    for (name, value, part) in [
        ("IMOTRIZ_KAFKA__BOOTSTRAP_SERVER", "x:1", "IMOTRIZ_KAFKA__BOOTSTRAP_SERVER"),
        ("IMOTRIZ_STORES__BOGOTA__COUNTRY", "XX", "IMOTRIZ_STORES__BOGOTA__COUNTRY"),
        ("IMOTRIZ_STORES__BOGOTA__BASE_URL", "http://elsewhere.example", "allow_insecure_http"),
        ("IMOTRIZ_KAFKA__PROPERTIES__ENABLE_IDEMPOTENCE", "false", "enable.idempotence"),
    ] {
        let scene = Scene::new("wrong", SandboxArgs::with_orders(0)).with(name, value);
        for command in [["config", "check"].as_slice(), &["drain"]] {
            let program = scene.run(command, 2);
            assert!(program.stderr().contains(part), "{name}: {}", program.stderr());
        }
    }
    let scene = Scene::new("wrong", SandboxArgs::with_orders(0));
    scene.run(&["drian"], 2);
    let unset = scene.without("IMOTRIZ_STORES__BOGOTA__TOKEN");
    unset.run(&["drain"], 2);
}

#[test]
fn what_kubernetes_sets_for_a_service_of_the_same_name_is_no_setting() {
    let links = [
        ("IMOTRIZ_SERVICE_HOST", "10.0.0.1"),
        ("IMOTRIZ_SERVICE_PORT", "9464"),
        ("IMOTRIZ_SERVICE_PORT_METRICS", "9464"),
        ("IMOTRIZ_PORT", "tcp://10.0.0.1:9464"),
        ("IMOTRIZ_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
        ("IMOTRIZ_PORT_9464_TCP_PROTO", "tcp"),
        ("IMOTRIZ_PORT_9464_TCP_PORT", "9464"),
        ("IMOTRIZ_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("IMOTRIZ_BOGOTA__NORTE_SERVICE_HOST", "10.0.0.2"),
    ];
    let scene = Scene::new("service-links", SandboxArgs::with_orders(3));
    let scene = links.iter().fold(scene, |scene, (name, value)| scene.with(name, value));
    scene.run(&["config", "check"], 0);
    scene.drain();
    assert_eq!(scene.delivered().len(), 3);
}

#[test]
fn topics_are_created_and_checked_and_a_wrong_one_is_refused() {
    let scene = Scene::new("topics", SandboxArgs::with_orders(30));
    let missing = scene.run(&["topics", "check"], 4);
    assert!(missing.stderr().contains("Create with `imotriz-kafka topics ensure`"), "{}", missing.stderr());
    scene.run(&["topics", "ensure"], 0);
    let checked = scene.run(&["--json", "topics", "check"], 0);
    let json: Value = serde_json::from_str(&checked.stdout()).unwrap();
    assert_eq!((&json["ok"], &json["lanes"]), (&Value::from(true), &Value::from(4)));

    let wrong = topics::unique("wrong-policy");
    topics::create(scene.kafka(), &wrong, 4, &[("cleanup.policy", "delete")]);
    let scene = scene.with("IMOTRIZ_KAFKA__TOPICS__TRACKING", &wrong);
    for command in [["topics", "check"].as_slice(), &["topics", "ensure"], &["drain"]] {
        let program = scene.run(command, 4);
        assert!(program.stderr().contains("has cleanup.policy=delete"), "{}", program.stderr());
    }
    assert_eq!(scene.reads().len(), 0);
}

#[test]
fn the_spool_is_listed_shown_and_verified() {
    let scene = Scene::new("look", SandboxArgs::with_orders(30));
    assert!(scene.run(&["spool", "list"], 0).stdout().contains("the spool is empty"));
    let mut killed = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "durable:1")]);
    killed.wait(RUN_DEADLINE);

    let page = scene.spool().into_iter().find(|entry| entry["state"] == "page").expect("a page waits");
    assert_eq!(page["store"], "bogota");
    let body = scene.run(&["spool", "show", page["read_id"].as_str().unwrap()], 0).stdout();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["data"].as_array().map(Vec::len), Some(30));
    scene.run(&["spool", "verify"], 0);
    let unknown_read = scene.run(&["spool", "show", "no-such-read"], 2);
    assert!(unknown_read.stderr().contains("see `imotriz-kafka spool list`"));

    // One byte of the body, and it is noticed.
    let file = page["file"].as_str().unwrap();
    let mut bytes = std::fs::read(file).unwrap();
    let position = bytes.windows(6).position(|part| part == b"\"data\"").unwrap();
    bytes[position] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    let verified = scene.run(&["spool", "verify"], 7);
    assert!(verified.stdout().contains("damaged: "), "{}", verified.stdout());
    bytes[position] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 30);
}

#[test]
fn a_broker_that_is_dead_at_the_start_ends_a_drain_with_advice() {
    let scene =
        Scene::new("dead", SandboxArgs::with_orders(30)).with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let program = scene.run(&["drain"], 4);
    let said = program.stderr();
    assert!(said.contains("Is a broker running at `127.0.0.1:1` (`kafka.bootstrap_servers`)?"), "{said}");
    assert!(said.contains("Nothing was read from the marketplace"), "{said}");
    assert_eq!(scene.reads().len(), 0);
}

#[test]
fn nothing_that_the_program_says_holds_a_token_or_a_buyer() {
    let scene = Scene::new("private", SandboxArgs::with_orders(90));
    let scene = scene.with("RUST_LOG", "trace");
    scene.shop().insert(r#"{"order":{"id":9,"total":"much"},"buyer":{"email":"ana@example.com"}}"#).unwrap();
    let steps = ["truncate", "html", "wrong-counts"].map(|text| Some(text.parse().unwrap()));
    scene.script(&steps);
    let mut said = scene.drain().output();
    said += &scene.run(&["spool", "list"], 0).output();
    said += &scene.run(&["--json", "spool", "list"], 0).output();
    assert!(said.lines().count() > 20, "that was not all");
    // Every buyer of the sandbox, and ana, has an address there.
    assert!(!said.contains("@example.com"), "a buyer's address in the output");
    assert!(!said.contains("sandbox-token"), "the token in the output");
}

#[test]
fn a_reader_who_has_gone_is_no_error_and_keeps_nothing_from_being_done() {
    let scene = Scene::new("gone", SandboxArgs::with_orders(60));
    assert_unread(&scene, 0, &["config show", "config check", "schemas show", "completions bash", "doctor"]);
    assert_unread(&scene, 0, &["topics ensure", "spool list", "spool verify", "spool account"]);
    assert_unread(&scene, 12, &["reconcile --dry-run"]);
    assert_unread(&scene, 0, &["drain"]);
    assert_eq!(scene.delivered().len(), 60);
    scene.verdict().assert_clean();
    let id = &scene.delivered()[0];
    assert_unread(&scene, 0, &["tail", "status", "reconcile", "dlq list", "dlq retry --all"]);
    assert_unread(&scene, 0, &[&format!("explain {id}"), &format!("republish {id}")]);
    assert_eq!(scene.events().len(), 61);
    // It would never end by itself.
    assert_unread(&scene, 0, &["demo --orders 30 --keep-running"]);
}

/// Runs commands whose standard output is a pipe that nobody reads.
fn assert_unread(scene: &Scene, code: i32, commands: &[&str]) {
    for line in commands {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let log = scene.settings.directory().join("unread.log");
        let mut command = scene.settings.command(&line.split(' ').collect::<Vec<_>>());
        child::log_to(&mut command, &log);
        command.stdout(writer);
        let status = Child::spawn(command).wait(RUN_DEADLINE);
        let status = status.unwrap_or_else(|| panic!("`{line}` still runs\n{}", child::tail(&log)));
        assert_eq!(status.code(), Some(code), "`{line}`: {status}\n{}", child::tail(&log));
    }
}
