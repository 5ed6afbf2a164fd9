//! Tests of several instances that share the lanes: real processes, a real broker, and a sandbox with many shops whose
//! orders keep arriving.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use imotriz_kafka::sandbox::{Call, Sandbox, SandboxArgs};
use rustix::process::Signal;

use super::admin::address;
use crate::support::consume;
use crate::support::program::{Program, Settings};
use crate::support::scene::{RUN_DEADLINE, ids_of, keys, runtime};
use crate::support::topics::Topics;
use crate::support::{http, kafka, wait};

const LANES: usize = 6;

/// Instances with a spool each, and the shops that they share.
struct Instances {
    sandbox: Sandbox,
    topics: Topics,
    settings: Vec<Settings>,
    running: BTreeMap<usize, Program>,
}

impl Instances {
    fn new(test: &str, instances: usize, args: SandboxArgs) -> Self {
        let shops = args.shops.map_or(1, usize::from);
        let sandbox = runtime().block_on(Sandbox::start(args)).unwrap();
        let (topics, url) = (Topics::unique(test), sandbox.base_url());
        let stores: String = (1..=shops)
            .map(|shop| format!("[stores.s{shop}]\ncountry = \"CO\"\ntoken = \"shop-{shop}\"\nbase_url = {url:?}\n"))
            .collect();
        let settings = (0..instances).map(|instance| {
            let settings = Settings::new(kafka(), &topics);
            let dir = settings.directory().join("stores.d");
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("all.toml"), &stores).unwrap();
            settings
                .with("IMOTRIZ_STORES_DIR", dir.to_str().unwrap())
                .with("IMOTRIZ_API__POLL_INTERVAL", "200ms")
                .with("IMOTRIZ_API__POLL_INTERVAL_MAX", "1s")
                .with("IMOTRIZ_KAFKA__LANES", &LANES.to_string())
                .with("IMOTRIZ_CLUSTER__ENABLED", "true")
                .with("IMOTRIZ_CLUSTER__GROUP_ID", &topics.orders)
                .with("IMOTRIZ_CLUSTER__INSTANCE_ID", &format!("instance-{instance}"))
                .with("IMOTRIZ_CLUSTER__SESSION_TIMEOUT", "6s")
        });
        let settings = settings.collect();
        Self { sandbox, topics, settings, running: BTreeMap::new() }
    }

    fn start(&mut self, instance: usize) -> &mut Program {
        let program = self.settings[instance].start(&["run"]);
        self.running.insert(instance, program);
        self.running.get_mut(&instance).unwrap()
    }

    fn marked(&self) -> Vec<String> {
        let shops = self.sandbox.market();
        let reads = shops.shops().iter().flat_map(|shop| shop.requests()).collect::<Vec<_>>();
        reads.iter().filter(|request| request.kind == Call::NewOrders).flat_map(ids_of).collect()
    }

    fn place(&self, each: usize) {
        self.sandbox.market().shops().iter().for_each(|shop| drop(shop.add(each, 0)));
    }

    /// Waits until every order that was placed is published, and looks whether one is there twice.
    fn expect_all_published(&self) {
        let market = self.sandbox.market();
        let placed = || market.shops().iter().map(|shop| shop.orders().len()).sum::<usize>();
        wait::until("all orders are read", RUN_DEADLINE, || self.marked().len() == placed());
        wait::until("all orders are published", RUN_DEADLINE, || {
            keys(&consume::committed(kafka(), &self.topics.orders)).len() == placed()
        });
        let events = consume::committed(kafka(), &self.topics.orders);
        assert_eq!(events.len(), placed(), "an order was published twice");
    }
}

/// The lanes that an instance has, by its status.
fn lanes(url: &str) -> Vec<String> {
    let status: serde_json::Value = serde_json::from_str(&http::get(&format!("{url}/status")).1).unwrap();
    status["lanes"].as_object().unwrap().keys().cloned().collect()
}

fn many(shops: usize, orders: usize) -> SandboxArgs {
    SandboxArgs { shops: shops.try_into().ok(), ..SandboxArgs::with_orders(orders) }
}

#[test]
fn lanes_go_to_instances_that_come_and_return_from_those_that_end_and_nothing_is_lost_or_doubled() {
    let mut instances = Instances::new("shared", 3, many(24, 10));
    let first = address(instances.start(0));
    wait::until("the first one has all lanes", RUN_DEADLINE, || lanes(&first).len() == LANES);
    let second = address(instances.start(1));
    wait::until("the second one has half of them", RUN_DEADLINE, || {
        (lanes(&first).len(), lanes(&second).len()) == (LANES / 2, LANES / 2)
    });
    instances.place(5);
    let third = address(instances.start(2));
    wait::until("each has its share", RUN_DEADLINE, || {
        [&first, &second, &third].iter().all(|url| lanes(url).len() == LANES / 3)
    });
    instances.expect_all_published();

    let mut killed = instances.running.remove(&0).unwrap();
    killed.kill9();
    let since = Instant::now();
    instances.place(5);
    wait::until("the others have its lanes", RUN_DEADLINE, || lanes(&second).len() + lanes(&third).len() == LANES);
    println!("the lanes of a killed instance are others' after {:?}", since.elapsed());
    instances.expect_all_published();
    for program in instances.running.values_mut() {
        program.signal(Signal::TERM);
        program.expect_exit(0, RUN_DEADLINE);
    }
}

#[test]
fn an_instance_that_froze_publishes_what_it_had_read_when_its_lanes_are_anothers() {
    // Slow enough that a read of each shop is under way when it freezes.
    let args = SandboxArgs { delay: Duration::from_millis(300), ..many(12, 0) };
    let mut instances = Instances::new("frozen", 2, args);
    let first = address(instances.start(0));
    wait::until("the first one has all lanes", RUN_DEADLINE, || lanes(&first).len() == LANES);
    let second = address(instances.start(1));
    wait::until("the lanes are shared", RUN_DEADLINE, || {
        (lanes(&first).len(), lanes(&second).len()) == (LANES / 2, LANES / 2)
    });
    for round in 0..3 {
        instances.sandbox.market().shops().iter().for_each(|shop| drop(shop.add(60, 0)));
        wait::until("it is reading", RUN_DEADLINE, || instances.marked().len() > round * 720 + 50);
        instances.running.get_mut(&0).unwrap().signal(Signal::STOP);
        wait::until("the other one has its lanes", RUN_DEADLINE, || lanes(&second).len() == LANES);
        instances.running.get_mut(&0).unwrap().signal(Signal::CONT);
        wait::until("the lanes are shared again", RUN_DEADLINE, || {
            (lanes(&first).len(), lanes(&second).len()) == (LANES / 2, LANES / 2)
        });
        instances.expect_all_published();
        let said = instances.running[&0].output();
        let borrowed = said.matches("pages of a lane that is another instance's are left").count();
        assert!(borrowed > round, "nothing was left for it to publish: {said}");
    }
    for program in instances.running.values_mut() {
        program.signal(Signal::TERM);
        program.expect_exit(0, RUN_DEADLINE);
    }
}
