//! A soak test with all faults at once, for as long as wanted: `IMOTRIZ_SOAK=60m cargo test --test it soak --
//! --nocapture`. `IMOTRIZ_SOAK_SEED=…` sets another seed. Without `IMOTRIZ_SOAK` it takes some seconds.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::platform::clock;
use imotriz_kafka::sandbox::{Change, Rates, SandboxArgs};
use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::interceptor::{Api, Cut, Interceptor};
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::wait;

const FAULTS: &str = "error-before=0.02,error-after=0.02,drop-before=0.02,drop-after=0.02,truncate=0.02,html=0.01,\
                      late:300ms=0.02,wrong-counts=0.01,object-data=0.02,bom=0.02,text-html=0.02,redirect=0.01,\
                      throttle:1s=0.01,duplicates=0.02,empty-pending=0.02,overfull=0.01";

/// What is done to the program and to all around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Kill,
    Sleep,
    Restart,
    BrokerSilent,
    BrokerRestarted,
    AnswersLost,
    AskedForAgain,
}

struct Soak {
    scene: Scene,
    interceptor: Interceptor,
    chance: StdRng,
    program: Program,
    blows: BTreeMap<Blow, usize>,
    /// How often the program left by itself.
    left: usize,
}

impl Soak {
    fn begin(seed: u64) -> Self {
        let (interceptor, kafka) = Interceptor::start(Cut::After(Api::EndTransaction));
        let args = SandboxArgs { page_size: 10, delay: Duration::from_millis(5), seed, ..SandboxArgs::with_orders(0) };
        let scene = Scene::on_own(kafka, "soak", args)
            .with("IMOTRIZ_API__POLL_INTERVAL", "100ms")
            .with("IMOTRIZ_RECONCILE__INTERVAL", "2s")
            .with("IMOTRIZ_RECONCILE__DETECT_CHANGES", "true")
            .with("IMOTRIZ_RECONCILE__CHANGES_PER_SECOND", "500")
            .with("IMOTRIZ_KAFKA__TRANSACTION_TIMEOUT", "5s");
        scene.run(&["topics", "ensure"], 0);
        let program = scene.settings.start(&["run"]);
        let chance = StdRng::seed_from_u64(seed);
        Self { scene, interceptor, chance, program, blows: BTreeMap::new(), left: 0 }
    }

    fn start_again(&mut self) {
        self.program = self.scene.settings.start(&["run"]);
    }

    /// One blow, with a moment before it in which orders come in.
    fn strike(&mut self) {
        self.scene.shop().add(self.chance.random_range(0..60), 0);
        self.pause(50..1500);
        if self.program.ended().is_some() {
            self.left += 1;
            self.start_again();
        }
        let blow = match self.chance.random_range(0..100) {
            0..40 => Blow::Kill,
            40..50 => Blow::Sleep,
            50..60 => Blow::Restart,
            60..65 => Blow::BrokerSilent,
            65..67 => Blow::BrokerRestarted,
            67..85 => Blow::AnswersLost,
            _ => Blow::AskedForAgain,
        };
        *self.blows.entry(blow).or_default() += 1;
        self.deal(blow);
    }

    fn deal(&mut self, blow: Blow) {
        match blow {
            Blow::Kill if self.program.ended().is_none() => {
                self.program.kill9();
                self.start_again();
            }
            Blow::Sleep if self.program.ended().is_none() => {
                self.program.signal(Signal::STOP);
                self.pause(100..7000);
                self.program.signal(Signal::CONT);
            }
            Blow::Restart if self.program.ended().is_none() => {
                self.program.signal(Signal::TERM);
                self.program.wait(RUN_DEADLINE);
                self.start_again();
            }
            Blow::Kill | Blow::Sleep | Blow::Restart => self.start_again(),
            Blow::BrokerSilent => {
                self.scene.own_kafka().pause();
                self.pause(500..6000);
                self.scene.own_kafka().resume();
            }
            Blow::BrokerRestarted => {
                self.scene.own_kafka().stop();
                self.scene.own_kafka().restart();
            }
            Blow::AnswersLost => self.interceptor.cut_next(self.chance.random_range(1..4)),
            Blow::AskedForAgain => self.ask_again(),
        }
    }

    /// The seller asks for some order again, changed or not.
    fn ask_again(&mut self) {
        let orders = self.scene.shop().orders();
        if orders.is_empty() {
            return;
        }
        let Some(id) = orders[self.chance.random_range(0..orders.len())].id.clone() else { return };
        if self.chance.random_bool(0.5) {
            let status = Some(format!("estado {}", self.chance.random_range(0..1000)));
            self.scene.shop().change(&id, Change { status, total: None }).unwrap();
        }
        self.scene.shop().unsynchronise(&[id]).unwrap();
    }

