//! A deterministic simulation: the real drain, lane, spool, account and reconciler run over models of the marketplace,
//! the broker, the disk and the clock. Anything may fail at any time, and a seed determines all of it.
//!
//! `SIM_SEED=123 cargo test --test sim` repeats one seed and prints what happens. `SIM_SEEDS=100000` runs as many
//! seeds. If a seed fails, its operations are reduced to those that the failure needs.

#![allow(clippy::unwrap_used, reason = "all of this is a test, and a panic is how a test reports")]

mod broker;
mod clock;
mod disk;
mod group;
mod life;
mod log;
mod market;
mod ops;
mod process;
mod random;
mod world;

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use imotriz_kafka::app::AppError;
use imotriz_kafka::avro::event::ContentHash;
use imotriz_kafka::config::Config;
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::JoinError;
use tokio::time::Instant;

use disk::DiskState;
use life::{Life, Tokens};
use ops::{Command, Op};
use process::Process;
use random::Random;
use world::{Losses, Shared};

/// Seeds of an ordinary run.
const SEEDS: u64 = 2_000;
/// The same for several instances.
const SHARED_SEEDS: u64 = 1_000;
/// The same for many stores.
const CROWDED_SEEDS: u64 = 300;
/// The same for a log of which segments are lost.
const LOSING_SEEDS: u64 = 100;
/// From the end of all faults until everything must have come right.
const HEALING: Duration = Duration::from_secs(600);

