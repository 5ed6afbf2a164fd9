//! Tests of irregular answers: what a PHP back end, or a proxy in front of it, returns instead of a regular page.

use imotriz_kafka::sandbox::{Call, Fault, SandboxArgs};
use rustix::process::Signal;
use serde_json::Value;

use crate::doctor::check;
use crate::support::kafka;
use crate::support::scene::{RUN_DEADLINE, Scene, ids_of, keys, was_killed};
use crate::support::verdict::Verdict;
use crate::support::{consume, http, wait};

fn scene(test: &str) -> Scene {
    Scene::new(test, SandboxArgs { page_size: 10, ..SandboxArgs::with_orders(100) })
}

fn fault(text: &str) -> Option<Fault> {
    Some(text.parse().unwrap())
}

fn assert_struck(scene: &Scene, faults: &[(&str, u64)]) {
    let summary = scene.shop().summary();
    assert_eq!(summary.scripted, 0, "not all faults were met");
    for (name, times) in faults {
        assert_eq!(summary.faults.get(name), Some(times), "{name}");
    }
}

fn reads(scene: &Scene) -> u64 {
    scene.shop().summary().requests[&Call::NewOrders]
}

#[test]
fn notices_around_the_json_cost_no_order_and_are_said_once() {
    let scene = scene("notices");
    // A read that is cut: its orders come back through a list and single answers that have notices too.
    scene.script(&[fault("drop-after"), fault("notice-behind")]);
    scene.shop().set_fault_rates("notice=1,order-ids/notice=1,order/notice=1".parse().unwrap());
    let drained = scene.drain();
    let struck = scene.shop().summary().faults;
    assert!(struck["notice"] >= 20 && struck["notice-behind"] == 1, "{struck:?}");
    Verdict::of(scene.marked(), &scene.events()).assert_clean();
    assert_eq!((scene.marked().len(), scene.spool().len()), (100, 0));
    let said = drained.stderr();
    assert_eq!(said.matches("something beside the JSON").count(), 1, "{said}");
    assert!(said.contains("PHP warning") && !said.contains("cart"), "what a notice says is not shown: {said}");
}

#[test]
fn a_page_among_notices_that_was_kept_is_published_after_a_kill() {
    let scene = scene("notices-kept").without_list();
    scene.run(&["topics", "ensure"], 0);
    scene.shop().set_fault_rates("notice=0.5,notice-behind=0.5".parse().unwrap());
    let mut killed = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "durable:3")]);
    assert!(was_killed(killed.wait(RUN_DEADLINE)));
    let pages: Vec<Value> = scene.spool().into_iter().filter(|entry| entry["state"] == "page").collect();
    assert!(!pages.is_empty(), "no page was waiting");
    let shown = scene.run(&["spool", "show", pages[0]["read_id"].as_str().unwrap()], 0);
    assert!(shown.stdout().contains("Warning"), "the notice is kept with the page");
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 100);
}

#[test]
fn a_byte_that_is_no_text_makes_a_dead_letter_of_its_order_alone() {
    let scene = scene("bytes").without_list();
    scene.script(&[fault("invalid-utf8")]);
    let drained = scene.drain();
    assert_struck(&scene, &[("invalid-utf8", 1)]);
    assert!(drained.stdout().starts_with("99 orders published, 1 dead letter"), "{}", drained.stdout());
    assert_eq!(scene.spool().len(), 0);

    let id = ids_of(&scene.reads()[0])[0].clone();
    assert!(!keys(&scene.events()).contains(&id));
    let letters = consume::committed(kafka(), &scene.topics.dead_letter);
    assert_eq!((letters.len(), letters[0].key.as_deref()), (1, Some(id.as_str())));
    let payload = letters[0].payload.as_deref().unwrap();
    assert_eq!(payload.iter().filter(|byte| **byte == 0xf1).count(), 1, "its bytes as they came");
    let rest: Vec<u8> = payload.iter().copied().filter(|byte| *byte != 0xf1).collect();
    let order = scene.shop().record(&id.parse().unwrap()).unwrap();
    assert_eq!(rest, order.iter().copied().filter(|byte| *byte != 0xf1).collect::<Vec<_>>());
    assert!(letters[0].header("imotriz.error.reason").unwrap().contains("not UTF-8"));

    let explained: Value = serde_json::from_str(&scene.run(&["--json", "explain", &id], 0).stdout()).unwrap();
    assert_eq!(explained["stores"][0]["tracking"]["state"], "DEAD_LETTERED");
    // By its ID it comes as it should be.
    scene.run(&["republish", &id], 0);
    assert!(keys(&scene.events()).contains(&id));
}

#[test]
fn a_declared_character_set_is_decoded() {
    let scene = scene("latin1");
    let accented = r#"{"order":{"id":990001},"buyer":{"name":"Íñigo Peña 🙏"}}"#;
    scene.shop().insert(accented).unwrap();
    scene.shop().set_fault_rates("latin1=1".parse().unwrap());
    let drained = scene.drain();
    assert!(drained.stdout().starts_with("101 orders published, 0 dead letters"), "{}", drained.stdout());
    assert!(scene.shop().summary().faults["latin1"] > 10);
    let events = scene.events();
    let event = events.iter().find(|event| event.key.as_deref() == Some("990001")).unwrap();
    let payload = String::from_utf8_lossy(event.payload.as_deref().unwrap()).into_owned();
    assert!(payload.contains("Íñigo Peña 🙏"), "{payload}");
}

