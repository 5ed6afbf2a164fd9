//! Tests of a marketplace that misbehaves, by script. Every order that was delivered whole is published once, and every
//! read of unknown outcome leaves a trace.

use std::fs;

use imotriz_kafka::sandbox::{Call, Fault, SandboxArgs, Shop};
use rustix::process::Signal;

use crate::support::program::Settings;
use crate::support::scene::{RUN_DEADLINE, Scene, ids_of, keys};
use crate::support::verdict::Verdict;
use crate::support::wait;

/// Pages enough for every script here.
fn scene() -> Scene {
    Scene::new("faults", SandboxArgs { page_size: 10, ..SandboxArgs::with_orders(200) })
}

fn fault(text: &str) -> Option<Fault> {
    Some(text.parse().unwrap())
}

/// Scripts these faults, each followed by an answer as it should be.
fn script(scene: &Scene, faults: &[&str]) {
    let steps: Vec<_> = faults.iter().flat_map(|text| [fault(text), None]).collect();
    scene.script(&steps);
}

fn assert_they_struck(scene: &Scene, faults: &[&str]) {
    let struck = scene.shop().summary();
    assert_eq!(struck.scripted, 0, "not all faults were met");
    for text in faults {
        let name = fault(text).unwrap().name();
        let expected = faults.iter().filter(|other| fault(other).unwrap().name() == name).count() as u64;
        assert_eq!(struck.faults.get(name), Some(&expected), "{name}");
    }
}

#[test]
fn reads_with_an_unknown_outcome_leave_a_trace_and_the_others_are_published() {
    let faults =
        ["error-before", "error-after", "drop-before", "drop-after", "truncate", "html", "redirect", "truncate"];
    let scene = scene().without_list();
    script(&scene, &faults);
    let drained = scene.drain();
    assert_they_struck(&scene, &faults);
    scene.verdict().assert_clean();
    // Five of them came after the marking.
    assert_eq!(scene.delivered().len(), 200 - 5 * 10);
    assert!(drained.stdout().contains("8 reads had an unknown outcome"), "{}", drained.stdout());

    let unknown: Vec<_> = scene.spool().into_iter().filter(|entry| entry["state"] == "unknown").collect();
    assert_eq!(unknown.len(), 8);
    let notes: Vec<&str> = unknown.iter().map(|entry| entry["note"].as_str().unwrap()).collect();
    for (note, part) in notes.iter().zip(["500", "500", "connection", "connection", "connection", "not JSON", "302"]) {
        assert!(note.contains(part), "{note}: {part}");
    }
    // What came of a cut page is kept for whoever looks into it.
    assert!(unknown[4]["bytes"].as_u64().unwrap() > 0);
    // A next run knows of them, asks for nothing again, and doubles nothing.
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.spooled("unknown"), 8);
}

#[test]
fn answers_of_odd_shape_are_pages_like_any_other() {
    let faults = [
        "object-data",
        "empty-as-list",
        "bom",
        "text-html",
        "late:1500ms",
        "trickle:1ms",
        "huge:2MiB",
        "overfull",
        "duplicates",
        "empty-pending",
    ];
    let scene = scene();
    script(&scene, &faults);
    scene.drain();
    assert_they_struck(&scene, &faults);
    let marked = scene.marked();
    assert_eq!(marked.len(), 200);
    Verdict::of(marked, &scene.events()).assert_clean();
    assert_eq!(scene.spool().len(), 0);
}

#[test]
fn a_long_answer_without_orders_leaves_nothing_behind() {
    let scene = Scene::new("long", SandboxArgs::with_orders(0));
    scene.script(&[fault("huge:64KiB")]);
    let drained = scene.drain();
    assert_they_struck(&scene, &["huge:64KiB"]);
    let said = drained.stdout();
    assert!(said.starts_with("0 orders published, 0 dead letters, 0 already known; 0 pages read"), "{said}");
    assert_eq!((scene.spool().len(), scene.events().len()), (0, 0));
}

