//! The state that outlives the program: marketplace, broker, disk, faults to come, and the verdict.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{Span, Timestamp};
use tokio::sync::Notify;

use crate::broker::BrokerState;
use crate::clock::ModelClock;
use crate::disk::{DiskState, holds_order};
use crate::life::Life;
use crate::market::{MarketState, Shop};
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
    /// From then on a page may exist in memory only.
    pub disk_has_failed: bool,
    pub crash_in: Option<u64>,
    pub segment_goes: Option<u64>,
}

/// Who acts by itself: a lane, a store's drain, its reconciler.
#[derive(Debug, Clone, Copy)]
pub struct Actor(u64);

impl Actor {
    /// How many there are in one instance.
    fn count(shops: usize) -> u64 {
        2 + 2 * shops.max(2) as u64
    }

    pub fn lane(lane: i32) -> Self {
        Self(lane as u64)
    }

    /// Of two shops as it was before there were more, or all seeds would play something else.
    pub fn drain(shop: usize) -> Self {
        Self(if shop < 2 { 2 + shop as u64 } else { 2 + 2 * shop as u64 })
    }

    pub fn reconciler(shop: usize) -> Self {
        Self(if shop < 2 { 4 + shop as u64 } else { 3 + 2 * shop as u64 })
    }

    /// Several instances have two shops.
    pub fn of(self, process: u64) -> Self {
        Self(self.0 + Self::count(2) * instance_of(process) as u64)
    }
}

/// How often segments were lost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Losses {
    /// By their places in the log: the first, one between, the last, the only one.
    pub places: [u64; 4],
    /// With pages that were not published.
    pub unpublished: u64,
    /// The same, when nothing else told the next process to look for anything.
    pub silent: u64,
}

/// More instances than there ever are.
const INSTANCES: u64 = 4;

/// Whose process it is.
pub fn instance_of(process: u64) -> usize {
    (process % INSTANCES) as usize
}

pub struct World {
    seed: u64,
    pub random: Random,
    actors: BTreeMap<u64, Random>,
    pub faults: Faults,
    pub market: MarketState,
    pub broker: BrokerState,
    /// Of each instance.
    pub disks: Vec<DiskState>,
    /// The instance that acts.
    pub at: usize,
    /// The process of each instance that has power. Others do nothing any more.
    processes: Vec<u64>,
    /// Instances whose power went, and nobody has noticed yet.
    pub fallen: Vec<usize>,
    /// What segments were lost.
    pub losses: Losses,
    /// Orders that such a segment may have held for a day. Nobody knows how old what it held was, so they are looked for
    /// in the list, and are not on the account.
    unaccountable: BTreeSet<String>,
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
    pub clock: ModelClock,
    pub crashed: Arc<Notify>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the world")
    }
}

impl Shared {
    /// Within the runtime of the run.
    pub fn new(seed: u64, life: Life, log: bool) -> Self {
        let shops = life.stores().iter().map(|name| Shop::new(name)).collect();
        let world = World {
            seed,
            random: Random::new(seed),
            actors: BTreeMap::new(),
            faults: Faults::default(),
            market: MarketState { shops, ..MarketState::default() },
            broker: BrokerState::new(life.lanes),
            disks: (0..life.instances).map(|_| DiskState::default()).collect(),
            at: 0,
            processes: (0..life.instances as u64).collect(),
            fallen: Vec::new(),
            losses: Losses::default(),
            unaccountable: BTreeSet::new(),
            ios: 0,
            trace: 0,
            broken: Vec::new(),
            log: log.then(Vec::new),
        };
        Self { world: Arc::new(Mutex::new(world)), clock: ModelClock::new(), crashed: Arc::default() }
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// An input or output of a process; `false` if it has no power, perhaps from this moment.
    pub fn io(&self, process: u64, what: &str) -> bool {
        let mut world = self.lock();
        if !world.has_power(process) {
            return false;
        }
        world.note(what);
        if let Some(left) = world.faults.crash_in.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                world.power_off(instance_of(process), &self.clock);
                self.crashed.notify_one();
                return false;
            }
        }
        true
    }

    /// The same for one that takes its time. Never returns for a process without power.
    pub async fn call(&self, process: u64, actor: Actor, what: &str) {
        let pause = self.lock().pause(actor.of(process), &[0, 1, 2]);
        tokio::time::sleep(pause).await;
        if !self.io(process, what) {
            std::future::pending::<()>().await;
        }
    }
}

impl World {
    /// How long something takes: one of these times. Several tasks may be woken at once, in an order that nobody decides.
    /// So each has its own stream of numbers, and two that begin at once never end at once.
    pub fn pause(&mut self, actor: Actor, times: &[u64]) -> Duration {
        let Actor(number) = actor;
        let seed = self.seed;
        let random = self.actors.entry(number).or_insert_with(|| Random::new(seed ^ (number << 32)));
        let time = times[random.below(times.len() as u64) as usize];
        Duration::from_millis(1 + time * Actor::count(self.market.shops.len()) * self.disks.len() as u64 + number)
    }

