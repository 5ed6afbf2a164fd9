//! Tests of the admin server of a running instance: probes, metrics and status page.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use imotriz_kafka::operate::admin::metrics::METRICS;
use imotriz_kafka::sandbox::{Fault, SandboxArgs};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::wait;
use crate::support::{http, metrics};

/// Where a running program is watched, as it says in its log.
pub fn address(program: &mut Program) -> String {
    let line = program.wait_for_line("health and metrics are at http://", RUN_DEADLINE);
    let (_, url) = line.split_once("are at ").unwrap();
    url.split_whitespace().next().unwrap().trim_end_matches('/').to_owned()
}

/// Waits until it says that it is ready.
pub fn ready(url: &str) {
    wait::until("it is ready", RUN_DEADLINE, || {
        http::try_get(&format!("{url}/readyz")).is_some_and(|(code, _)| code == 200)
    });
}

pub fn status(url: &str) -> Value {
    serde_json::from_str(&http::get(&format!("{url}/status")).1).unwrap()
}

/// The samples of a metric: what stands behind its name.
fn samples(metrics: &str, name: &str) -> Vec<String> {
    let of_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    metrics.lines().filter(of_it).map(str::to_owned).collect()
}

#[test]
fn a_running_instance_exports_every_metric_of_the_contract_and_shows_no_secret() {
    let scene = Scene::new("admin", SandboxArgs::with_orders(90));
    scene.script(&[None, Some(Fault::DropAfter)]);
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    ready(&url);
    assert_eq!(http::get(&format!("{url}/livez")), (200, "alive\n".to_owned()));
    wait::until("all is published and reconciled", RUN_DEADLINE, || {
        let store = &status(&url)["stores"]["bogota"];
        store["published"]["drained"] == 60
            && store["published"]["reconciled"] == 30
            && !store["last_reconcile"].is_null()
    });

    let (code, metrics) = http::get(&format!("{url}/metrics"));
    assert_eq!(code, 200);
    for name in metrics::CONTRACT {
        let exported = METRICS.iter().any(|metric| metric.name == *name);
        assert!(exported, "{name}");
        // A page that waits, and orders that are lost, are mostly not there.
        if !["imotriz_spool_oldest_page_timestamp_seconds", "imotriz_unaccounted_window_seconds"].contains(name) {
            let histogram = format!("{name}_count");
            assert!(
                !samples(&metrics, name).is_empty() || !samples(&metrics, &histogram).is_empty(),
                "{name}\n{metrics}"
            );
        }
    }
    for (name, sample) in [
        ("imotriz_orders_published_total", r#"{reason="drained"} 60.0"#),
        ("imotriz_orders_published_total", r#"{reason="reconciled"} 30.0"#),
        ("imotriz_orders_read_total", " 60.0"),
        ("imotriz_unknown_reads_total", " 1.0"),
        ("imotriz_unsettled_unknown_reads", " 0.0"),
        ("imotriz_marketplace_pending_orders", " 0.0"),
        ("imotriz_orders_missing_total", " 30.0"),
        ("imotriz_spool_pages", " 0.0"),
    ] {
        assert!(samples(&metrics, name).contains(&format!("{name}{sample}")), "{name}{sample}\n{metrics}");
    }

    let (code, page) = http::get(&url);
    assert_eq!(code, 200);
    assert!(page.contains("bogota") && page.contains(">ready<"), "{page}");
    let told = [metrics, http::get(&format!("{url}/status")).1].concat();
    assert!(![&told, &page].iter().any(|told| told.contains(&SandboxArgs::with_orders(0).token)));
    let orders = scene.marked();
    assert!(orders.len() == 90 && !orders.iter().any(|order| told.contains(order)), "an order is told from the others");
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
}

#[test]
fn an_instance_without_a_broker_lives_and_says_that_it_is_not_ready_and_why() {
    let scene =
        Scene::new("unready", SandboxArgs::with_orders(1)).with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    assert_eq!(http::get(&format!("{url}/livez")).0, 200);
    let (code, why) = http::get(&format!("{url}/readyz"));
    assert_eq!(code, 503);
    assert!(why.contains("\"what\": \"broker\""), "{why}");
    assert_eq!(scene.reads().len(), 0);
}

#[test]
fn an_instance_whose_registry_is_away_says_so() {
    let nobody = "http://127.0.0.1:1";
    let scene = Scene::new("unready", SandboxArgs::with_orders(1)).with("IMOTRIZ_SCHEMA_REGISTRY__URL", nobody);
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    wait::until("it names the registry", RUN_DEADLINE, || {
        let (code, why) = http::get(&format!("{url}/readyz"));
        code == 503 && why.contains("\"what\": \"registry\"")
    });
}

#[test]
fn an_address_that_is_taken_is_said_before_anything_is_read() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let scene = Scene::new("taken", SandboxArgs::with_orders(1)).with("IMOTRIZ_ADMIN__LISTEN", &address);
    let program = scene.run(&["run"], 2);
    assert!(program.stderr().contains(&format!("can't listen at {address} (`admin.listen`)")), "{}", program.output());
    assert_eq!(scene.reads().len(), 0);
}

#[test]
fn every_metric_that_the_dashboard_and_the_alerts_name_exists() {
    let stack = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stack");
    let exported: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    for file in ["alerts.yml", "alerts.test.yml", "grafana/dashboards/imotriz-kafka.json"] {
        let named = metrics::named_in(&fs::read_to_string(stack.join(file)).unwrap());
        assert!(named.len() > 10, "{file}: {named:?}");
        assert!(named.is_subset(&exported), "{file}: {:?}", named.difference(&exported));
    }
}

#[test]
fn questions_from_four_sides_hold_up_no_read() {
    let scene = Scene::new("asked", SandboxArgs::with_orders(1500));
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    let asked = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut asked = 0;
                    while asked < 25 {
                        http::get(&format!("{url}/metrics"));
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).sum::<u32>()
    });
    assert_eq!(asked, 100);
    wait::until("all is published", RUN_DEADLINE, || status(&url)["stores"]["bogota"]["published"]["drained"] == 1500);
    program.signal(Signal::TERM);
    program.expect_exit(0, Duration::from_secs(30));
    scene.verdict().assert_clean();
}