/// A file's name holds the ID of a read, which no seed decides.
fn without_names(error: &AppError) -> String {
    let error = error.to_string();
    let words = error.split(' ').map(|word| if word.starts_with("/nowhere/") { "a file" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// What came of a run.
struct Verdict {
    broken: Vec<String>,
    trace: u64,
    /// How often lanes were revoked, lost and assigned.
    moves: [u64; 3],
    /// How often records were refused.
    refusals: u64,
    losses: Losses,
    log: Vec<String>,
}

/// Starts the program again and again, as a supervisor does, and what an operator runs instead of it.
struct Supervisor<'a> {
    life: Life,
    config: Arc<Config>,
    tokens: &'a Tokens,
    shared: Shared,
    commands: VecDeque<Command>,
    /// Of each instance.
    running: Vec<Option<Process>>,
    /// When an instance is started again.
    down_until: Vec<Instant>,
    /// Stores that a pass went over since all faults were over, and could repair.
    reconciled: BTreeSet<String>,
    /// Stores that are known to have lost orders.
    accounted: BTreeSet<String>,
}

impl Supervisor<'_> {
    fn start(&mut self) {
        let Self { config, shared, commands, running, down_until, .. } = self;
        for (instance, running) in running.iter_mut().enumerate().filter(|(at, _)| down_until[*at] <= Instant::now()) {
            running.get_or_insert_with(|| {
                let command = commands.pop_front();
                shared.lock().check_manifest(instance);
                shared.lock().note(&format!("--- {} starts", command.map_or("run".to_owned(), |c| format!("{c:?}"))));
                Process::start(config.clone(), shared.clone(), instance, command)
            });
        }
    }

    async fn kill(&mut self) {
        for instance in 0..self.running.len() {
            self.kill_one(instance).await;
        }
    }

    async fn kill_one(&mut self, instance: usize) {
        if let Some(running) = self.running[instance].take() {
            running.kill().await;
        }
        self.stay_down(instance);
    }

    /// One of several instances comes back in time for its lanes, or too late.
    fn stay_down(&mut self, instance: usize) {
        if self.running.len() > 1 {
            let pause = [0, 3, 14][self.shared.lock().random.below(3) as usize];
            self.down_until[instance] = Instant::now() + Duration::from_secs(pause);
        }
    }

    fn command(&mut self, command: Command) {
        self.commands.push_back(command);
        self.stop(0);
    }

    fn stop(&mut self, instance: usize) {
        let at = instance % self.running.len();
        if let Some(running) = &self.running[at] {
            running.stop();
        }
    }

    /// The end of whichever instance ends first.
    async fn next_end(running: &mut [Option<Process>]) -> (usize, Result<Result<String, AppError>, JoinError>) {
        poll_fn(|context| {
            let mut tasks = running.iter_mut().enumerate().filter_map(|(at, it)| Some((at, &mut it.as_mut()?.task)));
            let ended = tasks.find_map(|(at, task)| match Pin::new(task).poll(context) {
                Poll::Ready(ended) => Some((at, ended)),
                Poll::Pending => None,
            });
            ended.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The token in the file is void from now on, or the file gets the new one.
    fn rotate_token(&self, store: u64) {
        let mut world = self.shared.lock();
        let index = store as usize % world.market.shops.len();
        let shop = &mut world.market.shops[index];
        if shop.token_in_file == shop.token {
            shop.token += 1;
        } else {
            shop.token_in_file = shop.token;
            self.tokens.put(shop.name, shop.token);
        }
    }

    /// The settings lose a store, or have it again. The first one stays, for there must be one.
    fn take_or_bring(&mut self, store: u64) {
        let stores = self.life.stores();
        let Some(name) = stores.get(store as usize % stores.len()).filter(|name| **name != stores[0]) else { return };
        let name = name.parse().unwrap();
        let config = Arc::make_mut(&mut self.config);
        if config.stores.remove(&name).is_none() {
            config.stores.insert(name.clone(), self.life.config(self.tokens).stores[&name].clone());
        }
        self.running.iter().flatten().for_each(|running| running.set_stores(&self.config));
    }

    /// Whether all that is shown as published is committed.
    fn check_what_is_shown(&self) {
        let mut world = self.shared.lock();
        let shown = self.running.iter().flatten().flat_map(|running| running.counters.recent.newest_first());
        let uncommitted = shown.into_iter().find(|order| {
            let key = format!("{}/{}", order.store, order.order_id);
            let committed = world.broker.published.get(&key).map_or(0, |published| published.revision);
            committed < i32::from(order.revision) as u64
        });
        if let Some(order) = uncommitted {
            world.breaks(format!("{order:?} is shown as published, and is not committed"));
        }
    }

    async fn run_for(&mut self, pause: Duration) {
        let (end, shared) = (Instant::now() + pause, self.shared.clone());
        while Instant::now() < end {
            self.start();
            self.check_what_is_shown();
            let next_start = self.down_until.iter().copied().filter(|until| *until > Instant::now()).min();
            tokio::select! {
                biased;
                () = shared.crashed.notified() => {
                    let fallen = std::mem::take(&mut shared.lock().fallen);
                    for instance in fallen {
                        self.kill_one(instance).await;
                    }
                }
                (instance, ended) = Self::next_end(&mut self.running) => {
                    self.note_reconciled();
                    self.ended(instance, ended);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                () = tokio::time::sleep_until(next_start.map_or(end, |next| next.min(end))) => {}
            }
        }
    }

    fn ended(&mut self, instance: usize, ended: Result<Result<String, AppError>, JoinError>) {
        self.running[instance].take().iter().for_each(Process::kill_threads);
        self.stay_down(instance);
        let mut world = self.shared.lock();
        match ended {
            Err(panic) => world.breaks(format!("the program panics: {}", said(panic.into_panic()))),
            Ok(Err(AppError::Panicked)) => world.breaks("a task of the program panics".to_owned()),
            Ok(Err(error)) => world.note(&format!("--- the program ends: {}", without_names(&error))),
            Ok(Ok(why)) => world.note(&format!("--- the program ends: {why}")),
        }
        world.next_process(instance);
        world.lose_segment(instance, &self.shared.clock);
    }

    fn note_reconciled(&mut self) {
        for running in self.running.iter().flatten() {
            for store in self.life.stores() {
                let pass = running.counters.store(&store.parse().unwrap()).last_pass();
                if pass.is_some_and(|pass| pass.summary.failed == 0) {
                    self.reconciled.insert(store.to_owned());
                }
            }
        }
        let accounts = self.running.iter().flatten().filter_map(|running| running.account.lock().unwrap().clone());
        let accounts: Vec<_> = accounts.collect();
        if !accounts.is_empty() {
            let is_accounted = |store: &&str| {
                accounts.iter().any(|account| !account.unaccounted_of(&store.parse().unwrap()).is_nothing())
            };
            self.accounted = self.life.stores().into_iter().filter(is_accounted).map(str::to_owned).collect();
        }
    }

    /// Whether all is quiet, after a pass of the reconciler that found nothing it could not repair.
    fn is_well(&mut self) -> bool {
        self.note_reconciled();
        let (world, now) = (self.shared.lock(), self.shared.clock.true_time());
        let is_quiet = world.market.pending(now) == 0 && !world.disks.iter().any(DiskState::is_busy);
        drop(world);
        is_quiet && self.is_looked_into() && self.reconciled.len() == self.life.stores().len() && self.is_up_to_date()
    }

    /// Whether each read of unknown outcome was looked into, whoever has its lane.
    fn is_looked_into(&self) -> bool {
        let accounts = self.running.iter().flatten().filter_map(|running| running.account.lock().unwrap().clone());
        let stores: Vec<_> = self.life.stores().into_iter().map(|store| store.parse().unwrap()).collect();
        accounts.into_iter().all(|account| !stores.iter().any(|store| account.is_to_be_looked_for(store)))
    }

    /// Whether each listed order's last event says what the marketplace says, where changes are looked for.
    fn is_up_to_date(&self) -> bool {
        if !self.life.follows_changes() {
            return true;
        }
        let (world, now) = (self.shared.lock(), self.shared.clock.true_time());
        world.market.shops.iter().all(|shop| {
            let country = self.config.stores[&shop.name.parse().unwrap()].country;
            shop.listed(now).all(|id| {
                let Some(published) = world.broker.published.get(&shop.key(id)) else { return true };
                let record = serde_json::value::RawValue::from_string(shop.record(id)).unwrap();
                let order = self.config.mapping.order(country, &record).unwrap();
                published.content == Some(ContentHash::of(&order))
            })
        })
    }
}

fn said(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn play(life: Life, seed: u64, ops: &[Op], log: bool) -> Verdict {
    fastrand::seed(seed);
    let tokens = Tokens::new();
    let runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build_local(LocalOptions::default()).unwrap();
    let shared = {
        let _within = runtime.enter();
        Shared::new(seed, life, log)
    };
    let clock = shared.clock.clone();
    imotriz_kafka::platform::clock::simulate(move || clock.shown());
    let played = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(live(life, &tokens, shared.clone(), ops));
    }));
    drop(runtime);
    if let Err(panic) = played {
        shared.lock().breaks(format!("panic: {}", said(panic)));
    }
    let mut world = shared.lock();
    Verdict {
        broken: std::mem::take(&mut world.broken),
        trace: world.trace,
        moves: world.broker.group.moves,
        refusals: world.market.refusals,
        losses: world.losses,
        log: world.log.take().unwrap_or_default(),
    }
}

async fn live(life: Life, tokens: &Tokens, shared: Shared, ops: &[Op]) {
    life.stores().iter().for_each(|store| tokens.put(store, 1));
    let mut supervisor = Supervisor {
        life,
        config: Arc::new(life.config(tokens)),
        tokens,
        shared: shared.clone(),
        commands: VecDeque::new(),
        running: (0..life.instances).map(|_| None).collect(),
        down_until: vec![Instant::now(); life.instances],
        reconciled: BTreeSet::new(),
        accounted: BTreeSet::new(),
    };
    if life.instances > 1 {
        let shared = shared.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(503)).await;
                let now = shared.clock.elapsed();
                shared.lock().tick(now);
            }
        });
    }
    for op in ops {
        shared.lock().apply(*op, &shared.clock);
        match op {
            Op::Command(command) => supervisor.command(*command),
            Op::RotateToken(store) => supervisor.rotate_token(*store),
            Op::Stop(instance) => supervisor.stop(*instance as usize),
            Op::TakeOrBringStore(store) => supervisor.take_or_bring(*store),
            _ => {}
        }
        let pause = if let Op::Wait(ms) = op { *ms } else { shared.lock().random.below(30) };
        supervisor.run_for(Duration::from_millis(pause)).await;
        if !shared.lock().broken.is_empty() {
            return;
        }
    }
    heal(&mut supervisor).await;
}

