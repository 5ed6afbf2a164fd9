//! One lane: the sole owner of a transactional producer and of the index of what it has published.
//!
//! A lane is a thread, because librdkafka's transaction calls block. It takes the queued work, one page or many, and
//! decides each order by the index as it is at that moment. It puts events, dead letters and tracking records into one
//! transaction. A spool file is released only with the proof of a commit.
//!
//! While the lane waits for the broker, two things run in parallel: mapping the queued work, which needs no index, and
//! releasing the pages of the last transaction. Everything that depends on order stays in the lane.
//!
//! After any failed transaction its outcome is open. The lane then opens a new producer, which settles the outcome, and
//! reads the tracking partition on from where the index stood. It decides the same pages again: whatever was committed
//! after all is now in the index as published by this same read, and is skipped.

mod commit;
pub mod decide;
mod delivery;
mod error;
mod load;
mod pace;
mod parking;
mod plan;
mod publisher;
mod reading;
mod release;
mod retention;
mod status;
mod stores;
mod superseded;
mod traces;
mod work;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::avro::schemas::SchemaResolver;
use crate::config::ResyncPolicy;
use crate::kafka::broker::{Broker, Group};
use crate::kafka::topics::TopicNames;
use crate::order::ids::StoreName;
use crate::pipeline::account::Account;
use crate::pipeline::counters::Counters;
use crate::pipeline::tracking_memory::TrackingMemory;
use crate::platform::jobs::{self, Jobs, RuntimeOf};
use crate::platform::otlp::Spans;
use crate::spool::Spool;

pub use decide::Source;
pub use error::LaneError;
pub use load::{SeenRecord, catch_up, load};
use parking::ParkedStores;
use publisher::Publisher;
pub use status::{LaneState, LaneStatus, NotReadyReason};
pub use stores::{StoreFacts, Stores};
pub use work::{FetchedOrders, MissingQuery, Unspooled, Work};

/// How long a broker may take for each step of opening a lane, or without any progress while a partition is read.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(20);

/// The parts of one lane.
pub struct LaneParts {
    /// The lane's number: the partition of the tracking topic.
    pub lane: i32,
    pub broker: Arc<dyn Broker>,
    /// Runs the lane's thread, and background jobs: mapping, release, and the scan for old records.
    pub jobs: Arc<dyn Jobs>,
    pub topics: TopicNames,
    pub stores: Stores,
    pub spool: Spool,
    /// Account of lost orders: a page may bring some of them back.
    pub account: Account,
    /// What to do with an order that is drained again.
    pub resync: ResyncPolicy,
    /// Resolves the schemas' IDs.
    pub schemas: SchemaResolver,
    /// What this spool remembers of the tracking topic.
    pub memory: Arc<TrackingMemory>,
    pub counters: Arc<Counters>,
    pub stop: CancellationToken,
    /// How long the lane tries to open before it gives up; `None` for ever.
    pub patience: Option<Duration>,
    /// How long tracking records are kept; `None` for ever.
    pub retention: Option<Duration>,
    /// Turns of the lanes at looking for old tracking records.
    pub scans: Arc<Semaphore>,
    /// Number of pages that an earlier process left; the lane receives them first.
    pub left: usize,
    pub ownership: Ownership,
    /// Where the traces of what is committed go.
    pub spans: Spans,
}

/// By what right a lane publishes.
#[derive(Clone)]
pub enum Ownership {
    /// No other process serves it.
    Sole,
    /// The group has assigned it to this instance.
    Member {
        group: Arc<dyn Group>,
        /// Cancelled when the group has given up this instance.
        lost: CancellationToken,
    },
    /// It is another instance's. This one publishes what is left of it in its own spool, and gives it back.
    Borrowed,
}

/// The other tasks' handle of a lane.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    /// The lane's queue; its capacity is the setting `spool.max_pages`.
    pub work: mpsc::Sender<Work>,
    /// Whether the lane is ready for more work.
    pub status: watch::Receiver<LaneState>,
    changed: Arc<Notify>,
    parked: ParkedStores,
}

impl LaneHandle {
    /// Waits until the lane is ready; `false` if it has ended.
    pub async fn is_ready(&self) -> bool {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            match *self.status.borrow() {
                LaneState::Ready => return true,
                LaneState::Ended => return false,
                LaneState::Opening { .. } | LaneState::Stalled => {}
            }
            changed.await;
        }
    }

    /// Whether records of the store were refused, and wait to be tried again: no further page of it is read.
    #[must_use]
    pub fn is_parked(&self, store: &StoreName) -> bool {
        self.parked.has(store)
    }

    /// Waits until the store may no longer be parked.
    pub async fn unparked(&self, store: &StoreName) {
        self.parked.without(store).await;
    }
}

/// A started lane.
pub struct Lane {
    pub handle: LaneHandle,
    /// The lane's result: `Ok` once every handle is dropped and all work is committed.
    pub ended: oneshot::Receiver<Result<(), LaneError>>,
}

/// Starts the lane's thread. `bound`: capacity of its queue, in pages.
///
/// # Errors
/// If the operating system can't start a thread.
pub fn spawn(parts: LaneParts, bound: usize) -> std::io::Result<Lane> {
    let (name, jobs) = (format!("lane-{}", parts.lane), parts.jobs.clone());
    let (work, inbox) = mpsc::channel(bound);
    let (status, watched, changed) = status::channel();
    tokio::spawn(status.clone().watch_for_stalls());
    let parked = ParkedStores::default();
    let publisher = Publisher::new(parts, inbox, status, parked.clone());
    let ended = jobs::dedicate(&*jobs, name, RuntimeOf::Starter, move || publisher.run())?;
    Ok(Lane { handle: LaneHandle { work, status: watched, changed, parked }, ended })
}
