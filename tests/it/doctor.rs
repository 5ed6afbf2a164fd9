//! Tests of `doctor`: it finds whatever is wrong, and names the remedy.

use std::fs;

use imotriz_kafka::sandbox::SandboxArgs;
use serde_json::{Value, json};

use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::{Kafka, http, registry, topics};

/// The check of this name, by the JSON of `doctor`.
pub fn check(scene: &Scene, name: &str, code: i32) -> Value {
    let report = scene.run(&["--json", "doctor"], code).stdout();
    let report: Value = serde_json::from_str(&report).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
    found.unwrap_or_else(|| panic!("no check {name}: {report}")).clone()
}

fn assert_bad(check: &Value, found: &str, cure: &str) {
    assert_eq!(check["health"], "bad", "{check}");
    assert!(check["found"].as_str().unwrap().contains(found), "{check}");
    assert!(check["cure"].as_str().unwrap().contains(cure), "{check}");
}

#[test]
fn a_doctor_who_finds_nothing_says_so_and_changes_nothing() {
    let scene = Scene::new("doctor", SandboxArgs::with_orders(3));
    let report = scene.run(&["doctor"], 0);
    let text = report.stdout();
    for part in [
        "✓ stores",
        "1 store well: token accepted",
        "✓ broker",
        "✓ transaction log",
        "✓ transactions",
        "✓ spool",
        "✓ lock",
        "all is well",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "colours in a pipe");
    assert_eq!(scene.reads().len(), 0, "the destructive read");
    scene.run(&["topics", "check"], 4);
    scene.drain();
    assert!(scene.run(&["doctor"], 0).stdout().contains("1 replica, compact"));
}

#[test]
fn a_doctor_tells_401_403_and_a_wrong_path_apart_and_names_their_cures() {
    let scene = Scene::new("doctor-token", SandboxArgs::with_orders(3));
    let token = "IMOTRIZ_STORES__BOGOTA__TOKEN";
    let scene = scene.with(token, "void");
    let wrong = check(&scene, "token bogota", 7);
    assert_bad(&wrong, "401", "generate a new one in the shop's settings");
    assert!(!wrong.to_string().contains("void\""), "the token");
    let scene = scene.with(token, "sandbox-token").without_list();
    assert_bad(&check(&scene, "token bogota", 7), "/nowhere", "api.paths.order_ids");
    let scene = scene.with(token, "void");
    assert_bad(&check(&scene, "token bogota", 7), "401", "generate a new one");
    let scene = Scene::new("doctor-start", SandboxArgs::with_orders(3));
    scene.shop().set_start_date(false);
    assert_bad(&check(&scene, "token bogota", 7), "403", "synchronise orders from");
    assert_eq!(scene.reads().len(), 0);
}

#[test]
fn a_doctor_without_a_broker_says_where_he_looked_for_one() {
    let scene = Scene::new("doctor-broker", SandboxArgs::with_orders(3))
        .with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1");
    assert_bad(&check(&scene, "broker", 7), "failed", "127.0.0.1:1");
    assert_eq!(check(&scene, "topic ", 7)["health"], "skipped");
    assert_eq!(check(&scene, "token bogota", 7)["health"], "good");
    for command in [["tail"].as_slice(), &["dlq", "list"], &["explain", "7"], &["status"]] {
        let program = scene.run(command, 4);
        assert!(program.stderr().contains("Is a broker running at `127.0.0.1:1`"), "{}", program.output());
    }
}

#[test]
fn a_doctor_names_a_wrong_policy_and_what_sets_it_right() {
    let scene = Scene::new("doctor-policy", SandboxArgs::with_orders(3));
    let wrong = topics::unique("doctor-wrong");
    topics::create(scene.kafka(), &wrong, 4, &[("cleanup.policy", "delete")]);
    let scene = scene.with("IMOTRIZ_KAFKA__TOPICS__TRACKING", &wrong);
    let check = check(&scene, &format!("topic {wrong}"), 7);
    assert_bad(&check, "cleanup.policy is delete", "--add-config cleanup.policy=compact");
}

#[test]
fn a_doctor_tells_a_registry_that_is_away_from_one_that_is_well() {
    let url = "IMOTRIZ_SCHEMA_REGISTRY__URL";
    let scene = Scene::new("doctor-registry", SandboxArgs::with_orders(3)).with(url, "http://127.0.0.1:1");
    assert_bad(&check(&scene, "registry", 7), "can't be reached", "schema_registry.url");
    let scene = scene.with(url, registry().url());
    assert!(check(&scene, "schema ", 0)["found"].as_str().unwrap().contains("registered at the start"));
    scene.run(&["schemas", "register"], 0);
    assert!(check(&scene, "schema ", 0)["found"].as_str().unwrap().contains("FULL_TRANSITIVE"));
}

#[test]
fn a_doctor_in_a_hurry_asks_the_instance_alone() {
    let scene = Scene::new("quick", SandboxArgs::with_orders(0))
        .with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .with("IMOTRIZ_ADMIN__LISTEN", "127.0.0.1:1");
    let nobody = scene.run(&["doctor", "--quick"], 1);
    assert!(nobody.stderr().contains("no running instance answers at 127.0.0.1:1"), "{}", nobody.stderr());
    let state = format!("{}/_sandbox/state", scene.base_url());
    assert!(scene.run(&["doctor", "--quick", "--url", &state], 0).stdout().contains("it lives"));
    let missing = format!("{}/nothing/here", scene.base_url());
    assert!(scene.run(&["doctor", "--quick", "--url", &missing], 1).stdout().contains("does not live"));
    let https = scene.run(&["doctor", "--quick", "--url", "https://127.0.0.1:1/livez"], 1);
    assert!(https.stderr().contains("only http:// can be asked"), "{}", https.stderr());
    scene.run(&["doctor", "--url", &state], 2);
}

