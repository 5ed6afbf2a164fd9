//! Tests of the operators' commands on a real broker: `tail`, `explain`, `status`, `dlq`.

use imotriz_kafka::sandbox::SandboxArgs;
use serde_json::Value;

use crate::doctor::check;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::{http, port, wait};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(json).collect()
}

#[test]
fn a_tail_shows_committed_events_with_exact_totals_and_no_personal_data() {
    let scene = Scene::new("tail", SandboxArgs::with_orders(40));
    scene.drain();
    let all = lines(&scene.run(&["--json", "tail", "--from", "beginning"], 0).stdout());
    assert_eq!(all.len(), 40);
    let last = lines(&scene.run(&["--json", "tail", "-n", "7"], 0).stdout());
    assert_eq!(last.len(), 7);
    assert_eq!(scene.run(&["tail"], 0).stdout().lines().count(), 10);

    let id = all[0]["event"]["order_id"].as_str().unwrap();
    let one = lines(&scene.run(&["--json", "tail", "--order", id], 0).stdout());
    assert_eq!((one.len(), &one[0]["event"]["order_id"]), (1, &all[0]["event"]["order_id"]));
    let record = scene.shop().record(&id.parse().unwrap()).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let email = record["buyer"]["email"].as_str().unwrap();
    let masked = scene.run(&["--json", "tail", "--order", id], 0).stdout();
    assert!(!masked.contains(email) && masked.contains("•••"), "{masked}");
    assert!(scene.run(&["--json", "tail", "--order", id, "--show-pii"], 0).stdout().contains(email));
    let plain = scene.run(&["tail", "--order", id], 0).stdout();
    assert!(plain.contains(id) && plain.contains('\t') && !plain.contains(record["buyer"]["name"].as_str().unwrap()));

    let count = |arguments: &[&str]| {
        let arguments = [["--json", "tail", "--from", "beginning"].as_slice(), arguments].concat();
        scene.run(&arguments, 0).stdout().lines().count()
    };
    assert_eq!(count(&["--store", "bogota", "--reason", "drained", "--since", "1h"]), 40);
    assert_eq!((count(&["--store", "cali"]), count(&["--reason", "updated"]), count(&["--until", "1h"])), (0, 0, 0));
    let total = all[0]["event"]["total"].as_str().unwrap();
    let more = all.iter().filter(|line| {
        let parsed = |text: &str| text.parse::<rust_decimal::Decimal>().unwrap();
        line["event"]["total"].as_str().is_some_and(|it| parsed(it) >= parsed(total))
    });
    assert_eq!(count(&["--min-total", total]), more.count());
}

#[test]
fn a_tail_that_follows_shows_what_comes_and_ends_at_ctrl_c() {
    let scene = Scene::new("follow", SandboxArgs::with_orders(3));
    scene.drain();
    let mut tail = scene.settings.start(&["tail", "-f", "-n", "1"]);
    tail.wait_for_line("drained", RUN_DEADLINE);
    scene.shop().add(1, 0);
    scene.drain();
    let newest = scene.marked().last().unwrap().clone();
    tail.wait_for_line(&newest, RUN_DEADLINE);
    tail.signal(rustix::process::Signal::INT);
    assert_eq!(tail.wait(RUN_DEADLINE).code(), Some(0), "{}", tail.output());
}

#[test]
fn an_order_is_explained_from_the_spool_to_the_topic() {
    let scene = Scene::new("explain", SandboxArgs::with_orders(30));
    scene.run(&["topics", "ensure"], 0);
    assert!(scene.run(&["explain", "4810007"], 7).stdout().contains("never received it"));
    scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "durable:1")]).wait(RUN_DEADLINE);
    let id = scene.marked()[0].clone();
    let waiting = scene.run(&["explain", &id], 0).stdout();
    assert!(waiting.contains("in a page that waits") && waiting.contains("safe in the spool"), "{waiting}");

    scene.drain();
    let explained = json(&scene.run(&["--json", "explain", &id, "--store", "bogota"], 0).stdout());
    let case = &explained["stores"][0];
    let record = scene.events().into_iter().find(|record| record.key.as_deref() == Some(&id)).unwrap();
    assert_eq!(case["events"][0]["partition"], record.partition);
    assert_eq!(case["events"][0]["offset"], record.offset);
    assert_eq!((&case["events"][0]["visible"], &case["tracking"]["state"]), (&Value::from(true), &"PUBLISHED".into()));
    assert!(case["conclusion"].as_str().unwrap().contains("It is published (revision 1"), "{case}");
    assert!(scene.run(&["explain", &id], 0).stdout().contains("DRAINED"));
    scene.run(&["explain", &id, "--store", "cali"], 7);
}

#[test]
fn an_event_of_a_transaction_that_was_given_up_is_told_to_be_invisible() {
    let scene = Scene::new("explain-aborted", SandboxArgs::with_orders(3));
    scene.run(&["topics", "ensure"], 0);
    // Killed with its events produced and not committed; the next run settles and publishes again.
    let mut killed = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "delivered:1")]);
    killed.wait(RUN_DEADLINE);
    scene.drain();
    let id = scene.marked()[0].clone();
    let explained = json(&scene.run(&["--json", "explain", &id], 0).stdout());
    let visible: Vec<_> =
        explained["stores"][0]["events"].as_array().unwrap().iter().map(|it| &it["visible"]).collect();
    assert_eq!(visible, [&Value::from(false), &Value::from(true)], "{explained}");
    assert!(scene.run(&["explain", &id], 0).stdout().contains("not visible"));
}

