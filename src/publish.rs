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
mod load;
mod plan;
mod reading;
mod release;
mod retention;
mod status;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::account::{Account, AccountError};
use crate::clock;
use crate::committed::Committed;
use crate::counters::{Counters, LaneCounters, StoreCounters};
use crate::country::Country;
use crate::decoder::{DecodeError, Decoder};
use crate::encoding::{Encoder, EncoderSource, EncodingError};
use crate::event::EventError;
use crate::fail_point;
use crate::ids::{OrderId, OrderIds, ReadId, StoreName};
use crate::index::Index;
use crate::jobs::{Job, Jobs};
use crate::kafka::KafkaFault;
use crate::kafka::broker::{Broker, Producer, TrackingLog};
use crate::kafka::topics::TopicNames;
use crate::mapping::Mapping;
use crate::reconcile::{self, Diff};
use crate::shutdown::Stop;
use crate::spool::{Durable, Spool, SpoolError};
use crate::tracking_memory::{MemoryError, TrackingMemory};

use crate::config::ResyncPolicy;
pub use decide::Source;
pub use load::catch_up;
use plan::Plan;
pub use plan::Tally;
use reading::{Mapped, Stores};
use release::Releasing;
use retention::Retention;
pub use status::{Hindrance, LaneState, LaneStatus};

/// Pages that go into one transaction at most: enough to keep a broker busy, few enough to keep memory small.
const GROUP: usize = 24;
/// How often an idle lane looks whether its broker is still there, so that nothing is read while it is not.
const IDLE_LOOK: Duration = Duration::from_millis(250);
/// How long a broker may take for a step of becoming the owner, or for showing any progress while it is read.
pub const OPEN_DEADLINE: Duration = Duration::from_secs(20);
/// How long a stopping program still tries to reach a broker that is away: the spool holds the rest.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// Something to publish.
#[derive(Debug)]
pub enum Work {
    /// A page that is in the spool.
    Page(Durable),
    /// A page whose spool file failed: it exists in memory alone.
    Unspooled(Unspooled),
    /// Orders that the reconciler fetched.
    Fetched(FetchedOrders),
    /// Which of these are not tracked?
    Which(Question),
}

impl Work {
    fn store(&self) -> &StoreName {
        match self {
            Self::Page(page) => page.store(),
            Self::Unspooled(page) => &page.store,
            Self::Fetched(fetched) => &fetched.store,
            Self::Which(question) => &question.store,
        }
    }

    fn is_question(&self) -> bool {
        matches!(self, Self::Which(_))
    }
}

/// Asks which orders are missing. The lane alone can tell: it answers when all that was queued before is committed, and
/// never before its index was read to the end.
#[derive(Debug)]
pub struct Question {
    /// The store.
    pub store: StoreName,
    /// Orders that the marketplace lists.
    pub listed: OrderIds,
    /// Whether the tracked ones are wanted as well.
    pub with_tracked: bool,
    /// Passes that could not tell what they had published.
    pub passes: Vec<ReadId>,
    /// Told the answer.
    pub reply: oneshot::Sender<Diff>,
}

/// A page that the disk did not take.
#[derive(Debug)]
pub struct Unspooled {
    /// The store it was read from.
    pub store: StoreName,
    /// The read.
    pub read_id: ReadId,
    /// When it came.
    pub read_at: Timestamp,
    /// As it came.
    pub body: Bytes,
}

/// Orders fetched by ID, and whom to tell what became of them.
#[derive(Debug)]
pub struct FetchedOrders {
    /// The store they were fetched from.
    pub store: StoreName,
    /// Who asked for them.
    pub source: Source,
    /// The pass of the reconciler, or the operator's command.
    pub read_id: ReadId,
    /// When the first one came or, where they are asked for one by one, was asked for.
    pub read_at: Timestamp,
    /// Each order's answer, as it came.
    pub answers: Vec<(OrderId, Bytes)>,
    /// Orders that the marketplace lists and yet does not have.
    pub gone: Vec<OrderId>,
    /// Told after the commit.
    pub done: oneshot::Sender<Tally>,
}

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
    /// Who maps, releases and looks for old records beside the lane.
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
    pub encoder: EncoderSource,
    /// What this spool knows of the tracking topic.
    pub memory: Arc<TrackingMemory>,
    /// Shared counts.
    pub counters: Arc<Counters>,
    /// The wish to stop.
    pub stop: Stop,
    /// How long it tries to open before it gives up; without it, for ever.
    pub patience: Option<Duration>,
    /// How long it is remembered that an order was published; without it, for ever.
    pub retention: Option<Duration>,
}