/// All faults are over, and so is the process: what comes after the last crash has to find everything by itself.
async fn heal(supervisor: &mut Supervisor<'_>) {
    let shared = supervisor.shared.clone();
    shared.lock().note("--- no more faults");
    supervisor.kill().await;
    supervisor.commands.clear();
    supervisor.reconciled.clear();
    supervisor.config = Arc::new(supervisor.life.config(supervisor.tokens));
    {
        let mut world = shared.lock();
        world.heal(shared.clock.true_time());
        (0..supervisor.running.len()).for_each(|instance| world.power_off(instance, &shared.clock));
        world.fallen.clear();
        world.market.shops.iter().for_each(|shop| supervisor.tokens.put(shop.name, shop.token));
    }
    supervisor.down_until.fill(Instant::now());
    let healed = Instant::now();
    while !supervisor.is_well() && healed.elapsed() < HEALING && shared.lock().broken.is_empty() {
        if supervisor.life.by_command && supervisor.commands.is_empty() {
            supervisor.commands.push_back(Command::Reconcile);
        }
        supervisor.run_for(Duration::from_millis(500)).await;
    }
    let is_well = supervisor.is_well();
    shared.lock().check_all_has_come_right(is_well, &supervisor.accounted, &shared.clock);
    supervisor.kill().await;
}

