//! Tests of several instances that share the lanes: real processes, a real broker, and a sandbox with many shops whose
//! orders keep arriving.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::time::{Duration, Instant};

use imotriz_kafka::sandbox::{Call, Fault, Sandbox, SandboxArgs};
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;

use super::admin::address;
use crate::support::consume::{self, Record};
use crate::support::coordinator;
use crate::support::gate::Gate;
use crate::support::kafka::Kafka;
use crate::support::program::{Program, Settings};
use crate::support::scene::{RUN_DEADLINE, ids_of, keys, runtime};
use crate::support::topics::{self, Topics};
use crate::support::{http, kafka, port, wait};

pub const LANES: usize = 6;

/// Instances with a spool each, and the shops that they share.
pub struct Instances {
    pub sandbox: Sandbox,
    /// A broker of their own; otherwise one that tests share.
    own_kafka: Option<Kafka>,
    pub topics: Topics,
    pub settings: Vec<Settings>,
    pub running: BTreeMap<usize, Program>,
}

impl Instances {
    pub fn new(test: &str, instances: usize, args: SandboxArgs) -> Self {
        Self::on(None, test, instances, args)
    }

    pub fn on(own_kafka: Option<Kafka>, test: &str, instances: usize, args: SandboxArgs) -> Self {
        let shops = args.shops.map_or(1, usize::from);
        let sandbox = runtime().block_on(Sandbox::start(args)).unwrap();
        let (topics, url) = (Topics::unique(test), sandbox.base_url());
        let stores: String = (1..=shops)
            .map(|shop| format!("[stores.s{shop}]\ncountry = \"CO\"\ntoken = \"shop-{shop}\"\nbase_url = {url:?}\n"))
            .collect();
        let settings = (0..instances).map(|instance| {
            let settings = Settings::new(own_kafka.as_ref().unwrap_or_else(|| kafka()), &topics);
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
        Self { sandbox, own_kafka, topics, settings, running: BTreeMap::new() }
    }

    pub fn kafka(&self) -> &Kafka {
        self.own_kafka.as_ref().unwrap_or_else(|| kafka())
    }

    pub fn start(&mut self, instance: usize) -> &mut Program {
        let program = self.settings[instance].start(&["run"]);
        self.running.insert(instance, program);
        self.running.get_mut(&instance).unwrap()
    }

    pub fn marked(&self) -> Vec<String> {
        let shops = self.sandbox.market();
        let reads = shops.shops().iter().flat_map(|shop| shop.requests()).collect::<Vec<_>>();
        reads.iter().filter(|request| request.kind == Call::NewOrders).flat_map(ids_of).collect()
    }

    pub fn place(&self, each: usize) {
        self.sandbox.market().shops().iter().for_each(|shop| drop(shop.add(each, 0)));
    }

    /// Waits until every order that was placed is published, and looks whether one is there twice.
    pub fn expect_all_published(&self) {
        let placed: BTreeSet<String> = self.placed();
        wait::until("all orders are read", RUN_DEADLINE, || self.marked().len() == placed.len());
        let missing = |events: &[Record]| placed.difference(&keys(events)).cloned().collect::<Vec<_>>();
        let events = || consume::committed(self.kafka(), &self.topics.orders);
        wait::until("all orders are published", RUN_DEADLINE, || missing(&events()).is_empty());
        let mut times = BTreeMap::<String, usize>::new();
        events().into_iter().filter_map(|event| event.key).for_each(|key| *times.entry(key).or_default() += 1);
        times.retain(|_, times| *times > 1);
        assert!(times.is_empty(), "orders were published more than once: {times:?}");
    }

    pub fn placed(&self) -> BTreeSet<String> {
        let market = self.sandbox.market();
        let orders = market.shops().iter().flat_map(|shop| shop.orders());
        orders.filter_map(|order| order.id).map(|id| id.to_string()).collect()
    }
}

/// The lanes that an instance has, by its status.
pub fn lanes(url: &str) -> Vec<String> {
    let status: serde_json::Value = serde_json::from_str(&http::get(&format!("{url}/status")).1).unwrap();
    status["lanes"].as_object().unwrap().keys().cloned().collect()
}

pub fn many(shops: usize, orders: usize) -> SandboxArgs {
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
    let mut instances = Instances::new("frozen", 2, many(12, 0));
    let first = address(instances.start(0));
    wait::until("the first one has all lanes", RUN_DEADLINE, || lanes(&first).len() == LANES);
    let second = address(instances.start(1));
    wait::until("the lanes are shared", RUN_DEADLINE, || {
        (lanes(&first).len(), lanes(&second).len()) == (LANES / 2, LANES / 2)
    });
    for round in 1..=3 {
        // A read of each shop is under way when it freezes: the answer waits for it in the connection.
        for shop in instances.sandbox.market().shops() {
            shop.script(Call::NewOrders, &[Some(Fault::Late(Duration::from_secs(4)))]).unwrap();
            shop.add(60, 0);
        }
        wait::until("each shop is read", RUN_DEADLINE, || {
            let market = instances.sandbox.market();
            market
                .shops()
                .iter()
                .all(|shop| shop.requests().iter().filter(|read| read.fault.is_some()).count() == round)
        });
        instances.running.get_mut(&0).unwrap().signal(Signal::STOP);
        wait::until("the other one has its lanes", RUN_DEADLINE, || lanes(&second).len() == LANES);
        instances.running.get_mut(&0).unwrap().signal(Signal::CONT);
        wait::until("the lanes are shared again", RUN_DEADLINE, || {
            (lanes(&first).len(), lanes(&second).len()) == (LANES / 2, LANES / 2)
        });
        instances.expect_all_published();
        let said = instances.running[&0].output();
        assert!(said.matches("the group has given up this instance").count() >= round, "it kept its lanes: {said}");
    }
    // The first time it gets other lanes than it had; later the same ones, and what is left in them is its own again.
    let said = instances.running[&0].output();
    assert!(said.contains("pages of a lane that is another instance's are left"), "nothing was left: {said}");
    for program in instances.running.values_mut() {
        program.signal(Signal::TERM);
        program.expect_exit(0, RUN_DEADLINE);
    }
}

#[test]
fn a_tracking_topic_that_was_deleted_is_refused_by_an_instance_that_never_saw_it() {
    let mut instances = Instances::new("deleted-tracking", 2, many(4, 10));
    instances.start(0);
    instances.expect_all_published();
    let mut stopped = instances.running.remove(&0).unwrap();
    stopped.signal(Signal::TERM);
    stopped.expect_exit(0, RUN_DEADLINE);

    topics::delete(kafka(), &instances.topics.tracking);
    instances.place(1);
    let reads = instances.marked().len();
    let second = instances.start(1);
    second.wait_for_line("has never held a record, but the orders topic has", RUN_DEADLINE);
    assert!(second.ended().is_none(), "it is worth trying again: the topic may be restored");
    assert_eq!(instances.marked().len(), reads, "orders were read that nobody may publish");
}

/// A broker that each instance reaches by a way of its own, which can be cut.
fn kafka_with_ways(instances: usize) -> (Kafka, Vec<Gate>, Vec<String>) {
    let (broker, controller) = (port::free(), port::free());
    let (mut listeners, mut advertised, mut protocols) = (
        format!("PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}"),
        format!("PLAINTEXT://127.0.0.1:{broker}"),
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
    );
    let (mut ways, mut addresses) = (Vec::new(), Vec::new());
    for instance in 0..instances {
        let port = port::free();
        let (gate, through) = Gate::before(&format!("http://127.0.0.1:{port}"));
        let address = through.trim_start_matches("http://").trim_end_matches('/').to_owned();
        listeners += &format!(",WAY{instance}://127.0.0.1:{port}");
        advertised += &format!(",WAY{instance}://{address}");
        protocols += &format!(",WAY{instance}:PLAINTEXT");
        ways.push(gate);
        addresses.push(address);
    }
    let kafka = Kafka::start_at(
        broker,
        &[
            ("controller.quorum.voters", &format!("1@127.0.0.1:{controller}")),
            ("listeners", &listeners),
            ("advertised.listeners", &advertised),
            ("listener.security.protocol.map", &protocols),
            ("inter.broker.listener.name", "PLAINTEXT"),
        ],
    );
    ways.iter_mut().for_each(Gate::open);
    (kafka, ways, addresses)
}

/// What is done to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Killed,
    Frozen,
    CutOff,
    Restarted,
    TakenAway,
}

const INSTANCES: usize = 3;

struct Storm {
    instances: Instances,
    ways: Vec<Gate>,
    chance: StdRng,
    blows: BTreeMap<Blow, usize>,
}

impl Storm {
    /// One blow to one instance, after a moment in which orders come in.
    fn strike(&mut self) {
        self.pause(50..1500);
        let instance = self.chance.random_range(0..INSTANCES);
        let Some(program) = self.instances.running.get_mut(&instance) else {
            self.instances.start(instance);
            return;
        };
        assert!(program.ended().is_none(), "instance {instance} ended by itself: {}", program.output());
        let blow = match self.chance.random_range(0..100) {
            0..30 => Blow::Killed,
            30..55 => Blow::Frozen,
            55..75 => Blow::CutOff,
            75..90 => Blow::Restarted,
            _ => Blow::TakenAway,
        };
        *self.blows.entry(blow).or_default() += 1;
        match blow {
            Blow::Killed => {
                program.kill9();
                self.instances.running.remove(&instance);
                // It comes back in time for its lanes, or too late.
                self.pause(0..9000);
                self.instances.start(instance);
            }
            Blow::Frozen => {
                program.signal(Signal::STOP);
                self.pause(100..9000);
                self.instances.running.get_mut(&instance).unwrap().signal(Signal::CONT);
            }
            Blow::CutOff => {
                self.ways[instance].shut();
                self.pause(100..9000);
                self.ways[instance].open();
            }
            Blow::Restarted | Blow::TakenAway => {
                // Before that nobody listens to signals.
                address(program);
                program.signal(Signal::TERM);
                program.expect_exit(0, RUN_DEADLINE);
                self.instances.running.remove(&instance);
                if blow == Blow::Restarted {
                    self.instances.start(instance);
                }
            }
        }
    }