#[test]
fn no_orders_in_other_words_is_no_riddle() {
    let scene = scene("other-words");
    for (said, unknown) in [("no-content", 0), ("not-found", 0), ("message", 1)] {
        // A message that does not say how it is meant leaves a trace the first time, which is looked into.
        let before = reads(&scene);
        scene.script(&vec![fault(said); 1 + unknown]);
        let more = scene.shop().add(10, 1);
        let drained = scene.drain();
        assert_struck(&scene, &[(said, 1 + unknown as u64)]);
        assert_eq!(scene.spool().len(), 0, "{said}");
        assert_eq!(drained.stderr().contains("read with an unknown outcome"), unknown > 0, "{said}");
        assert_eq!(drained.stderr().contains("taken for: no orders are pending"), said != "no-content", "{said}");
        let expected = before + 1 + if unknown == 0 { 0 } else { 1 };
        assert!(reads(&scene) >= expected, "{said}");
        scene.drain();
        assert!(more.iter().all(|id| keys(&scene.events()).contains(id.as_str())), "{said}");
    }
    Verdict::of(scene.marked(), &scene.events()).assert_clean();
}

#[test]
fn a_running_program_takes_other_words_for_an_idle_shop() {
    let scene = scene("idle").with("IMOTRIZ_API__POLL_INTERVAL", "50ms").with("IMOTRIZ_ADMIN__LISTEN", "127.0.0.1:0");
    let mut program = scene.settings.start(&["run"]);
    let line = program.wait_for_line("127.0.0.1:", RUN_DEADLINE);
    let (_, rest) = line.rsplit_once("127.0.0.1:").unwrap();
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    wait::until("all is read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    scene.shop().set_fault_rates("no-content=0.3,not-found=0.3,message=0.4".parse().unwrap());
    let before = reads(&scene);
    wait::until("many polls", RUN_DEADLINE, || reads(&scene) > before + 30);
    scene.shop().set_fault_rates("".parse().unwrap());
    scene.shop().add(10, 1);
    wait::until("the others are read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    let metrics = http::get(&format!("http://127.0.0.1:{port}/metrics")).1;
    for reason in ["no_content", "not_found", "message"] {
        let name = format!("imotriz_irregular_answers_total{{reason=\"{reason}\"}} ");
        let value: f64 = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap();
        assert!(value > 0.0, "{reason}");
    }
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(program.stderr().matches("read with an unknown outcome").count(), 1);
}

#[test]
fn a_404_is_no_empty_shop_before_the_path_has_proved_itself() {
    let elsewhere = "/api/cart/transaction/newOrders?v=2";
    let scene = scene("path").with("IMOTRIZ_API__PATHS__NEW_ORDERS", elsewhere);
    scene.script(&[fault("not-found")]);
    let program = scene.run(&["drain"], 3);
    assert!(
        program.stderr().contains("`api.paths.new_orders`, which is not the documented path"),
        "{}",
        program.stderr()
    );
    assert_eq!((scene.spool().len(), scene.marked().len()), (0, 0));
    // A page has come from there: now it is the marketplace's word.
    scene.script(&[None, fault("not-found")]);
    scene.drain();
    assert_struck(&scene, &[("not-found", 2)]);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 10);
}

#[test]
fn a_marketplace_that_is_away_for_long_leaves_few_and_small_traces() {
    let scene = scene("away").with("IMOTRIZ_API__POLL_INTERVAL", "50ms");
    let rates = "error-before=1,order/error-before=1,order-ids/error-before=1";
    scene.shop().set_fault_rates(rates.parse().unwrap());
    let mut program = scene.settings.start(&["run"]);
    program.wait_for_line("not even a question that marks nothing is answered", RUN_DEADLINE);
    assert_eq!(reads(&scene), 6);
    let traces = scene.spool().into_iter().filter(|entry| entry["state"] == "unknown");
    let sizes: Vec<u64> = traces.map(|trace| trace["size"].as_u64().unwrap()).collect();
    assert_eq!(sizes.len(), 6);
    assert!(sizes.iter().all(|size| *size < 8 << 10), "{sizes:?}");

    scene.shop().set_fault_rates("".parse().unwrap());
    wait::until("all is read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    wait::until("the traces are settled", RUN_DEADLINE, || scene.spooled("unknown") == 0);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 100);
}

#[test]
fn a_firewall_in_front_is_told_from_a_missing_start_date() {
    let scene = scene("firewall");
    scene.shop().set_fault_rates("waf=1,order-ids/waf=1,order/waf=1".parse().unwrap());
    let program = scene.run(&["drain"], 3);
    let said = program.stderr();
    assert!(said.contains("something in front of the marketplace refused the request"), "{said}");
    assert!(said.contains("status 403, text/html; charset=UTF-8, server cloudflare"), "{said}");
    assert!(!said.contains("synchronise orders from") && !said.contains("blocked"), "{said}");
    assert!(reads(&scene) > 1, "it may pass by itself");
    assert_eq!((scene.spool().len(), scene.marked().len()), (0, 0));

    let token = check(&scene, "token bogota", 7);
    assert!(token["found"].as_str().unwrap().contains("in front of it (status 403"), "{token}");
    assert!(token["cure"].as_str().unwrap().contains("through the firewall or the proxy"), "{token}");

    scene.shop().set_fault_rates("".parse().unwrap());
    scene.drain();
    scene.verdict().assert_clean();
}

#[test]
fn an_answer_that_a_firewall_keeps_back_is_a_read_of_unknown_outcome() {
    let scene = scene("kept-back");
    scene.script(&[fault("waf-after")]);
    let drained = scene.drain();
    assert_struck(&scene, &[("waf-after", 1)]);
    let said = drained.stderr();
    assert!(said.contains("lets other requests pass: it may have kept back the answer"), "{said}");
    // What was marked for it came back through the list.
    assert_eq!((scene.delivered().len(), scene.marked().len()), (90, 100));
    Verdict::of(scene.marked(), &scene.events()).assert_clean();
    assert_eq!(scene.spooled("unknown"), 0);
}