/// Why a lane ended before its work did.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// Kafka, in a way that only a person can mend.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The schema registry, likewise.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
    /// A tracking record that can't be understood: what it says must not be guessed.
    #[error("the tracking topic can't be understood: {0}")]
    Decode(#[from] DecodeError),
    /// A page that can't be read back, or a file that can't be removed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What the spool knows of lost orders can't be noted.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A page of a store that is not in the settings any more.
    #[error(
        "the spool holds a page of the store `{0}`, which the settings no longer name: put its table `stores.{0}` back \
         until the page is published"
    )]
    UnknownStore(StoreName),
    /// An order that the schema can't hold: a fault of this program.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The tracking topic isn't the one that this spool remembers.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The stop was asked for while Kafka or the registry was away.
    #[error("stopped with {pages} pages not yet published: {why}. They are in the spool and go out at the next start")]
    StoppedWaiting {
        /// Pages that were taken from the queue.
        pages: usize,
        /// What it waited for.
        why: String,
    },
}

impl LaneError {
    fn hindrance(&self) -> Hindrance {
        Hindrance { registry: matches!(self, Self::Encoding(_) | Self::Decode(_)), why: self.to_string() }
    }

    fn is_passing(&self) -> bool {
        match self {
            Self::Kafka(fault) => !fault.needs_a_person(),
            Self::Encoding(error) => error.is_transient(),
            Self::Decode(error) => error.is_transient(),
            _ => false,
        }
    }
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
    let name = format!("lane-{}", parts.lane);
    let (handle, publisher) = build(parts, bound);
    let (end, ended) = oneshot::channel();
    let runtime = Handle::current();
    thread::Builder::new().name(name).spawn(move || {
        if end.send(runtime.block_on(publisher.run())).is_err() {
            tracing::debug!("nobody waits for the lane's end");
        }
    })?;
    Ok(Lane { handle, ended })
}

/// A lane without a thread of its own, and what runs it. Not for librdkafka, whose calls block.
pub fn unthreaded(parts: LaneParts, bound: usize) -> (LaneHandle, impl Future<Output = Result<(), LaneError>>) {
    let (handle, publisher) = build(parts, bound);
    (handle, publisher.run())
}

fn build(parts: LaneParts, bound: usize) -> (LaneHandle, Publisher) {
    let (work, inbox) = mpsc::channel(bound);
    let (status, watched) = status::channel();
    tokio::spawn(status.clone().watch_for_stalls());
    (LaneHandle { work, status: watched }, Publisher::new(parts, inbox, status))
}

/// Says that the lane is gone, also where a panic ends it: a drain would wait for it for ever.
struct EndsTheLane(LaneStatus);

impl Drop for EndsTheLane {
    fn drop(&mut self) {
        self.0.set(LaneState::Ended);
    }
}

/// What exists only while a producer is open.
struct Open {
    producer: Box<dyn Producer>,
    encoder: Encoder,
}

struct Publisher {
    parts: LaneParts,
    inbox: mpsc::Receiver<Work>,
    status: LaneStatus,
    counters: Arc<LaneCounters>,
    index: Index,
    reader: Box<dyn TrackingLog>,
    decoder: Decoder,
    pending: Vec<Mapped>,
    /// What queued up since, being mapped.
    ahead: Option<Ahead>,
    releasing: Releasing,
    retention: Option<Retention>,
    /// Settled once: a registry that goes away later is not missed.
    encoder: Option<Encoder>,
    trouble: Option<Trouble>,
}

/// Work that is mapped on another thread.
struct Ahead {
    pages: usize,
    mapped: Job<Result<Vec<Mapped>, LaneError>>,
}

/// Failures since the last commit.
struct Trouble {
    since: Instant,
    pause: Duration,
}

impl Publisher {
    fn new(parts: LaneParts, inbox: mpsc::Receiver<Work>, status: LaneStatus) -> Self {
        let reader = tracking_reader(&parts);
        let counters = parts.counters.lane(parts.lane);
        let decoder = parts.encoder.tracking_decoder();
        let releasing = Releasing::new(parts.jobs.clone(), parts.spool.clone());
        let retention = parts.retention.map(|keep| Retention::new(keep, parts.jobs.clone(), parts.stop.clone()));
        Self {
            parts,
            inbox,
            status,
            counters,
            index: Index::default(),
            reader,
            decoder,
            pending: Vec::new(),
            ahead: None,
            releasing,
            retention,
            encoder: None,
            trouble: None,
        }
    }

    async fn run(mut self) -> Result<(), LaneError> {
        let _ends = EndsTheLane(self.status.clone());
        let result = self.publish_to_the_end().await;
        let released = self.releasing.wait().await;
        result.and(released.map(drop).map_err(LaneError::from))
    }

