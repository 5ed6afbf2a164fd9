//! One lane: the sole owner of a transactional producer and of the index of what it has published.
//!
//! A lane is a thread, since librdkafka's transaction calls block. It takes what has queued up, one page or many, decides
//! for each order by the index as it stands at that moment, and puts events, dead letters and tracking records into one
//! transaction. A spool file is released only with the proof of a commit.
//!
//! While it waits for the broker two things go on beside it: what has queued up is mapped, which needs no index, and the
//! pages of the last transaction are let go. All that depends on order stays with the lane.
//!
//! After any failed transaction its outcome is open. The lane then makes a new producer, which settles it, reads the
//! tracking partition on from where the index stood, and decides anew about the same pages: what was committed after all
//! is then known to the index as published by this same read, and skipped.

mod commit;
pub mod decide;
mod error;
mod load;
mod plan;
mod publisher;
mod reading;
mod release;
mod retention;
mod status;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use tokio::sync::{mpsc, oneshot, watch};

use crate::avro::schemas::SchemaResolver;
use crate::config::ResyncPolicy;
use crate::kafka::broker::Broker;
use crate::kafka::topics::TopicNames;
use crate::order::country::Country;
use crate::order::ids::StoreName;
use crate::order::mapping::Mapping;
use crate::pipeline::account::Account;
use crate::pipeline::counters::{Counters, StoreCounters};
use crate::pipeline::tracking_memory::TrackingMemory;
use crate::platform::jobs::{self, Jobs, RuntimeOf};
use crate::spool::Spool;

pub use decide::Source;
pub use error::LaneError;
pub use load::catch_up;
use publisher::Publisher;
pub use status::{LaneState, LaneStatus, NotReadyReason};
pub use work::{FetchedOrders, MissingQuery, Unspooled, Work};

/// How long a broker may take for a step of becoming the owner, or for showing any progress while it is read.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(20);

/// What a lane must know of a store.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// Currency and time zone.
    pub country: Country,
    /// Where the fields stand.
    pub mapping: Arc<Mapping>,
    /// What is counted for it.
    pub counters: Arc<StoreCounters>,
}

/// What a lane is made of.
pub struct LaneParts {
    /// Its number: the partition of the tracking topic.
    pub lane: i32,
    /// The cluster.
    pub broker: Arc<dyn Broker>,
    /// Who gives it a thread; and who maps, releases and looks for old records beside it.
    pub jobs: Arc<dyn Jobs>,
    /// The topics.
    pub topics: TopicNames,
    /// Its stores.
    pub stores: Arc<HashMap<StoreName, StoreFacts>>,
    /// Where pages wait.
    pub spool: Spool,
    /// What reads of unknown outcome may have lost: a page may bring it back.
    pub account: Account,
    /// What to do with an order that is drained again.
    pub resync: ResyncPolicy,
    /// Where schemas get their IDs.
    pub schemas: SchemaResolver,
    /// What this spool knows of the tracking topic.
    pub memory: Arc<TrackingMemory>,
    /// Shared counts.
    pub counters: Arc<Counters>,
    /// The wish to stop.
    pub stop: CancellationToken,
    /// How long it tries to open before it gives up; without it, for ever.
    pub patience: Option<Duration>,
    /// How long it is remembered that an order was published; without it, for ever.
    pub retention: Option<Duration>,
    /// Pages that an earlier process left: the first ones that it will be sent.
    pub left: usize,
}

/// The other side of a lane.
#[derive(Debug, Clone)]
pub struct LaneHandle {
    /// Where work goes; its bound is the bound of the spool.
    pub work: mpsc::Sender<Work>,
    /// Whether the lane is ready for more.
    pub status: watch::Receiver<LaneState>,
}

/// A started lane.
pub struct Lane {
    /// Hand work to it.
    pub handle: LaneHandle,
    /// Tells how it ended: well, once every handle is gone and all work is committed.
    pub ended: oneshot::Receiver<Result<(), LaneError>>,
}

/// Starts the lane's thread. `bound`: pages that may wait for it.
///
/// # Errors
/// If the operating system has no thread left.
pub fn spawn(parts: LaneParts, bound: usize) -> std::io::Result<Lane> {
    let (name, jobs) = (format!("lane-{}", parts.lane), parts.jobs.clone());
    let (work, inbox) = mpsc::channel(bound);
    let (status, watched) = status::channel();
    tokio::spawn(status.clone().watch_for_stalls());
    let publisher = Publisher::new(parts, inbox, status);
    let ended = jobs::dedicate(&*jobs, name, RuntimeOf::Starter, move || publisher.run())?;
    Ok(Lane { handle: LaneHandle { work, status: watched }, ended })
}