#[test]
fn a_page_whose_counts_are_wrong_is_published_and_what_may_be_missing_is_noted() {
    let scene = scene().without_list();
    script(&scene, &["wrong-counts"]);
    scene.drain();
    assert_they_struck(&scene, &["wrong-counts"]);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 200);
    let spool = scene.spool();
    assert_eq!(spool.len(), 1);
    let note = spool[0]["note"].as_str().unwrap();
    assert!(note.contains("says that it returned 11 records, and 10 are there"), "{note}");
}

#[test]
fn an_answer_beyond_the_limits_is_an_unknown_outcome() {
    let scene = scene().without_list().with("IMOTRIZ_API__MAX_BODY", "256KiB").with("IMOTRIZ_API__IDLE_TIMEOUT", "1s");
    let faults = ["huge:1MiB", "late:4s"];
    script(&scene, &faults);
    scene.drain();
    assert_they_struck(&scene, &faults);
    let given_up: Vec<_> = scene.reads().into_iter().filter(|read| read.fault.is_some()).collect();
    let verdict = Verdict::of(scene.marked(), &scene.events());
    let lost: Vec<String> = given_up.iter().flat_map(ids_of).collect();
    assert_eq!(verdict, Verdict { lost, ..Verdict::default() });
    let notes: Vec<String> = scene.spool().iter().map(|entry| entry["note"].to_string()).collect();
    assert_eq!(notes.len(), 2);
    assert!(notes[0].contains("larger than 262144 bytes (`api.max_body`)"), "{}", notes[0]);
    assert!(notes[1].contains("did not answer in time"), "{}", notes[1]);
}

#[test]
fn a_marketplace_that_asks_for_patience_is_left_alone_for_so_long() {
    let scene = scene();
    script(&scene, &["throttle:2s"]);
    scene.drain();
    assert_they_struck(&scene, &["throttle"]);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 200);
    let reads = scene.reads();
    let wait = reads[1].at.duration_since(reads[0].at);
    assert!(wait.as_secs() >= 2, "asked for two seconds, it came again after {wait}");
    assert_eq!(scene.spool().len(), 0);
}

#[test]
fn a_drain_gives_up_on_a_marketplace_that_only_fails() {
    let scene = scene();
    scene.shop().set_fault_rates("drop-before=1".parse().unwrap());
    let program = scene.run(&["drain"], 3);
    assert!(program.stderr().contains("6 reads in a row had an unknown outcome"), "{}", program.stderr());
    assert_eq!(scene.shop().summary().faults.get("drop-before"), Some(&6));
    assert_eq!(scene.spooled("unknown"), 6);
    scene.shop().set_fault_rates("".parse().unwrap());
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 200);
}

#[test]
fn a_marketplace_that_cannot_be_reached_ends_a_drain_with_advice() {
    let scene = scene().with("IMOTRIZ_STORES__BOGOTA__BASE_URL", "http://127.0.0.1:1");
    let program = scene.run(&["drain"], 3);
    assert!(program.stderr().contains("can't be reached"), "{}", program.stderr());
    assert!(program.stderr().contains("Check the network and the store's `base_url`"), "{}", program.stderr());
    assert_eq!(scene.spool().len(), 0, "nothing was sent, so nothing is unknown");
}

#[test]
fn refusals_end_a_drain_with_advice_and_mark_nothing() {
    for (name, value, advice) in [
        ("IMOTRIZ_STORES__BOGOTA__TOKEN", "an-older-token", "generate one in the shop's settings"),
        (
            "IMOTRIZ_API__PATHS__NEW_ORDERS",
            "/api/elsewhere",
            "status 404: check the store's `base_url` and `api.paths`",
        ),
    ] {
        let scene = scene().with(name, value);
        let program = scene.run(&["drain"], 3);
        assert!(program.stderr().contains(advice), "{}", program.stderr());
        assert!(!program.output().contains("an-older-token"), "{}", program.output());
        assert_eq!(scene.shop().summary().marked, 0);
        assert_eq!(scene.spool().len(), 0);
    }
    let scene = scene();
    scene.shop().set_start_date(false);
    let program = scene.run(&["drain"], 3);
    assert!(program.stderr().contains("\"synchronise orders from\""), "{}", program.stderr());
    assert_eq!(scene.reads()[0].status, Some(403));
    assert_eq!(scene.shop().summary().marked, 0);
}