    async fn publish_to_the_end(&mut self) -> Result<(), LaneError> {
        loop {
            let result = self.open_and_publish().await;
            if result.is_err() && self.status.is_busy() {
                self.counters.failed.add(1);
            }
            match result {
                Ok(End::NoMoreWork) => return Ok(()),
                Ok(End::Worn) => tracing::debug!(lane = self.parts.lane, "a connection broke: making a new producer"),
                Err(error) if error.is_passing() || self.outlived_its_transaction(&error) => {
                    if self.give_up_or_pause(error).await? {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn open_and_publish(&mut self) -> Result<End, LaneError> {
        let open = self.open().await?;
        if self.pending.is_empty() {
            self.trouble = None;
        }
        self.status.set(LaneState::Ready);
        self.publish_all(&open).await
    }

    /// A broker that ends a transaction for its age tells its owner the same as one that has a new owner. A process that
    /// slept, or waited for a broker, for that long may come back; one that was fenced in a young transaction has lost
    /// the lane to somebody who is alive, and taking it back would start a tug-of-war.
    fn outlived_its_transaction(&self, error: &LaneError) -> bool {
        let timeout = self.parts.broker.transaction_timeout();
        matches!(error, LaneError::Kafka(KafkaFault::Fenced { .. })) && self.status.busy_for() > timeout * 9 / 10
    }

    /// Waits a little longer each time, unless it is time to leave: then the error, or `true` if nothing is left behind.
    async fn give_up_or_pause(&mut self, error: LaneError) -> Result<bool, LaneError> {
        tracing::warn!(lane = self.parts.lane, %error, "not ready; orders stay on the marketplace or in the spool");
        self.status.set(LaneState::Opening { why: Some(error.hindrance()) });
        let trouble =
            self.trouble.get_or_insert_with(|| Trouble { since: Instant::now(), pause: Duration::from_millis(100) });
        let (since, pause) = (trouble.since, trouble.pause);
        trouble.pause = (pause * 2).min(Duration::from_secs(5));
        let stopping = self.parts.stop.is_requested();
        let pending = self.pending.iter().filter(|mapped| !mapped.work.is_question()).count();
        let waiting = pending + self.ahead.as_ref().map_or(0, |ahead| ahead.pages) + self.inbox.len();
        // A page that exists in memory alone is not given up for any stop but the second one.
        if self.parts.counters.total(|store| store.unspooled.get()) == 0 {
            if stopping && waiting == 0 {
                return Ok(true);
            }
            if stopping && since.elapsed() > LAST_PATIENCE {
                return Err(LaneError::StoppedWaiting { pages: waiting, why: error.to_string() });
            }
            if self.parts.patience.is_some_and(|patience| since.elapsed() > patience) {
                return Err(error);
            }
        }
        let mut stop = self.parts.stop.clone();
        if stopping {
            tokio::time::sleep(pause).await;
        } else {
            stop.within(pause).await;
        }
        Ok(false)
    }

    /// The order matters: the fence first, so that nobody writes behind the index's back; then the index; then the rest.
    async fn open(&mut self) -> Result<Open, LaneError> {
        fail_point::reach("opening");
        self.status.opening();
        let producer = self.parts.broker.open(self.parts.lane, OPEN_DEADLINE).await?;
        fail_point::reach("fenced");
        self.catch_up()?;
        fail_point::reach("loaded");
        let encoder = match self.encoder {
            Some(encoder) => encoder,
            None => *self.encoder.insert(self.parts.encoder.open().await?),
        };
        Ok(Open { producer, encoder })
    }

    fn catch_up(&mut self) -> Result<(), LaneError> {
        let Self { parts, index, reader, decoder, .. } = self;
        load::catch_up(index, &mut **reader, decoder, &parts.memory)?;
        self.counters.index_orders.set(self.index.len() as u64);
        Ok(())
    }

    async fn publish_all(&mut self, open: &Open) -> Result<End, LaneError> {
        loop {
            if open.producer.is_worn() {
                return Ok(End::Worn);
            }
            if self.pending.is_empty()
                && let Some(end) = self.wait_for_work(open).await?
            {
                return Ok(end);
            }
            self.map_ahead();
            self.publish(open).await?;
        }
    }

    /// Waits for the next work, or for the news that the producer can't be used for it.
    async fn wait_for_work(&mut self, open: &Open) -> Result<Option<End>, LaneError> {
        if let Some(ahead) = self.ahead.take() {
            self.pending = ahead.mapped.ended().await?;
            return Ok(None);
        }
        while !open.producer.is_deserted() {
            match tokio::time::timeout(IDLE_LOOK, self.inbox.recv()).await {
                Ok(Some(work)) => {
                    self.pending.push(Mapped::from_work(work, &self.parts.stores)?);
                    return Ok(None);
                }
                Ok(None) => return Ok(Some(End::NoMoreWork)),
                Err(_still_idle) if self.has_old_records().await => return Ok(None),
                Err(_still_idle) => {}
            }
        }
        Ok(Some(End::Worn))
    }

    async fn has_old_records(&mut self) -> bool {
        let Self { parts, retention, .. } = self;
        let Some(retention) = retention else { return false };
        retention.look(|| (tracking_reader(parts), parts.encoder.tracking_decoder())).await;
        retention.is_due()
    }

    /// Lets what has queued up be mapped while the lane publishes what it has.
    fn map_ahead(&mut self) {
        if self.ahead.is_some() {
            return;
        }
        let work: Vec<Work> = std::iter::from_fn(|| self.inbox.try_recv().ok()).take(GROUP).collect();
        if work.is_empty() {
            return;
        }
        let pages = work.iter().filter(|work| !work.is_question()).count();
        let stores = Arc::<Stores>::clone(&self.parts.stores);
        let map = move || work.into_iter().map(|work| Mapped::from_work(work, &stores)).collect();
        self.ahead = Some(Ahead { pages, mapped: Job::start(&*self.parts.jobs, map) });
    }

    /// One transaction with all that is pending.
    async fn publish(&mut self, open: &Open) -> Result<(), LaneError> {
        let plan = Plan::of(&self.pending, &self.index, &self.parts, &open.encoder)?;
        fail_point::reach("planned");
        self.status.busy();
        open.producer.begin().await?;
        fail_point::reach("begun");
        let delivered = open.producer.deliver(plan.events_and_dead_letters()).await?;
        fail_point::reach("delivered");
        let mut tracking = plan.tracking_records(&delivered);
        let forgotten = match &mut self.retention {
            Some(retention) => {
                // A lane that is never idle forgets as well.
                retention.look(|| (tracking_reader(&self.parts), self.parts.encoder.tracking_decoder())).await;
                retention.take(&self.index, |key| plan.tracks(key))
            }
            None => Vec::new(),
        };
        tracking.extend(forgotten.iter().map(|key| plan.tombstone(key)));
        open.producer.deliver(&tracking).await?;
        fail_point::reach("tracked");
        // The index knows an order's last read alone: the pages before must be gone before a later one can be committed,
        // or a kill would bring them back as reads of their own.
        let released = self.releasing.wait().await?;
        let committed = commit::commit(&*open.producer, released).await?;
        fail_point::reach("committed");
        self.status.idle();
        let outcome = plan.into_outcome();
        self.trouble = None;
        let tracked = !outcome.entries.is_empty();
        for (key, entry) in outcome.entries {
            self.index.apply(key.to_string().as_bytes(), Some(entry));
        }
        for key in &forgotten {
            self.index.apply(key, None);
        }
        self.counters.index_orders.set(self.index.len() as u64);
        self.counters.committed.add(1);
        if tracked {
            self.parts.memory.remember(self.parts.lane)?;
        }
        for page in outcome.first_seen {
            self.parts.account.arrived(&page.store, page.read_id, &page.created)?;
        }
        self.release(outcome.tallies, committed);
        Ok(())
    }

    /// Only now may the spool forget the pages, and the reconciler hear of its orders.
    fn release(&mut self, tallies: Vec<Tally>, committed: Committed) {
        let mut pages = Vec::with_capacity(tallies.len());
        let now = clock::now();
        self.parts.counters.last_commit.set(now);
        self.counters.last_commit.set(now);
        // Work that the plan left out stays for the next transaction.
        for (Mapped { work, .. }, tally) in self.pending.drain(..tallies.len()).zip(tallies) {
            if let Some(store) = self.parts.stores.get(work.store()) {
                store.counters.add(tally);
                if matches!(work, Work::Unspooled(_)) {
                    store.counters.unspooled.take_one();
                }
            }
            match work {
                Work::Page(page) => {
                    // A clock that was set back in between makes it negative.
                    let took = Duration::try_from(now.duration_since(page.read_at())).unwrap_or_default();
                    self.parts.counters.page_commit.record(took);
                    pages.push(page);
                }
                Work::Unspooled(page) => {
                    if let Err(error) = self.parts.spool.release_unwritten(page.read_id, &committed) {
                        tracing::warn!(read = %page.read_id, %error, "published, but its torn file stays in the spool");
                    }
                }
                Work::Fetched(fetched) => {
                    if fetched.done.send(tally).is_err() {
                        tracing::debug!("the reconciler no longer waits");
                    }
                }
                Work::Which(Question { store, listed, with_tracked, passes, reply }) => {
                    let earlier = self.index.brought_by(&passes);
                    let diff = reconcile::missing(&store, &listed, &self.index, with_tracked);
                    if reply.send(Diff { earlier, ..diff }).is_err() {
                        tracing::debug!("the reconciler no longer waits");
                    }
                }
            }
        }
        self.releasing.begin(pages, committed);
    }
}

enum End {
    NoMoreWork,
    Worn,
}

fn tracking_reader(parts: &LaneParts) -> Box<dyn TrackingLog> {
    parts.broker.tracking(parts.lane, OPEN_DEADLINE)
}