#[test]
fn a_doctor_finds_a_clock_that_is_days_off_in_either_direction() {
    let scene = Scene::new("doctor-clock", SandboxArgs::with_orders(3));
    let scene = scene.with("IMOTRIZ_TEST_CLOCK_OFFSET", "3d");
    assert_bad(&check(&scene, "clock bogota", 7), "ahead of the marketplace's", "timedatectl set-ntp true");
    let scene = scene.with("IMOTRIZ_TEST_CLOCK_OFFSET", "-3d");
    assert_bad(&check(&scene, "clock bogota", 7), "behind the marketplace's", "timedatectl set-ntp true");
}

#[test]
fn a_doctor_without_a_store_or_its_token_says_what_to_set() {
    let token = "IMOTRIZ_STORES__BOGOTA__TOKEN";
    let scene = Scene::new("doctor-store", SandboxArgs::with_orders(3)).without(token);
    let scene = scene.with("IMOTRIZ_STORES__BOGOTA__TOKEN_FILE", "/no/such/file");
    assert_bad(&check(&scene, "token bogota", 7), "/no/such/file", "token_file");
    let store = ["TOKEN_FILE", "COUNTRY", "BASE_URL"].map(|key| format!("IMOTRIZ_STORES__BOGOTA__{key}"));
    let scene = store.iter().fold(scene, |scene, variable| scene.without(variable));
    assert_bad(&check(&scene, "stores", 7), "no store", "[stores.NAME]");
}

#[test]
fn a_doctor_misses_topics_that_nobody_may_create() {
    let scene = Scene::new("doctor-topics", SandboxArgs::with_orders(3));
    let scene = scene.with("IMOTRIZ_KAFKA__CREATE_TOPICS", "false");
    assert_bad(&check(&scene, &format!("topic {}", scene.topics.orders), 7), "missing", "imotriz-kafka topics ensure");
}

#[test]
fn a_doctor_tells_a_foreign_schema_under_the_subject() {
    let scene = Scene::new("doctor-foreign", SandboxArgs::with_orders(3));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    let subject = format!("{}-value", scene.topics.orders);
    let schema = r#"{"type":"record","name":"Other","fields":[{"name":"number","type":"int"}]}"#;
    let versions = format!("{}/subjects/{subject}/versions", registry().url());
    assert_eq!(http::post(&versions, &json!({ "schema": schema })).0, 200);
    let config = format!("{}/config/{subject}", registry().url());
    assert_eq!(http::put(&config, &json!({ "compatibility": "FULL_TRANSITIVE" })).0, 200);
    assert_bad(&check(&scene, &format!("schema {subject}"), 7), "not compatible", "use another topic");
}

#[test]
fn a_doctor_looks_at_the_spools_folder_its_room_and_its_files() {
    let scene = Scene::new("doctor-spool", SandboxArgs::with_orders(30));
    let scene = scene.with("IMOTRIZ_SPOOL__MAX_PAGES", "1000000").with("IMOTRIZ_SPOOL__PAGE_SPACE", "8MiB");
    assert_bad(&check(&scene, "space", 7), "8000000 MiB needed", "spool.max_pages");
    let scene = scene.without("IMOTRIZ_SPOOL__MAX_PAGES").without("IMOTRIZ_SPOOL__PAGE_SPACE");

    let file = scene.settings.directory().join("a-file");
    fs::write(&file, "").unwrap();
    let scene = scene.with("IMOTRIZ_SPOOL__DIR", file.to_str().unwrap());
    assert_bad(&check(&scene, "spool", 7), "a-file", "spool.dir");
    let spool = scene.settings.directory().join("spool");
    let scene = scene.with("IMOTRIZ_SPOOL__DIR", spool.to_str().unwrap());

    scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "durable:1")]).wait(RUN_DEADLINE);
    let page = scene.spool().into_iter().find(|entry| entry["state"] == "page").expect("a page waits");
    let file = page["file"].as_str().unwrap();
    let mut bytes = fs::read(file).unwrap();
    let position = bytes.windows(6).position(|part| part == b"\"data\"").unwrap();
    bytes[position] ^= 1;
    fs::write(file, &bytes).unwrap();
    assert_bad(&check(&scene, "pages", 7), "1 damaged", "imotriz-kafka spool verify");
}

/// Kafka is content with as many replicas as there are, since 3.7.
#[test]
fn a_doctor_does_not_say_that_nothing_can_be_written_where_a_drain_has_just_written() {
    let kafka = Kafka::start_private(&[("min.insync.replicas", "2"), ("transaction.state.log.min.isr", "2")]);
    let scene = Scene::on_own(kafka, "doctor-replicas", SandboxArgs::with_orders(30));
    let doubtful = |name: &str| {
        let check = check(&scene, name, 0);
        assert_eq!(check["health"], "doubtful", "{check}");
        assert!(check["found"].as_str().unwrap().contains("Kafka from 3.7 on is content"), "{check}");
        assert!(!check.to_string().contains("nothing can be written"), "{check}");
    };
    scene.drain();
    scene.verdict().assert_clean();
    doubtful("transaction log");
    for topic in [&scene.topics.orders, &scene.topics.tracking, &scene.topics.dead_letter] {
        doubtful(&format!("topic {topic}"));
    }
}
