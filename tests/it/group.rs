//! Tests of what an operator sees of several instances and does with them, and of a change of the number of lanes.

use std::collections::BTreeSet;

use imotriz_kafka::sandbox::SandboxArgs;
use serde_json::Value;

use super::admin::address;
use super::shared::{Instances, LANES, lanes, many};
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, was_killed};
use crate::support::{http, kafka, topics, wait};

impl Instances {
    fn run(&self, instance: usize, arguments: &[&str], code: i32) -> Program {
        let mut program = self.settings[instance].start(arguments);
        program.expect_exit(code, RUN_DEADLINE);
        program
    }

    fn json(&self, instance: usize, arguments: &[&str], code: i32) -> Value {
        let arguments: Vec<_> = ["--json"].iter().chain(arguments).copied().collect();
        serde_json::from_str(&self.run(instance, &arguments, code).stdout()).unwrap()
    }

    /// Sets a variable of all instances.
    fn with(mut self, name: &str, value: &str) -> Self {
        self.settings = self.settings.into_iter().map(|settings| settings.with(name, value)).collect();
        self
    }

    /// Takes a variable back.
    fn without(mut self, name: &str) -> Self {
        self.settings = self.settings.into_iter().map(|settings| settings.without(name)).collect();
        self
    }
}

/// The lanes of each instance, by its name, and the number of their stores.
fn owners(group: &Value) -> Vec<(String, BTreeSet<i64>, u64)> {
    let instances = group["instances"].as_array().unwrap_or_else(|| panic!("no instances: {group}"));
    let owner = |instance: &Value| {
        let lanes = instance["lanes"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
        (instance["name"].as_str().unwrap().to_owned(), lanes, instance["stores"].as_u64().unwrap())
    };
    instances.iter().map(owner).collect()
}

fn status(url: &str) -> Value {
    serde_json::from_str(&http::get(&format!("{url}/status")).1).unwrap()
}

#[test]
fn the_whole_group_is_seen_from_anywhere_and_a_store_is_served_by_its_owner_alone() {
    const SHOPS: usize = 12;
    let mut instances = Instances::new("group", 2, many(SHOPS, 4));
    let urls = [0, 1].map(|instance| address(instances.start(instance)));
    wait::until("the lanes are shared", RUN_DEADLINE, || {
        let names = |url| owners(&status(url)["group"]).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
        urls.iter().all(|url| lanes(url).len() == LANES / 2 && names(url) == ["instance-0", "instance-1"])
    });
    wait::until("each sees what the other one has", RUN_DEADLINE, || {
        urls.iter().all(|url| owners(&status(url)["group"]).iter().all(|(_, lanes, _)| lanes.len() == LANES / 2))
    });
    instances.expect_all_published();

    for (instance, url) in urls.iter().enumerate() {
        let status = status(url);
        let (_, own, stores) = owners(&status["group"]).swap_remove(instance);
        let lanes = status["lanes"].as_object().unwrap();
        assert_eq!(lanes.keys().map(|lane| lane.parse().unwrap()).collect::<BTreeSet<i64>>(), own);
        assert_eq!(lanes.values().filter_map(|lane| lane["stores"].as_u64()).sum::<u64>(), stores);
        assert!(lanes.values().all(|lane| lane["since"].is_string() && lane["pages"].is_u64()), "{lanes:?}");
        assert_eq!(status["group"]["unowned_lanes"].as_array().map(Vec::len), Some(0));
    }
    // No program answers at the address of these settings: Kafka does.
    let from_topics = instances.json(1, &["status"], 0);
    assert_eq!(from_topics["source"], "topics");
    assert_eq!(owners(&from_topics["group"]).iter().map(|(.., stores)| stores).sum::<u64>(), SHOPS as u64);
    let text = instances.run(0, &["status"], 0).stdout();
    assert!(text.contains("instance-0") && text.contains("instance-1") && text.contains("stable"), "{text}");
    for (language, title) in [("en", "Instances"), ("es", "Instancias")] {
        let page = http::get(&format!("{}/?lang={language}", urls[0])).1;
        assert!(page.contains(&format!("<h2>{title}</h2>")) && page.contains("instance-1"), "{page}");
    }

    let report = instances.json(0, &["doctor"], 0);
    for name in ["group ", "instance ID", "session time-out", "clock instances"] {
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
        assert_eq!(check.unwrap_or_else(|| panic!("no {name}: {report}"))["health"], "good", "{report}");
    }

    let market = instances.sandbox.market();
    let shop = &market.shops()[0];
    let id = shop.orders()[0].id.clone().unwrap().to_string();
    for instance in [0, 1] {
        let explained = instances.json(instance, &["explain", "--store", "s1", &id], 0);
        assert_eq!(explained["found"], true, "whoever published it");
    }
    let mut answers = [0, 1].map(|instance| {
        let mut program = instances.settings[instance].start(&["republish", "--store", "s1", &id]);
        let code = program.wait(RUN_DEADLINE).code().unwrap();
        (code, instance, program.stderr())
    });
    answers.sort_by_key(|(code, ..)| *code);
    let [(0, owner, _), (11, _, refused)] = answers else { panic!("not one of them owns it: {answers:?}") };
    assert!(refused.contains(&format!("`instance-{owner}`")) && refused.contains("127.0.0.1"), "{refused}");

    // Nor does a command take the lane from its owner where nothing runs.
    let other = 1 - owner;
    let mut killed = instances.running.remove(&other).unwrap();
    killed.kill9();
    let refused = instances.run(other, &["republish", "--store", "s1", &id], 11).stderr();
    assert!(refused.contains(&format!("`instance-{owner}`")), "{refused}");
    wait::until("the one that is left has all lanes", RUN_DEADLINE, || {
        let group = instances.json(other, &["status"], 0)["group"].take();
        owners(&group).iter().any(|(name, lanes, _)| *name == format!("instance-{owner}") && lanes.len() == LANES)
    });
}

#[test]
fn lanes_are_not_changed_while_the_group_has_an_instance() {
    let mut instances = Instances::new("relane-group", 2, many(12, 2));
    let url = address(instances.start(0));
    wait::until("it has all lanes", RUN_DEADLINE, || lanes(&url).len() == LANES);
    instances.expect_all_published();
    let refused = instances.run(1, &["topics", "relane", "9"], 4).stderr();
    assert!(refused.contains("`instance-0`") && refused.contains("stop all of them"), "{refused}");
    let refused = instances.run(0, &["topics", "relane", "9"], 6).stderr();
    assert!(refused.contains("at work with the spool"), "{refused}");
    // It was left in peace.
    instances.place(1);
    instances.expect_all_published();
}

#[test]
fn more_lanes_with_orders_in_flight_lose_and_double_nothing() {
    const TRACKING: &str = "IMOTRIZ_KAFKA__TOPICS__TRACKING";
    const LIST: &str = "IMOTRIZ_API__PATHS__ORDER_IDS";
    let args = SandboxArgs { page_size: 5, ..many(6, 30) };
    let instances = Instances::new("relane", 2, args)
        .with("IMOTRIZ_CLUSTER__ENABLED", "false")
        .with("IMOTRIZ_KAFKA__LANES", "2")
        // What waits in one spool is not to be fetched by the other instance.
        .with(LIST, "/nowhere");
    instances.run(0, &["drain"], 0);
    instances.place(30);
    let mut killed = instances.settings[0].start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "delivered:2")]);
    assert!(was_killed(killed.wait(RUN_DEADLINE)), "{}", killed.output());
    let pages = instances.run(0, &["--json", "spool", "list"], 0).stdout().matches("\"page\"").count();
    assert!(pages > 0, "no page was left in the spool");

    let old = instances.topics.tracking.clone();
    let mut running = instances.settings[1].start(&["run"]);
    let url = address(&mut running);
    wait::until("it has the lanes", RUN_DEADLINE, || http::get(&format!("{url}/readyz")).0 == 200);
    wait::until("it has drained the shops", RUN_DEADLINE, || instances.marked().len() >= instances.placed().len());

    // What an interrupted copy leaves is no tracking topic.
    let new = format!("{old}-5");
    let unfinished = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
    topics::create(kafka(), &new, 5, &unfinished);
    let mut early = instances.settings[0].start_with(&["drain"], &[(TRACKING, &new)]);
    early.expect_exit(4, RUN_DEADLINE);
    assert!(early.stderr().contains("topics relane"), "{}", early.stderr());

    let relaned = instances.json(0, &["topics", "relane", "5"], 0);
    assert_eq!((&relaned["into"]["topic"], &relaned["into"]["lanes"]), (&Value::from(new.clone()), &Value::from(5)));
    assert_eq!(relaned["orders"], relaned["written"], "{relaned}");
    let again = instances.json(0, &["topics", "relane", "5"], 0);
    assert_eq!((&again["orders"], &again["written"]), (&relaned["orders"], &Value::from(0)), "it was complete");

    // Whoever still has the old topic is told, and publishes no more.
    instances.place(3);
    running.expect_exit(4, RUN_DEADLINE);
    assert!(running.output().contains("another instance has taken over lane"), "{}", running.output());

    let instances = instances.with(TRACKING, &new).with("IMOTRIZ_KAFKA__LANES", "5");
    for instance in [0, 1] {
        instances.run(instance, &["drain"], 0);
    }
    // Reads in flight when it was killed are in no spool; the list of IDs has them.
    let instances = instances.without(LIST);
    let mut passes = instances.settings[0].start(&["reconcile"]);
    let code = passes.wait(RUN_DEADLINE).code();
    assert!(matches!(code, Some(0 | 10)), "{code:?}: {}", passes.output());
    instances.expect_all_published();

    // A copy that is in use is not written to.
    let mut refused = instances.settings[0].start_with(&["topics", "relane", "5"], &[(TRACKING, &old)]);
    refused.expect_exit(4, RUN_DEADLINE);
    assert!(refused.stderr().contains(&new), "{}", refused.stderr());
}
