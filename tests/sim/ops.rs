//! The operations of a simulation, by name.

use std::fmt;

use crate::random::Random;

/// How a destructive read goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFault {
    /// No connection: nothing was sent.
    NotSent,
    /// 429.
    Busy,
    /// Cut before the marketplace marked anything.
    CutBefore,
    /// Cut after it had marked a page.
    CutAfter,
    /// The page is whole, and its count is wrong.
    WrongCount,
    /// Something else comes in the place of a page that was marked.
    NoPage,
    /// Nothing is handed over, and orders are said to be pending.
    EmptyPage,
    /// The page comes a minute later.
    Late,
    /// The page comes behind a notice of PHP.
    Notice,
    /// 204, if nothing is pending.
    NoContent,
}

/// How a commit goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Committed; the answer is lost.
    AnswerLost,
    /// The request is on its way when the connection breaks: the next owner finds it committed, or not.
    RequestUnderWay,
    /// The request is lost.
    RequestLost,
    /// Aborted for its age.
    TooOld,
    /// The answer takes a while, and the producer is worn.
    Late,
}

/// What an operator runs instead of the service, which he stops first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Drain,
    Reconcile,
    Republish(u64),
}

/// An operation of the world around the program. Where one names an order or a store, it is taken modulo their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Wait(u64),
    Place(u64, u64),
    Unsynchronise(u64),
    Change(u64),
    Command(Command),
    /// The machine sleeps for so many days: its timers stand still, the marketplace goes on.
    Sleep(i64),
    /// The machine's clock is set forward by so many minutes, or back.
    SetClock(i64),
    /// A store's token is void, or the newer one arrives in its file.
    RotateToken(u64),
    Read(ReadFault),
    HideFromList(u64),
    ListFails,
    OrderFails,
    OrderNotFound,
    Commit(CommitFault),
    DeliveryFails,
    BrokerAway(u64),
    SecondInstance(u64),
    DiskFull,
    DiskFails(u64),
    /// An instance is told to stop, and started again.
    Stop(u64),
    /// The group hands the lanes out anew.
    Rebalance,
    /// The group gives an instance up, which learns of it after so many milliseconds.
    GiveUp(u64, u64),
    /// Kafka takes no record of this store from now on, or takes them again.
    RefuseRecords(u64),
    /// The settings lose a store, or have it again.
    TakeOrBringStore(u64),
    /// When the program ends next, however it does, a segment of its log is gone: the first, the last, or one between.
    LoseSegment(u64),
    /// The machine loses its power at its n-th input or output from now.
    Crash(u64),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(ms) => write!(f, "wait {ms} ms"),
            Self::Place(orders, store) => write!(f, "place {orders} orders in store {store}"),
            Self::Unsynchronise(order) => write!(f, "un-synchronise order {order}"),
            Self::Change(order) => write!(f, "order {order} changes"),
            Self::Command(command) => write!(f, "stop it and run {command:?}"),
            Self::Sleep(days) => write!(f, "the machine sleeps for {days} days"),
            Self::SetClock(minutes) => write!(f, "the machine's clock is set by {minutes} minutes"),
            Self::RotateToken(store) => write!(f, "the token of store {store} is void, or the new one arrives"),
            Self::Read(fault) => write!(f, "the next destructive read: {fault:?}"),
            Self::HideFromList(order) => write!(f, "the list misses order {order} for a while"),
            Self::ListFails => write!(f, "the next list fails"),
            Self::OrderFails => write!(f, "the next order by ID fails"),
            Self::OrderNotFound => write!(f, "the next order by ID is not found"),
            Self::Commit(fault) => write!(f, "the next commit: {fault:?}"),
            Self::DeliveryFails => write!(f, "the next delivery fails"),
            Self::BrokerAway(ms) => write!(f, "the broker is away for {ms} ms"),
            Self::SecondInstance(lane) => write!(f, "a second instance takes lane {lane}, and goes"),
            Self::DiskFull => write!(f, "the disk is full for the next new file"),
            Self::DiskFails(after) => write!(f, "the disk fails a write or a sync, the {after}th from now"),
            Self::Stop(instance) => write!(f, "instance {instance} is told to stop"),
            Self::Rebalance => write!(f, "the group hands the lanes out anew"),
            Self::GiveUp(instance, ms) => {
                write!(f, "the group gives instance {instance} up, which learns of it after {ms} ms")
            }
            Self::RefuseRecords(store) => write!(f, "records of store {store} are refused, or taken again"),
            Self::TakeOrBringStore(store) => write!(f, "the settings lose store {store}, or have it again"),
            Self::LoseSegment(which) => {
                let which = ["first", "middle", "last"][*which as usize % 3];
                write!(f, "the {which} segment of the log is gone when the program ends next")
            }
            Self::Crash(io) => write!(f, "the power goes at the {io}th input or output from now"),
        }
    }
}

/// A life of some operations.
pub fn scenario(random: &mut Random) -> Vec<Op> {
    let length = 6 + random.below(40);
    (0..length).map(|_| op(random)).collect()
}