/// Drops what may be dropped while it still fails, large pieces first.
fn shrunk(mut ops: Vec<Op>, is_well: impl Fn(&[Op]) -> bool) -> Vec<Op> {
    let mut size = ops.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < ops.len() {
            let mut fewer = ops.clone();
            fewer.drain(start..(start + size).min(fewer.len()));
            if is_well(&fewer) {
                start += size;
            } else {
                ops = fewer;
            }
        }
        size /= 2;
    }
    ops
}

/// How the lives of a test are made of their seeds.
#[derive(Clone, Copy)]
struct Lives {
    of: fn(u64) -> Life,
    scenario: fn(&mut Random) -> Vec<Op>,
    /// The test that plays them.
    test: &'static str,
}

const ALONE: Lives =
    Lives { of: Life::of, scenario: ops::scenario, test: "whatever_goes_wrong_nothing_is_lost_and_nothing_doubled" };
const SHARED: Lives =
    Lives { of: Life::shared, scenario: ops::shared_scenario, test: "whatever_befalls_instances_that_share_the_lanes" };

const CROWDED: Lives = Lives {
    of: Life::crowded,
    scenario: ops::crowded_scenario,
    test: "whatever_befalls_many_stores_nothing_is_lost_and_nothing_doubled",
};

const LOSING: Lives = Lives {
    of: Life::segmented,
    scenario: ops::losing_scenario,
    test: "whatever_befalls_a_log_that_loses_segments_nothing_is_lost_and_nothing_doubled",
};

impl Lives {
    fn ops(self, seed: u64) -> Vec<Op> {
        (self.scenario)(&mut Random::new(seed ^ 0x5eed))
    }

    fn play(self, seed: u64, ops: &[Op], log: bool) -> Verdict {
        play((self.of)(seed), seed, ops, log)
    }

    fn fail(self, seed: u64) -> ! {
        let ops = shrunk(self.ops(seed), |ops| self.play(seed, ops, false).broken.is_empty());
        let verdict = self.play(seed, &ops, true);
        let ops: Vec<String> = ops.iter().map(|op| format!("    {op:?}  // {op}")).collect();
        let log = verdict.log[verdict.log.len().saturating_sub(150)..].join("\n");
        panic!(
            "{log}\n\nSIM_SEED={seed} cargo test --test sim {}\nbroken: {}\noperations without which it would not be:\n{}",
            self.test,
            verdict.broken.join("; "),
            ops.join("\n")
        );
    }

