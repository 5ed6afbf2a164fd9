//! How long an instance takes to load what is tracked at its start, and what an order takes in its memory.

use std::thread;
use std::time::{Duration, Instant};

use imotriz_kafka::order::ids::StoreName;
use rustix::process::Signal;

use super::instances::{Instances, SetUp};
use super::measure::{Usage, thousands};
use super::program::DEADLINE;
use super::{Kafka, row, tracked};

const LANES: usize = 64;
/// So many that no lane is without one.
const SHOPS: usize = 1_000;

/// `sizes`: how many orders are tracked, in growing order.
pub fn load(kafka: &Kafka, sizes: &[usize]) {
    let poll = Duration::from_secs(30);
    // Each has a spool of its own, so none of them knows who published what is tracked.
    let set_up = SetUp { instances: 1 + sizes.len(), shops: SHOPS, lanes: LANES, poll, ..SetUp::default() };
    let mut instances = Instances::new(kafka, &set_up);
    // The first one creates the topics.
    let nothing = Loaded::by(&mut instances, 0);
    let stores: Vec<StoreName> = (1..=SHOPS).map(|shop| format!("s{shop}").parse().unwrap()).collect();
    let mut before = 0;
    for (instance, orders) in (1..).zip(sizes.iter().copied()) {
        tracked::fill(kafka, &instances.topics.tracking, LANES, &stores, before..orders);
        before = orders;
        Loaded::by(&mut instances, instance).report(&nothing, orders);
    }
}

/// An instance that has loaded all lanes.
struct Loaded {
    took: Duration,
    cpu: Duration,
    /// Once it has nothing more to do.
    calm: Usage,
}

impl Loaded {
    /// Starts an instance, waits until all lanes may publish and what follows the start is over, and stops it.
    fn by(instances: &mut Instances, instance: usize) -> Self {
        let start = Instant::now();
        instances.start(instance);
        instances.wait_for_lanes(&[(instance, LANES)]);
        let took = start.elapsed();
        let mut program = instances.running.remove(&instance).unwrap();
        let usage = || Usage::of(program.pid()).unwrap();
        let cpu = usage().cpu;
        let calm = calm(usage);
        program.signal(Signal::TERM);
        program.expect_exit(0, DEADLINE);
        Self { took, cpu, calm }
    }

    fn report(&self, nothing: &Self, orders: usize) {
        let count = orders as f64;
        let what = format!("{} tracked orders over {LANES} lanes", thousands(count));
        let seconds = self.took.as_secs_f64();
        row(&format!("{what}: from the start until all are loaded, s"), &format!("{seconds:.1}"), "linear");
        row("orders/s", &thousands(count / seconds), "");
        row("CPU of it, s", &format!("{:.1}", self.cpu.as_secs_f64()), "");
        let bytes = (self.calm.resident_mb - nothing.calm.resident_mb) * 1024.0 * 1024.0 / count;
        row("memory of an order, beyond the same with none, bytes", &format!("{bytes:.0}"), "≤ 80");
    }
}

/// What a process uses once it takes little of a core.
fn calm(usage: impl Fn() -> Usage) -> Usage {
    const LITTLE: f64 = 0.5;
    let span = Duration::from_secs(3);
    let end = Instant::now() + DEADLINE;
    let mut before = usage();
    loop {
        thread::sleep(span);
        let now = usage();
        if (now.cpu - before.cpu).as_secs_f64() < LITTLE * span.as_secs_f64() {
            return now;
        }
        assert!(Instant::now() < end, "it is still busy after {DEADLINE:?}");
        before = now;
    }
}
