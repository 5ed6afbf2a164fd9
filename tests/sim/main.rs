//! A deterministic simulation: the real drain, lane, spool, account and reconciler, over a model of the marketplace, the
//! broker, the disk and the clock, in which anything may go wrong at any time, and all of which a seed decides.
//!
//! `SIM_SEED=123 cargo test --test sim` plays one seed again and tells what happens; `SIM_SEEDS=100000` plays as many.
//! The operations of a seed that fails are cut down to those without which it would not.

#![allow(clippy::unwrap_used, reason = "all of this is a test, and a panic is how a test reports")]

mod broker;
mod disk;
mod market;
mod ops;
mod process;
mod random;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use imotriz_kafka::counters::Counters;
use imotriz_kafka::ids::StoreName;
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::Instant;

use ops::Op;
use process::Settings;
use random::Random;
use world::Shared;

/// Seeds of an ordinary run.
const SEEDS: u64 = 600;
/// From the end of all faults until everything must have come right.
const HEALING: Duration = Duration::from_secs(600);

/// What came of a run.
struct Verdict {
    broken: Vec<String>,
    trace: u64,
    log: Vec<String>,
}

/// Starts the program again and again, as a supervisor does.
struct Supervisor {
    settings: Arc<Settings>,
    shared: Shared,
    born: Instant,
    counters: Arc<Counters>,
    running: Option<JoinHandle<String>>,
}

impl Supervisor {
    fn start(&mut self) -> &mut JoinHandle<String> {
        let Self { settings, shared, born, counters, running } = self;
        running.get_or_insert_with(|| {
            *counters = Arc::default();
            let process = shared.lock().process;
            let (settings, shared, counters) = (settings.clone(), shared.clone(), counters.clone());
            let born = *born;
            spawn_local(async move { process::run(&settings, shared, process, born, counters).await })
        })
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }

    async fn run_for(&mut self, pause: Duration) {
        let (end, shared) = (Instant::now() + pause, self.shared.clone());
        while Instant::now() < end {
            let running = self.start();
            tokio::select! {
                biased;
                () = shared.crashed.notified() => self.stop(),
                ended = running => {
                    self.running = None;
                    {
                        let mut world = shared.lock();
                        match ended {
                            Ok(why) => world.note(&format!("--- the program ends: {why}")),
                            Err(error) => world.breaks(format!("the program panics: {}", said(error.into_panic()))),
                        }
                        // What it left running has no say any more.
                        world.process += 1;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }

    /// Whether all is quiet, after a pass of the reconciler that found nothing it could not repair.
    fn is_well(&self) -> bool {
        let store: StoreName = "bogota".parse().unwrap();
        let reconciled = self.counters.store(&store).last_pass().is_some_and(|pass| pass.summary.failed == 0);
        let world = self.shared.lock();
        reconciled && world.market.pending() == 0 && !world.disk.is_busy()
    }
}

fn said(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn play(settings: &Arc<Settings>, seed: u64, ops: &[Op], log: bool) -> Verdict {
    fastrand::seed(seed);
    let shared = Shared::new(seed, log);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let played = catch_unwind(AssertUnwindSafe(|| {
        LocalSet::new().block_on(&runtime, live(settings.clone(), shared.clone(), ops));
    }));
    drop(runtime);
    if let Err(panic) = played {
        shared.lock().breaks(format!("panic: {}", said(panic)));
    }
    let mut world = shared.lock();
    Verdict { broken: std::mem::take(&mut world.broken), trace: world.trace, log: world.log.take().unwrap_or_default() }
}

async fn live(settings: Arc<Settings>, shared: Shared, ops: &[Op]) {
    let born = Instant::now();
    let mut supervisor = Supervisor { settings, shared: shared.clone(), born, counters: Arc::default(), running: None };
    for op in ops {
        shared.lock().apply(*op, born.elapsed());
        let pause = if let Op::Wait(ms) = op { *ms } else { shared.lock().random.below(30) };
        supervisor.run_for(Duration::from_millis(pause)).await;
        if !shared.lock().broken.is_empty() {
            return;
        }
    }
    shared.lock().note("--- no more faults");
    // The last crash: what comes after it has to find everything by itself.
    supervisor.stop();
    {
        let mut world = shared.lock();
        world.heal();
        world.power_off();
    }
    let healed = Instant::now();
    while !supervisor.is_well() && healed.elapsed() < HEALING && shared.lock().broken.is_empty() {
        supervisor.run_for(Duration::from_millis(500)).await;
    }
    let is_well = supervisor.is_well();
    shared.lock().check_all_has_come_right(is_well);
    supervisor.stop();
}

/// Drops what may be dropped while it still fails, large pieces first.
fn shrunk(settings: &Arc<Settings>, seed: u64, mut ops: Vec<Op>) -> Vec<Op> {
    let mut size = ops.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(start..(start + size).min(fewer.len()));
            if play(settings, seed, &fewer, false).broken.is_empty() {
                start += size;
            } else {
                ops = fewer;
            }
        }
        size /= 2;
    }
    ops
}

fn scenario(seed: u64) -> Vec<Op> {
    ops::scenario(&mut Random::new(seed ^ 0x5eed))
}

fn fail(settings: &Arc<Settings>, seed: u64) -> ! {
    let ops = shrunk(settings, seed, scenario(seed));
    let verdict = play(settings, seed, &ops, true);
    let ops: Vec<String> = ops.iter().map(|op| format!("    {op:?}  // {op}")).collect();
    let log = verdict.log[verdict.log.len().saturating_sub(150)..].join("\n");
    panic!(
        "{log}\n\nSIM_SEED={seed} cargo test --test sim\nbroken: {}\noperations without which it would not be:\n{}",
        verdict.broken.join("; "),
        ops.join("\n")
    );
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_doubled() {
    let settings = Arc::new(Settings::new());
    if let Some(seed) = variable("SIM_SEED") {
        let verdict = play(&settings, seed, &scenario(seed), true);
        println!("{}", verdict.log.join("\n"));
        if !verdict.broken.is_empty() {
            fail(&settings, seed);
        }
        return;
    }
    let (first, seeds) = (variable("SIM_FIRST").unwrap_or(0), variable("SIM_SEEDS").unwrap_or(SEEDS));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let settings = &settings;
            scope.spawn(move || {
                for seed in (first..first + seeds).skip(thread as usize).step_by(threads as usize) {
                    if !play(settings, seed, &scenario(seed), false).broken.is_empty() {
                        fail(settings, seed);
                    }
                }
            });
        }
    });
}

#[test]
fn a_seed_decides_everything() {
    let settings = Arc::new(Settings::new());
    for seed in 0..10 {
        let [one, other] = [0; 2].map(|_| play(&settings, seed, &scenario(seed), false).trace);
        assert_eq!(one, other, "seed {seed}");
    }
}