/// A life of several instances that share the lanes.
pub fn shared_scenario(random: &mut Random) -> Vec<Op> {
    let length = 10 + random.below(50);
    (0..length).map(|_| shared_op(random)).collect()
}

fn shared_op(random: &mut Random) -> Op {
    match random.below(10) {
        0..2 => Op::Rebalance,
        2 => Op::GiveUp(random.below(3), [10, 1_000, 20_000][random.below(3) as usize]),
        3 => Op::Stop(random.below(3)),
        4..6 => Op::Wait([100, 1_000, 5_000, 15_000][random.below(4) as usize]),
        _ => match op(random) {
            // Commands belong to one spool; days of sleep to the list, which other seeds look at.
            Op::Command(_) | Op::Sleep(_) => Op::Rebalance,
            op => op,
        },
    }
}

/// A life of many stores.
pub fn crowded_scenario(random: &mut Random) -> Vec<Op> {
    let length = 10 + random.below(50);
    (0..length).map(|_| crowded_op(random)).collect()
}

fn crowded_op(random: &mut Random) -> Op {
    match random.below(12) {
        0 => Op::RefuseRecords(random.below(8)),
        1 => Op::TakeOrBringStore(random.below(8)),
        2..5 => Op::Place([1, 3, 7, 20, 60][random.below(5) as usize], random.below(8)),
        5 => Op::RotateToken(random.below(8)),
        _ => match op(random) {
            // It is for one store, which the settings may not have.
            Op::Command(Command::Republish(_)) => Op::Command(Command::Reconcile),
            op => op,
        },
    }
}

/// A life of a log of which segments are lost.
pub fn losing_scenario(random: &mut Random) -> Vec<Op> {
    let length = 4 + random.below(10);
    (0..length).flat_map(|_| if random.one_in(2) { vec![op(random)] } else { loss(random) }).collect()
}

/// Something keeps a segment for a while, others follow, and one of them is lost.
fn loss(random: &mut Random) -> Vec<Op> {
    let store = random.below(2);
    let keeps = [Op::Read(ReadFault::CutAfter), Op::BrokerAway(30_000), Op::RefuseRecords(store)];
    let ends = [Op::Stop(0), Op::Crash(1 + random.below(60))];
    let mut ops = vec![keeps[random.below(3) as usize]];
    for _ in 0..1 + random.below(3) {
        ops.extend([Op::Place([20, 60, 100][random.below(3) as usize], random.below(2)), Op::Wait(1_000)]);
    }
    ops.extend([Op::LoseSegment(random.below(3)), ends[random.below(2) as usize], Op::Wait(1_000)]);
    ops
}

fn op(random: &mut Random) -> Op {
    use {CommitFault as C, ReadFault as R};
    const READS: [R; 10] = [
        R::NotSent,
        R::Busy,
        R::CutBefore,
        R::CutAfter,
        R::WrongCount,
        R::NoPage,
        R::EmptyPage,
        R::Late,
        R::Notice,
        R::NoContent,
    ];
    const COMMITS: [C; 5] = [C::AnswerLost, C::RequestUnderWay, C::RequestLost, C::TooOld, C::Late];
    let pick = |random: &mut Random, most: u64| 1 + random.below(most);
    match random.below(40) {
        0..8 => Op::Wait([10, 100, 1_000, 5_000, 40_000][random.below(5) as usize]),
        8..14 => Op::Place([1, 3, 7, 20][random.below(4) as usize], random.below(2)),
        14..17 => Op::Unsynchronise(random.next() % 1_000),
        17..19 => Op::Change(random.next() % 1_000),
        19..21 => Op::Read(READS[random.below(10) as usize]),
        21 => Op::HideFromList(random.next() % 1_000),
        22 => Op::ListFails,
        23 => Op::OrderFails,
        24 => Op::OrderNotFound,
        25..28 => Op::Commit(COMMITS[random.below(5) as usize]),
        28 => Op::DeliveryFails,
        29 => Op::BrokerAway([300, 3_000, 30_000][random.below(3) as usize]),
        30 => Op::SecondInstance(random.below(2)),
        31 if random.one_in(2) => Op::DiskFull,
        31 => Op::DiskFails(pick(random, 12)),
        32..34 => Op::Command(command(random)),
        34 => Op::RotateToken(random.below(2)),
        35 => clock(random),
        _ => Op::Crash(pick(random, 60)),
    }
}

fn command(random: &mut Random) -> Command {
    match random.below(3) {
        0 => Command::Drain,
        1 => Command::Reconcile,
        _ => Command::Republish(random.next() % 1_000),
    }
}

fn clock(random: &mut Random) -> Op {
    const DAY: i64 = 24 * 60;
    match random.below(3) {
        0 => Op::Sleep([1, 5, 9, 33][random.below(4) as usize]),
        1 => Op::SetClock([2, 90, 9 * DAY, 40 * DAY][random.below(4) as usize]),
        _ => Op::SetClock(-[2, 90, 9 * DAY, 40 * DAY][random.below(4) as usize]),
    }
}
