//! What can happen, by name.

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
    /// Nothing is handed over, and orders are said to be pending.
    EmptyPage,
    /// The page comes a minute later.
    Late,
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

/// An operation of the world around the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Wait(u64),
    Place(u64),
    Unsynchronise(u64),
    Read(ReadFault),
    HideFromList(u64),
    ListFails,
    OrderFails,
    OrderNotFound,
    Commit(CommitFault),
    DeliveryFails,
    BrokerAway(u64),
    SecondInstance,
    DiskFull,
    DiskFails(u64),
    /// The machine loses its power at its n-th input or output from now.
    Crash(u64),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(ms) => write!(f, "wait {ms} ms"),
            Self::Place(orders) => write!(f, "place {orders} orders"),
            Self::Unsynchronise(order) => write!(f, "un-synchronise order {order}"),
            Self::Read(fault) => write!(f, "the next destructive read: {fault:?}"),
            Self::HideFromList(order) => write!(f, "the list misses order {order} for a while"),
            Self::ListFails => write!(f, "the next list fails"),
            Self::OrderFails => write!(f, "the next order by ID fails"),
            Self::OrderNotFound => write!(f, "the next order by ID is not found"),
            Self::Commit(fault) => write!(f, "the next commit: {fault:?}"),
            Self::DeliveryFails => write!(f, "the next delivery fails"),
            Self::BrokerAway(ms) => write!(f, "the broker is away for {ms} ms"),
            Self::SecondInstance => write!(f, "a second instance takes the lane, and goes"),
            Self::DiskFull => write!(f, "the disk is full for the next new file"),
            Self::DiskFails(after) => write!(f, "the disk fails a write or a sync, the {after}th from now"),
            Self::Crash(io) => write!(f, "the power goes at the {io}th input or output from now"),
        }
    }
}

/// A life of some operations.
pub fn scenario(random: &mut Random) -> Vec<Op> {
    let length = 6 + random.below(40);
    (0..length).map(|_| op(random)).collect()
}

fn op(random: &mut Random) -> Op {
    use {CommitFault as C, ReadFault as R};
    const READS: [R; 7] = [R::NotSent, R::Busy, R::CutBefore, R::CutAfter, R::WrongCount, R::EmptyPage, R::Late];
    const COMMITS: [C; 5] = [C::AnswerLost, C::RequestUnderWay, C::RequestLost, C::TooOld, C::Late];
    let pick = |random: &mut Random, most: u64| 1 + random.below(most);
    match random.below(32) {
        0..8 => Op::Wait([10, 100, 1_000, 5_000, 40_000][random.below(5) as usize]),
        8..14 => Op::Place([1, 3, 7, 20][random.below(4) as usize]),
        14..17 => Op::Unsynchronise(random.next() % 1_000),
        17..19 => Op::Read(READS[random.below(7) as usize]),
        19 => Op::HideFromList(random.next() % 1_000),
        20 => Op::ListFails,
        21 => Op::OrderFails,
        22 => Op::OrderNotFound,
        23..26 => Op::Commit(COMMITS[random.below(5) as usize]),
        26 => Op::DeliveryFails,
        27 => Op::BrokerAway([300, 3_000, 30_000][random.below(3) as usize]),
        28 => Op::SecondInstance,
        29 if random.one_in(2) => Op::DiskFull,
        29 => Op::DiskFails(pick(random, 12)),
        _ => Op::Crash(pick(random, 60)),
    }
}