    fn pause(&mut self, millis: std::ops::Range<u64>) {
        wait::poll(Duration::from_millis(self.chance.random_range(millis)), || None::<()>);
    }
}

/// `IMOTRIZ_SOAK=60m` makes it last, with more shops; `IMOTRIZ_SOAK_SEED` sets another seed.
#[test]
fn whatever_befalls_instances_that_share_the_lanes_nothing_is_lost_and_nothing_doubled() {
    let long = env::var("IMOTRIZ_SOAK").ok().map(|text| text.parse::<SignedDuration>().unwrap().unsigned_abs());
    let seed = env::var("IMOTRIZ_SOAK_SEED").map_or(1, |text| text.parse().unwrap());
    let shops = if long.is_some() { 2000 } else { 60 };
    let (kafka, ways, addresses) = kafka_with_ways(INSTANCES);
    let args = SandboxArgs { seed, arrivals: Some(60.0), delay: Duration::from_millis(100), ..many(shops, 1) };
    let mut instances = Instances::on(Some(kafka), "storm", INSTANCES, args);
    let interval = if long.is_some() { "5s" } else { "500ms" };
    let settings = instances.settings.drain(..).zip(addresses).map(|(settings, address)| {
        settings
            .with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", &address)
            .with("IMOTRIZ_API__POLL_INTERVAL", interval)
            .with("IMOTRIZ_API__POLL_INTERVAL_MAX", interval)
            .with("IMOTRIZ_KAFKA__TRANSACTION_TIMEOUT", "5s")
    });
    instances.settings = settings.collect();
    for instance in 0..INSTANCES {
        instances.start(instance);
    }
    let mut storm = Storm { instances, ways, chance: StdRng::seed_from_u64(seed), blows: BTreeMap::new() };
    let end = Instant::now() + long.unwrap_or(Duration::from_secs(45));
    while Instant::now() < end {
        storm.strike();
    }
    let Storm { mut instances, ways: _ways, blows, .. } = storm;
    instances.sandbox.stop_arrivals();
    for instance in 0..INSTANCES {
        if !instances.running.contains_key(&instance) {
            instances.start(instance);
        }
    }
    let placed = instances.placed().len();
    println!("seed {seed}: {blows:?}, {placed} orders of {shops} shops");
    assert!(blows.values().sum::<usize>() > 3, "hardly anything happened: {blows:?}");
    instances.expect_all_published();
}

#[test]
fn of_two_instances_with_one_name_the_older_one_ends_and_says_so() {
    let mut instances = Instances::new("one-name", 2, many(12, 5));
    let second = std::mem::replace(&mut instances.settings[1], Settings::new(kafka(), &instances.topics));
    instances.settings[1] = second.with("IMOTRIZ_CLUSTER__INSTANCE_ID", "instance-0");
    let first = address(instances.start(0));
    wait::until("the first one has all lanes", RUN_DEADLINE, || lanes(&first).len() == LANES);
    let second = address(instances.start(1));
    let older = instances.running.get_mut(&0).unwrap();
    older.wait_for_line("another process has joined the group", RUN_DEADLINE);
    older.expect_exit(4, RUN_DEADLINE);
    wait::until("the second one has all lanes", RUN_DEADLINE, || lanes(&second).len() == LANES);
    instances.place(2);
    instances.expect_all_published();
}

#[test]
fn restarts_within_the_sessions_time_move_no_lane() {
    let mut instances = Instances::new("rolling", 2, many(24, 5));
    // A busy machine may take its time to start the program.
    let patient = |settings: Settings| settings.with("IMOTRIZ_CLUSTER__SESSION_TIMEOUT", "60s");
    instances.settings = instances.settings.drain(..).map(patient).collect();
    let mut urls = [0, 1].map(|instance| address(instances.start(instance)));
    let mut shares = [Vec::new(), Vec::new()];
    wait::until("the lanes are shared", RUN_DEADLINE, || {
        shares = [lanes(&urls[0]), lanes(&urls[1])];
        shares.iter().all(|share| share.len() == LANES / 2) && shares[0].iter().all(|lane| !shares[1].contains(lane))
    });
    let generations = |instances: &Instances| coordinator::generations(kafka(), &instances.topics.orders);
    let before = generations(&instances);
    for instance in [0, 1, 0] {
        let mut stopped = instances.running.remove(&instance).unwrap();
        stopped.signal(Signal::TERM);
        stopped.expect_exit(0, RUN_DEADLINE);
        instances.place(1);
        urls[instance] = address(instances.start(instance));
        wait::until("it has its lanes again", RUN_DEADLINE, || lanes(&urls[instance]) == shares[instance]);
        assert_eq!(lanes(&urls[1 - instance]), shares[1 - instance]);
    }
    instances.expect_all_published();
    let after = generations(&instances);
    assert!(after.len() >= before.len() + 3, "the group's coordinator has not noticed each return: {after:?}");
    assert_eq!(after.last(), before.last(), "the group has shared out the lanes again: {after:?}");
}
