//! What outlives the program: the state of marketplace, broker and disk, what goes wrong next, and the verdict.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use crate::broker::BrokerState;
use crate::disk::DiskState;
use crate::market::MarketState;
use crate::ops::{CommitFault, Op, ReadFault};
use crate::random::Random;

/// What goes wrong next, each once.
#[derive(Default)]
pub struct Faults {
    pub read: Option<ReadFault>,
    pub list_fails: bool,
    pub order_fails: bool,
    pub order_not_found: bool,
    pub commit: Option<CommitFault>,
    pub delivery_fails: bool,
    pub disk_full: bool,
    pub disk_fails_in: Option<u64>,
    pub crash_in: Option<u64>,
}

pub struct World {
    pub random: Random,
    pub faults: Faults,
    pub market: MarketState,
    pub broker: BrokerState,
    pub disk: DiskState,
    /// The process that has power. Others do nothing any more.
    pub process: u64,
    /// Inputs and outputs so far, the trace of a run.
    pub ios: u64,
    pub trace: u64,
    pub broken: Vec<String>,
    pub log: Option<Vec<String>>,
}

/// All share one.
#[derive(Clone)]
pub struct Shared {
    world: Arc<Mutex<World>>,
    pub crashed: Arc<Notify>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the world")
    }
}

impl Shared {
    pub fn new(seed: u64, log: bool) -> Self {
        let world = World {
            random: Random::new(seed),
            faults: Faults::default(),
            market: MarketState::default(),
            broker: BrokerState::default(),
            disk: DiskState::default(),
            process: 0,
            ios: 0,
            trace: 0,
            broken: Vec::new(),
            log: log.then(Vec::new),
        };
        Self { world: Arc::new(Mutex::new(world)), crashed: Arc::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// An input or output of a process; `false` if it has no power, perhaps from this moment.
    pub fn io(&self, process: u64, what: &str) -> bool {
        let mut world = self.lock();
        if world.process != process {
            return false;
        }
        world.note(what);
        if let Some(left) = world.faults.crash_in.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                world.power_off();
                self.crashed.notify_one();
                return false;
            }
        }
        true
    }

    /// The same for one that takes its time. Never returns for a process without power.
    pub async fn call(&self, process: u64, what: &str) {
        let pause = 1 + self.lock().random.below(20);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        if !self.io(process, what) {
            std::future::pending::<()>().await;
        }
    }
}

impl World {
    pub fn note(&mut self, what: &str) {
        self.ios += 1;
        self.trace = what.bytes().fold(self.trace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        if let Some(log) = &mut self.log {
            log.push(format!("{:>5} {what}", self.ios));
        }
    }

    pub fn power_off(&mut self) {
        self.note("*** the power goes");
        self.process += 1;
        self.faults.crash_in = None;
        let Self { disk, random, .. } = self;
        disk.lose_power(random);
    }

    pub fn breaks(&mut self, what: String) {
        self.note(&format!("!!! {what}"));
        self.broken.push(what);
    }

    /// Sets off an operation; waiting is the driver's.
    pub fn apply(&mut self, op: Op, now: Duration) {
        self.note(&format!("--- {op}"));
        match op {
            Op::Wait(_) => {}
            Op::Place(orders) => (0..orders).for_each(|_| self.market.place()),
            Op::Unsynchronise(order) => self.market.unsynchronise(order),
            Op::Read(fault) => self.faults.read = Some(fault),
            Op::HideFromList(order) => self.market.hide(order),
            Op::ListFails => self.faults.list_fails = true,
            Op::OrderFails => self.faults.order_fails = true,
            Op::OrderNotFound => self.faults.order_not_found = true,
            Op::Commit(fault) => self.faults.commit = Some(fault),
            Op::DeliveryFails => self.faults.delivery_fails = true,
            Op::BrokerAway(ms) => self.broker.away_until = now + Duration::from_millis(ms),
            Op::SecondInstance => {
                let Self { broker, random, broken, .. } = self;
                broker.fence(0, random, broken);
            }
            Op::DiskFull => self.faults.disk_full = true,
            Op::DiskFails(after) => self.faults.disk_fails_in = Some(after),
            Op::Crash(io) => self.faults.crash_in = Some(io),
        }
    }

    pub fn heal(&mut self) {
        self.faults = Faults::default();
        self.broker.away_until = Duration::ZERO;
        self.market.hidden.clear();
        // An empty list proves nothing, and so would settle nothing.
        self.market.place();
    }

    /// Whether every order that was marked and did not come is known to be missing, durably.
    pub fn check_nothing_is_silent(&mut self) {
        let unaccounted: Vec<u64> = self.market.marked().filter(|id| !self.broker.has(*id)).collect();
        let lost = unaccounted.into_iter().find(|id| !self.disk.holds_order(*id));
        if let Some(id) = lost.filter(|_| !self.disk.holds_a_trace()) {
            self.breaks(format!("order {id} was marked, is nowhere, and no trace says so"));
        }
    }

    /// An order has as many events at most as it was handed over: whatever is replayed, decided anew or reconciled.
    pub fn check_nothing_is_published_unasked(&mut self) {
        let asked_for = |id: &u64| self.market.marks.get(id).copied().unwrap_or(0);
        let unasked = self.broker.revisions.iter().find(|(id, revision)| **revision > asked_for(id));
        if let Some((id, revision)) = unasked.map(|(id, revision)| (*id, *revision)) {
            self.breaks(format!("order {id} has revision {revision}, and was not handed over as often"));
        }
    }

    /// Once all faults are over and a pass was made.
    pub fn check_all_has_come_right(&mut self, is_well: bool) {
        self.check_nothing_is_published_unasked();
        if !is_well {
            self.breaks("it does not come to rest".to_owned());
        }
        let lost = self.market.marked().find(|id| !self.broker.has(*id) && !self.market.denied.contains(id));
        if let Some(id) = lost {
            self.breaks(format!("order {id} is lost"));
        }
        let unpublished = self.disk.pages.iter().find(|read| !self.broker.reads.contains(*read)).cloned();
        if let Some(read) = unpublished {
            self.breaks(format!("the page of read {read} was durable and is not published"));
        }
    }
}