#[test]
fn a_token_that_is_replaced_in_its_file_needs_no_restart() {
    let scene = scene().with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let file = scene.settings.directory().join("token");
    fs::write(&file, "sandbox-token\n").unwrap();
    let scene = scene.without("IMOTRIZ_STORES__BOGOTA__TOKEN");
    let scene = scene.with("IMOTRIZ_STORES__BOGOTA__TOKEN_FILE", file.to_str().unwrap());
    let mut program = scene.settings.start(&["run"]);
    wait::until("all is read", RUN_DEADLINE, || scene.shop().summary().pending == 0);

    scene.shop().set_token("the-new-token");
    scene.shop().add(50, 0);
    wait::until("the token is refused", RUN_DEADLINE, || scene.reads().iter().any(|read| read.status == Some(401)));
    program.wait_for_line("generate one in the shop's settings", RUN_DEADLINE);
    fs::write(&file, "the-new-token\n").unwrap();
    wait::until("the others are read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 250);
    assert!(!program.output().contains("sandbox-token") && !program.output().contains("the-new-token"));
}

#[test]
fn a_drain_survives_a_marketplace_that_fails_at_random() {
    let args = SandboxArgs { page_size: 10, seed: 7, ..SandboxArgs::with_orders(3000) };
    let scene = Scene::new("chaos", args);
    let rates = "error-before=0.04,error-after=0.04,drop-before=0.04,drop-after=0.04,truncate=0.04,html=0.04,\
                 late:50ms=0.05,wrong-counts=0.04,object-data=0.05,bom=0.05,text-html=0.05,redirect=0.03";
    scene.shop().set_fault_rates(rates.parse().unwrap());
    scene.drain();
    let struck = scene.shop().summary().faults;
    assert_eq!(struck.len(), 12, "{struck:?}");
    // What was marked and not delivered came back through the list.
    assert!(scene.delivered().len() < 3000);
    let marked = scene.marked();
    assert_eq!(marked.len(), 3000);
    Verdict::of(marked, &scene.events()).assert_clean();
    assert_eq!(scene.spooled("unknown"), 0);
}

#[test]
fn sixty_four_shops_whose_answers_hang_do_not_stop_a_healthy_one_of_their_lane() {
    const HANGING: usize = 64;
    let args = SandboxArgs { shops: (HANGING + 1).try_into().ok(), ..SandboxArgs::with_orders(1) };
    let scene = Scene::new("hanging", args);
    let (shops, url) = (scene.shops(), scene.base_url());
    for shop in &shops[..HANGING] {
        shop.script(Call::NewOrders, &[Some("late:10m".parse().unwrap())]).unwrap();
    }
    let settings = (1..=shops.len()).fold(Settings::new(scene.kafka(), &scene.topics), |settings, shop| {
        settings.with_store(&format!("s{shop}"), &url, &format!("shop-{shop}"), "CO")
    });
    let settings = settings.with("IMOTRIZ_KAFKA__LANES", "1").with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let mut program = settings.start(&["run"]);
    let hang = |shop: &Shop| shop.requests().iter().any(|it| it.kind == Call::NewOrders && it.delivered == Some(false));
    wait::until("all of them hang", RUN_DEADLINE, || shops[..HANGING].iter().all(hang));
    shops[HANGING].add(2, 0);
    wait::until("the healthy one is published", RUN_DEADLINE, || keys(&scene.events()).len() == 3);
    assert!(shops[..HANGING].iter().all(hang), "they have answered meanwhile");
    program.kill9();
}