    pub fn disk(&self) -> &DiskState {
        &self.disks[self.at]
    }

    pub fn disk_mut(&mut self) -> &mut DiskState {
        &mut self.disks[self.at]
    }

    /// Whether several instances share the lanes.
    pub fn is_shared(&self) -> bool {
        self.disks.len() > 1
    }

    pub fn has_power(&self, process: u64) -> bool {
        self.processes[instance_of(process)] == process
    }

    /// The process that this instance's next one is.
    pub fn process_of(&self, instance: usize) -> u64 {
        self.processes[instance]
    }

    /// What this instance's process left running has no say any more.
    pub fn next_process(&mut self, instance: usize) {
        self.processes[instance] += INSTANCES;
    }

    /// The coordinator's share of the time.
    pub fn tick(&mut self, now: Duration) {
        let Self { broker, processes, random, .. } = self;
        broker.group.tick(now, random, |process| processes[instance_of(process)] == process);
    }

    pub fn note(&mut self, what: &str) {
        self.ios += 1;
        self.trace = what.bytes().fold(self.trace, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        if let Some(log) = &mut self.log {
            log.push(format!("{:>5} {what}", self.ios));
        }
    }

    pub fn power_off(&mut self, instance: usize, clock: &ModelClock) {
        self.note("*** the power goes");
        self.next_process(instance);
        self.faults.crash_in = None;
        self.fallen.push(instance);
        let Self { disks, random, .. } = self;
        disks[instance].lose_power(random);
        self.lose_segment(instance, clock);
    }

    /// As an operation wanted it: at the end of a process.
    pub fn lose_segment(&mut self, instance: usize, clock: &ModelClock) {
        let Some(which) = self.faults.segment_goes.take() else { return };
        let Some((place, reads)) = self.disks[instance].lose_segment(which) else { return };
        self.note(&format!("*** a segment is gone: {place:?}, with {} pages", reads.len()));
        self.losses.places[place as usize] += 1;
        if reads.iter().any(|read| !self.broker.reads.contains(read)) {
            self.losses.unpublished += 1;
            self.losses.silent += u64::from(self.disks[instance].ended_well());
        }
        let day_ago = clock.true_time() - Span::new().hours(24);
        let old = self.lost().filter(|(shop, id)| shop.orders[id].placed <= day_ago);
        let old: Vec<String> = old.map(|(shop, id)| shop.key(id)).collect();
        self.unaccountable.extend(old);
    }

    /// A power failure leaves nothing that looks like a lost segment.
    pub fn check_manifest(&mut self, instance: usize) {
        let may_miss = self.faults.disk_has_failed || self.losses.places != [0; 4];
        if let Some(name) = self.disks[instance].missing().filter(|_| !may_miss) {
            self.breaks(format!("the manifest names {name}, which is not there"));
        }
    }

    pub fn breaks(&mut self, what: String) {
        self.note(&format!("!!! {what}"));
        self.broken.push(what);
    }

    /// A process asks the group before it takes a lane. A page that exists in memory only is published whoever has the
    /// lane.
    pub fn check_opening(&mut self, process: u64, lane: i32) {
        if !self.faults.disk_has_failed && self.broker.group.is_mistaken(process, lane) {
            self.breaks(format!("process {process} takes lane {lane}, which is another instance's"));
        }
    }

    /// Sets off an operation; waiting, commands and tokens are the driver's.
    pub fn apply(&mut self, op: Op, clock: &ModelClock) {
        self.note(&format!("--- {op}"));
        let now = clock.true_time();
        match op {
            Op::Wait(_) | Op::Command(_) | Op::RotateToken(_) | Op::Stop(_) | Op::TakeOrBringStore(_) => {}
            Op::RefuseRecords(store) => {
                let count = self.market.shops.len();
                let shop = &mut self.market.shops[store as usize % count];
                shop.is_refused = !shop.is_refused;
            }
            Op::Rebalance => self.broker.group.rebalance(),
            Op::GiveUp(instance, ms) => {
                let until = clock.elapsed() + Duration::from_millis(ms);
                self.broker.group.give_up(instance as usize % self.disks.len(), until);
            }
            Op::Place(orders, store) => (0..orders).for_each(|_| self.market.place(store, now)),
            Op::Unsynchronise(order) => self.market.unsynchronise(order, now),
            Op::Change(order) => self.market.change(order),
            Op::Sleep(days) => clock.sleep(days),
            Op::SetClock(minutes) => clock.set(minutes),
            Op::Read(fault) => self.faults.read = Some(fault),
            Op::HideFromList(order) => self.market.hide(order),
            Op::ListFails => self.faults.list_fails = true,
            Op::OrderFails => self.faults.order_fails = true,
            Op::OrderNotFound => self.faults.order_not_found = true,
            Op::Commit(fault) => self.faults.commit = Some(fault),
            Op::DeliveryFails => self.faults.delivery_fails = true,
            Op::BrokerAway(ms) => self.broker.away_until = clock.elapsed() + Duration::from_millis(ms),
            Op::SecondInstance(lane) => {
                let Self { broker, random, broken, .. } = self;
                broker.fence(lane as i32, u64::MAX, random, broken);
            }
            Op::DiskFull => self.faults.disk_full = true,
            Op::DiskFails(after) => self.faults.disk_fails_in = Some(after),
            Op::LoseSegment(which) => self.faults.segment_goes = Some(which),
            Op::Crash(io) => self.faults.crash_in = Some(io),
        }
    }

    pub fn heal(&mut self, now: Timestamp) {
        self.faults = Faults::default();
        self.broker.away_until = Duration::ZERO;
        for store in 0..self.market.shops.len() {
            self.market.shops[store].hidden.clear();
            self.market.shops[store].is_refused = false;
            // An empty list proves nothing, and so would settle nothing.
            self.market.place(store as u64, now);
        }
    }

    /// Orders that were marked and did not come, although the marketplace did nothing to hide it.
    fn lost(&self) -> impl Iterator<Item = (&Shop, u64)> {
        self.market.marked().filter(|(shop, id)| {
            let key = shop.key(*id);
            !self.broker.has(&key) && !self.market.excused.contains(&key)
        })
    }

    /// Whether an order that is past the list has to be on the account.
    fn is_accountable(&self, shop: &Shop, id: u64, now: Timestamp) -> bool {
        !MarketState::is_out_of_reach(shop, id, now) && !self.unaccountable.contains(&shop.key(id))
    }

    /// Whether every order that was marked and did not come is known to be missing, durably, as long as anybody could do
    /// something about it. A clock that was set may
    /// make the program believe that it was in the list.
    pub fn check_nothing_is_silent(&mut self, clock: &ModelClock) {
        let now = clock.true_time();
        let counts = |shop: &Shop, id: &u64| {
            let is_known_to_be_past_the_list = clock.was_right() && self.is_accountable(shop, *id, now);
            is_known_to_be_past_the_list || shop.listed(now).any(|listed| listed == *id)
        };
        let pages: LazyCell<Vec<&[u8]>, _> =
            LazyCell::new(|| self.disks.iter().flat_map(|disk| disk.pages()).collect());
        let silent = self
            .lost()
            .filter(|(shop, id)| counts(shop, id))
            .filter(|(shop, _)| shop.polled_by.is_none_or(|process| !self.has_power(process)))
            .find(|(shop, id)| {
                !pages.iter().any(|page| holds_order(page, &shop.key(*id)))
                    && !self.disks.iter().any(|disk| disk.holds_a_trace(shop.name))
            });
        if let Some(key) = silent.map(|(shop, id)| shop.key(id)) {
            self.breaks(format!("order {key} was marked, is nowhere, and no trace says so"));
        }
    }

    /// An order has as many events at most as somebody asked for it: whatever is replayed, decided anew or reconciled.
    /// Updates are not counted: the broker looks at what they say. One that was listed and grew too old to be handed over
    /// is as good as missing.
    pub fn check_nothing_is_published_unasked(&mut self, clock: &ModelClock) {
        let too_old: BTreeSet<String> = self.market.too_old(clock.true_time()).collect();
        let asked = |key: &String| {
            let (marked, republished) =
                self.market.asked.get(key).map_or((0, 0), |asked| (asked.marked, asked.republished));
            (marked + u64::from(too_old.contains(key)), republished)
        };
        let unasked = self.broker.published.iter().find_map(|(key, published)| {
            let (marked, republished) = asked(key);
            let unasked = published.handed_over > marked || published.republished > republished;
            unasked.then(|| format!("order {key} has revision {}, and was not asked for as often", published.revision))
        });
        if let Some(unasked) = unasked {
            self.breaks(unasked);
        }
    }

    /// Once all faults are over and a pass was made. `accounted`: the stores that are known to have lost orders.
    pub fn check_all_has_come_right(&mut self, is_well: bool, accounted: &BTreeSet<String>, clock: &ModelClock) {
        self.check_nothing_is_published_unasked(clock);
        if !is_well {
            self.breaks("it does not come to rest".to_owned());
        }
        let now = clock.true_time();
        let lost = self.lost().find_map(|(shop, id)| {
            let key = shop.key(id);
            if shop.listed(now).any(|listed| listed == id) {
                Some(format!("order {key} is lost"))
            } else if clock.was_right() && self.is_accountable(shop, id, now) && !accounted.contains(shop.name) {
                Some(format!("order {key} is past the list, and not on the account"))
            } else {
                None
            }
        });
        if let Some(lost) = lost {
            self.breaks(lost);
        }
        // What an instance left, others may have published: the orders are looked for.
        let mut pages = self.disks.iter().filter(|_| self.disks.len() == 1).flat_map(|disk| &disk.pages);
        let unpublished = pages.find(|read| !self.broker.reads.contains(*read)).cloned();
        if let Some(read) = unpublished {
            self.breaks(format!("the page of read {read} was durable and is not published"));
        }
    }
}