#[test]
fn dead_letters_are_listed_without_their_contents_and_retried_once_the_mapping_is_right() {
    let wrong = "IMOTRIZ_MAPPING__ORDER__TOTAL";
    let scene = Scene::new("dlq", SandboxArgs::with_orders(5)).with(wrong, "/buyer/name");
    scene.drain();
    assert_eq!(scene.events().len(), 0);
    let letters = lines(&scene.run(&["--json", "dlq", "list"], 0).stdout());
    assert_eq!((letters.len(), &letters[0]["pointer"]), (5, &Value::from("/buyer/name")));
    let (place, id) = (letters[0]["place"].as_str().unwrap(), letters[0]["order_id"].as_str().unwrap());
    let record: Value = serde_json::from_slice(&scene.shop().record(&id.parse().unwrap()).unwrap()).unwrap();
    let name = record["buyer"]["name"].as_str().unwrap();
    assert!(!scene.run(&["dlq", "list"], 0).stdout().contains(name));
    assert_eq!(json(&scene.run(&["dlq", "show", place], 0).stdout())["buyer"]["name"], name);
    scene.run(&["dlq", "show", "9:9"], 2);
    let explained = scene.run(&["explain", id], 0).stdout();
    assert!(explained.contains(&format!("dlq retry {place}")), "{explained}");

    let still = scene.run(&["dlq", "retry", "--all"], 11).stdout();
    assert!(still.contains("still can't be read") && !still.contains(name), "{still}");
    assert_eq!(lines(&scene.run(&["--json", "dlq", "list"], 0).stdout()).len(), 5, "a retry makes no second letter");

    let scene = scene.without(wrong);
    scene.run(&["dlq", "retry", "--all", "--dry-run"], 0);
    assert_eq!(scene.events().len(), 0);
    scene.run(&["dlq", "retry", place], 0);
    assert_eq!(scene.events().len(), 1);
    assert_eq!(scene.events()[0].header("imotriz-reason"), Some("REPUBLISHED"));
    scene.run(&["dlq", "retry", "--all"], 0);
    scene.run(&["dlq", "retry", "--all"], 0);
    assert_eq!(scene.events().len(), 5, "a retry is safe to repeat");
    let status = json(&scene.run(&["--json", "status"], 0).stdout());
    assert_eq!(status["stores"]["bogota"]["published"], 5, "{status}");
    assert_eq!((&status["source"], &status["dead_letters"]), (&"topics".into(), &5.into()));
}

#[test]
fn the_status_of_a_running_instance_is_its_own_word() {
    let port = port::free();
    let scene =
        Scene::new("status", SandboxArgs::with_orders(3)).with("IMOTRIZ_ADMIN__LISTEN", &format!("127.0.0.1:{port}"));
    scene.drain();
    let status = || json(&scene.run(&["--json", "status"], 0).stdout());
    assert_eq!(status()["source"], "topics");
    let mut program = scene.settings.start(&["run"]);
    wait::until("the instance answers, and is ready", RUN_DEADLINE, || {
        let status = status();
        status["source"] == "instance" && status["status"]["ready"] == true
    });
    let text = scene.run(&["status"], 0).stdout();
    assert!(text.contains("running, ready") && text.contains("1 store: 1 well"), "{text}");
    assert!(scene.run(&["doctor", "--quick"], 0).stdout().contains("it lives"));
    let lock = check(&scene, "lock", 0);
    assert!(lock["found"].as_str().unwrap().contains(&format!("held by process {}", program.pid())), "{lock}");
    program.signal(rustix::process::Signal::TERM);
    program.wait(RUN_DEADLINE);
}

#[test]
fn the_status_of_a_shop_that_is_not_read_says_why_and_since_when() {
    let port = port::free();
    let scene =
        Scene::new("void", SandboxArgs::with_orders(3)).with("IMOTRIZ_ADMIN__LISTEN", &format!("127.0.0.1:{port}"));
    // `status` looks at the topics too, and the program may not have created them yet.
    scene.run(&["topics", "ensure"], 0);
    scene.shop().set_token("another");
    let mut program = scene.settings.start(&["run"]);
    let store = || json(&scene.run(&["--json", "status"], 0).stdout())["status"]["stores"]["bogota"].clone();
    wait::until("the refusal is told", RUN_DEADLINE, || store()["not_read"]["kind"] == "token_refused");
    let told = store()["not_read"].clone();
    assert!(told["since"].is_string() && told["last_tried_at"].is_string(), "{told}");
    let text = scene.run(&["status"], 0).stdout();
    let sentence = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(sentence.contains("not read: the marketplace does not accept the token (401)"), "{text}");
    assert!(sentence.contains("generate one in the shop's settings") && sentence.contains("failing since 2"), "{text}");
    assert!(!text.contains("sandbox-token"), "{text}");
    // Each try is told anew, and one that is cut on a busy machine for another reason.
    let page = || http::get(&format!("http://127.0.0.1:{port}/")).1;
    wait::until("the page tells the refusal", RUN_DEADLINE, || {
        page().contains("bogota is not read: the marketplace does not accept the token (401)")
    });
    wait::until("the reconciler tells as well", RUN_DEADLINE, || store()["not_reconciled"]["kind"] == "token_refused");

    scene.shop().set_token("sandbox-token");
    wait::until("nothing stands in the way", RUN_DEADLINE, || {
        let store = store();
        store["not_read"].is_null() && store["not_reconciled"].is_null() && store["orders_read"] == 3
    });
    program.signal(rustix::process::Signal::TERM);
    program.wait(RUN_DEADLINE);
}

#[test]
fn completions_know_every_command() {
    let scene = Scene::new("completions", SandboxArgs::with_orders(0));
    for shell in ["bash", "zsh", "fish"] {
        let script = scene.run(&["completions", shell], 0).stdout();
        assert!(script.contains("explain") && script.contains("show-pii"), "{shell}");
    }
}