    fn pause(&mut self, millis: std::ops::Range<u64>) {
        wait::poll(Duration::from_millis(self.chance.random_range(millis)), || None::<()>);
    }

    /// No more blows, and what is left to do is done.
    fn heal(&mut self) {
        self.interceptor.cut_next(0);
        self.scene.shop().set_fault_rates(Rates::default());
        if self.program.ended().is_none() {
            self.program.signal(Signal::TERM);
            self.program.wait(RUN_DEADLINE);
        }
        self.scene.drain();
        // What stays on the account are wishes to see an order again that were lost on the wire: the list can't tell them.
        wait::until("a pass finds nothing missing", RUN_DEADLINE, || {
            // To look for changes as well would take minutes after an hour's orders, at the rate that is allowed.
            let settings = [("IMOTRIZ_RECONCILE__DETECT_CHANGES", "false")];
            let mut pass = self.scene.settings.start_with(&["--json", "reconcile"], &settings);
            pass.wait(RUN_DEADLINE);
            let summary: Value = serde_json::from_str(&pass.stdout()).unwrap_or_else(|_| panic!("{}", pass.output()));
            summary["missing"] == 0 && summary["failed"] == 0
        });
    }
}

/// Orders without an event; and events that are there twice, or more often than their order was handed over or changed.
fn verdict(scene: &Scene) -> (usize, Vec<String>, Vec<String>) {
    let events = scene.events();
    let (mut of_order, mut by_name) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new());
    for event in &events {
        *of_order.entry(event.key.clone().unwrap()).or_default() += 1;
        *by_name.entry(event.header("ce_id").unwrap().to_owned()).or_default() += 1;
    }
    let ids: Vec<String> =
        scene.shop().orders().iter().filter_map(|order| order.id.as_ref()).map(OrderId::to_string).collect();
    let lost = ids.iter().filter(|id| !of_order.contains_key(*id)).cloned().collect();
    let mut doubled: Vec<String> = by_name.into_iter().filter(|(_, times)| *times > 1).map(|(name, _)| name).collect();
    let mut wanted = BTreeMap::<String, usize>::new();
    for id in scene.marked() {
        *wanted.entry(id).or_default() += 1;
    }
    let updates = events.iter().filter(|event| event.header("imotriz-reason") == Some("UPDATED"));
    for event in updates {
        *wanted.entry(event.key.clone().unwrap()).or_default() += 1;
    }
    doubled.extend(of_order.into_iter().filter(|(id, times)| wanted.get(id) < Some(times)).map(|(id, _)| id));
    (events.len(), lost, doubled)
}

#[test]
fn nothing_is_lost_and_nothing_doubled_however_much_goes_wrong() {
    let long: SignedDuration =
        env::var("IMOTRIZ_SOAK").map_or(SignedDuration::from_secs(15), |text| text.parse().unwrap());
    let seed = env::var("IMOTRIZ_SOAK_SEED").map_or(1, |text| text.parse().unwrap());
    let mut soak = Soak::begin(seed);
    soak.scene.shop().set_fault_rates(FAULTS.parse().unwrap());
    let end = Instant::now() + long.unsigned_abs();
    while Instant::now() < end {
        soak.strike();
    }
    let faults: u64 = soak.scene.shop().summary().faults.values().sum();
    soak.heal();
    let (events, lost, doubled) = verdict(&soak.scene);
    let orders = soak.scene.shop().summary().orders;
    let blow = |blow| soak.blows.get(&blow).copied().unwrap_or_default();
    println!(
        "| date | seed | time | kills | sleeps | broker silent or restarted | commit answers lost | bad answers | orders | events | lost | doubled |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n\
         | {} | {seed} | {long:#} | {} | {} | {} | {} | {faults} | {orders} | {events} | {} | {} |",
        clock::now().strftime("%Y-%m-%d"),
        blow(Blow::Kill),
        blow(Blow::Sleep),
        blow(Blow::BrokerSilent) + blow(Blow::BrokerRestarted),
        soak.interceptor.cuts(),
        lost.len(),
        doubled.len(),
    );
    assert!(faults > 0 && blow(Blow::Kill) > 0, "nothing went wrong: {:?}", soak.blows);
    assert_eq!((lost, doubled), (vec![], vec![]));
}