    /// One seed by its number, or as many as wanted. Returns how often the lanes were revoked, lost and assigned, records
    /// refused, and segments lost: by their places, with unpublished pages, and with nothing else to tell of these.
    /// Nothing for one seed, in which not all of this needs to happen.
    fn play_all(self, seeds: u64) -> Option<[u64; 10]> {
        let happened = |verdict: &Verdict| {
            let [revoked, lost, assigned] = verdict.moves;
            let Losses { places: [first, middle, last, only], unpublished, silent } = verdict.losses;
            [revoked, lost, assigned, verdict.refusals, first, middle, last, only, unpublished, silent]
        };
        let sums = Mutex::new([0; 10]);
        if let Some(seed) = variable("SIM_SEED") {
            let verdict = self.play(seed, &self.ops(seed), true);
            println!("{}", verdict.log.join("\n"));
            if !verdict.broken.is_empty() {
                self.fail(seed);
            }
            return None;
        }
        let (first, seeds) = (variable("SIM_FIRST").unwrap_or(0), variable("SIM_SEEDS").unwrap_or(seeds));
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let sums = &sums;
                scope.spawn(move || {
                    for seed in (first..first + seeds).skip(thread as usize).step_by(threads as usize) {
                        let verdict = self.play(seed, &self.ops(seed), false);
                        if !verdict.broken.is_empty() {
                            self.fail(seed);
                        }
                        let mut sums = sums.lock().unwrap();
                        sums.iter_mut().zip(happened(&verdict)).for_each(|(sum, times)| *sum += times);
                    }
                });
            }
        });
        Some(sums.into_inner().unwrap())
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_doubled() {
    ALONE.play_all(SEEDS);
}

#[test]
fn whatever_befalls_instances_that_share_the_lanes_nothing_is_lost_and_nothing_doubled() {
    let Some([revoked, lost, assigned, ..]) = SHARED.play_all(SHARED_SEEDS) else { return };
    assert!(revoked > 0 && lost > 0 && assigned > revoked, "no lane ever moved");
}

#[test]
fn whatever_befalls_many_stores_nothing_is_lost_and_nothing_doubled() {
    let Some([_, _, _, refused, ..]) = CROWDED.play_all(CROWDED_SEEDS) else { return };
    assert!(refused > 0, "no record was ever refused");
}

#[test]
fn whatever_befalls_a_log_that_loses_segments_nothing_is_lost_and_nothing_doubled() {
    let Some([_, _, _, _, lost @ ..]) = LOSING.play_all(LOSING_SEEDS) else { return };
    assert!(lost.iter().all(|times| *times > 0), "some loss never happened: {lost:?}");
}

/// What a seed found once, cut down to the operations without which it would not be. Returns what happened.
fn holds(seed: u64, ops: &[Op]) -> Vec<String> {
    let verdict = ALONE.play(seed, ops, true);
    assert!(verdict.broken.is_empty(), "{}\nbroken: {}", verdict.log.join("\n"), verdict.broken.join("; "));
    verdict.log
}

#[test]
fn what_was_published_while_the_clock_was_weeks_behind_is_not_forgotten_when_it_is_set_right() {
    const WEEKS: i64 = 40 * 24 * 60;
    let ops =
        [Op::SetClock(-WEEKS), Op::Place(20, 1), Op::Wait(5_000), Op::Crash(3), Op::SetClock(WEEKS), Op::Wait(40_000)];
    let log = holds(9815, &ops);
    let starts = log.iter().filter(|line| line.contains("--- run starts")).count();
    assert_eq!(starts, 2, "the second looks at what the first published\n{}", log.join("\n"));
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..10 {
        for lives in [ALONE, SHARED, CROWDED, LOSING] {
            let [one, other] = [0; 2].map(|_| lives.play(seed, &lives.ops(seed), false).trace);
            assert_eq!(one, other, "seed {seed} of {}", lives.test);
        }
    }
}
