//! The lane's thread: opens a producer, publishes the queued work, and starts over after a failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::delivery::{Refused, deliver};
use super::load::{self, SeenRecord};
use super::pace::Pace;
use super::parking::{ParkedStores, Parking};
use super::plan::Plan;
use super::reading::Mapped;
use super::release::Releasing;
use super::retention::Retention;
use super::status::{LaneState, LaneStatus};
use super::superseded::Superseded;
use super::traces::CommittedTransaction;
use super::{LaneError, LaneParts, MissingQuery, OPEN_DEADLINE, Ownership, Work, commit};
use crate::avro::decoder::Decoder;
use crate::avro::schemas::Frames;
use crate::kafka::KafkaFault;
use crate::kafka::broker::{Producer, TrackingLog};
use crate::pipeline::counters::{LaneCounters, Tally};
use crate::pipeline::index::{Diff, Index, IndexUpdate, diff};
use crate::pipeline::tracking_memory::lane_of;
use crate::platform::backoff::Backoff;
use crate::platform::jobs::Job;
use crate::platform::shutdown::cancelled_within;
use crate::platform::{clock, fail_point};
use crate::spool::committed::Committed;

/// Maximum pages per transaction: enough to keep a broker busy, few enough to keep memory small.
const MAX_PAGES: usize = 24;
/// How often an idle lane checks its broker, so that nothing is read while the broker is down.
const IDLE_CHECK: Duration = Duration::from_millis(250);
/// How long a stopping program still tries to reach a broker that is down; unpublished pages stay in the spool.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts of a lane to open; with jitter up to twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(2500);
/// Before a lane is taken back from an instance that borrowed it.
const TAKE_BACK_PAUSE: Duration = Duration::from_secs(2);

/// Reports the end of the lane, even by a panic: otherwise a drain would wait for it for ever.
struct MarkEndedOnDrop(LaneStatus);

impl Drop for MarkEndedOnDrop {
    fn drop(&mut self) {
        self.0.set(LaneState::Ended);
    }
}

struct OpenProducer {
    producer: Box<dyn Producer>,
}

pub(super) struct Publisher {
    parts: LaneParts,
    inbox: mpsc::Receiver<Work>,
    status: LaneStatus,
    counters: Arc<LaneCounters>,
    index: Index,
    reader: Box<dyn TrackingLog>,
    decoder: Decoder,
    pending: Vec<Mapped>,
    pace: Pace,
    /// Work that queued up meanwhile and is being mapped.
    mapping: Option<MappingJob>,
    releasing: Releasing,
    retention: Option<Retention>,
    failures: Option<FailureStreak>,
    parking: Parking,
    superseded: Superseded,
    /// Pages of an earlier time that have to be published before the lane's first read.
    left: usize,
    is_taken_over: bool,
}

/// Work that another thread is mapping.
struct MappingJob {
    pages: usize,
    mapped: Job<Result<Vec<Mapped>, LaneError>>,
}

/// Consecutive failures since the last commit.
struct FailureStreak {
    since: Instant,
    pauses: Backoff,
}

impl Publisher {
    pub(super) fn new(parts: LaneParts, inbox: mpsc::Receiver<Work>, status: LaneStatus, parked: ParkedStores) -> Self {
        let reader = tracking_reader(&parts);
        let counters = parts.counters.lane(parts.lane);
        let decoder = parts.schemas.tracking_decoder();
        let releasing = Releasing::new(parts.spool.clone());
        let retention = parts.retention.map(|keep| {
            let (jobs, scans) = (parts.jobs.clone(), parts.scans.clone());
            Retention::new(parts.lane, keep, jobs, scans, parts.stop.clone(), parts.left, parts.stores.clone())
        });
        let superseded = Superseded::new(parts.memory.taken_over_at(parts.lane), parts.spool.read_ids());
        let left = if matches!(parts.ownership, Ownership::Member { .. }) { parts.left } else { 0 };
        Self {
            parts,
            inbox,
            status,
            counters,
            index: Index::default(),
            reader,
            decoder,
            pending: Vec::new(),
            pace: Pace::new(),
            mapping: None,
            releasing,
            retention,
            failures: None,
            parking: Parking::new(parked),
            superseded,
            left,
            is_taken_over: false,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), LaneError> {
        let _ends = MarkEndedOnDrop(self.status.clone());
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
                Ok(End::ReplaceProducer) => {
                    tracing::debug!(lane = self.parts.lane, "a connection broke: making a new producer")
                }
                Err(error)
                    if error.is_passing() || self.outlived_its_transaction(&error) || self.may_take_back(&error) =>
                {
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
            self.failures = None;
        }
        self.set_ready()?;
        self.publish_all(&open).await
    }

    /// Whether a transaction timed out rather than being fenced by a new owner.
    ///
    /// A broker reports both in the same way. A process that slept, or waited for a broker, for that long may come
    /// back. A process that was fenced in a young transaction has lost the lane to a live owner, and taking it back
    /// would start a tug-of-war.
    fn outlived_its_transaction(&self, error: &LaneError) -> bool {
        let timeout = self.parts.broker.transaction_timeout();
        is_fenced(error) && self.status.busy_for() > timeout * 9 / 10
    }

    /// Whether the lane may have been taken for a moment only, by an instance that had pages of it left. The next opening
    /// asks the group whose it is.
    fn may_take_back(&self, error: &LaneError) -> bool {
        is_fenced(error) && (matches!(self.parts.ownership, Ownership::Member { .. }) || self.has_unspooled())
    }

    /// Asks the group whose the lane is. A page that exists in memory only is published whoever owns the lane.
    fn confirm(&mut self) -> Result<(), LaneError> {
        let (Ownership::Member { group, lost }, lane) = (&self.parts.ownership, self.parts.lane) else { return Ok(()) };
        let is_owner = if lost.is_cancelled() { Ok(false) } else { group.owns(lane) };
        let is_confirmed = matches!(is_owner, Ok(true));
        self.superseded.set_lost(!is_confirmed);
        // guard: the group is asked before a lane is taken
        if is_confirmed || self.has_unspooled() {
            return Ok(());
        }
        Err(is_owner.err().map_or(LaneError::NotOwner(lane), LaneError::from))
    }

    fn is_lost(&self) -> bool {
        matches!(&self.parts.ownership, Ownership::Member { lost, .. } if lost.is_cancelled()) && !self.has_unspooled()
    }

    /// Lets the drains read, once no page of an earlier time is left.
    fn set_ready(&mut self) -> Result<(), LaneError> {
        // guard: what is left of an earlier time is published before the first read
        if self.left > 0 {
            return Ok(());
        }
        if !self.is_taken_over {
            self.take_over()?;
            self.is_taken_over = true;
        }
        self.status.idle();
        Ok(())
    }

    fn take_over(&mut self) -> Result<(), LaneError> {
        let LaneParts { lane, memory, ownership, left, account, .. } = &self.parts;
        let is_shared = match ownership {
            Ownership::Member { .. } => true,
            Ownership::Sole => *left == 0 && memory.taken_over_at(*lane).is_some(),
            Ownership::Borrowed => false,
        };
        if is_shared {
            // guard: a lane that another instance had in between is counted anew
            if self.superseded.has_others() {
                account.leave(|store| lane_of(store, memory.lanes()) == *lane)?;
            }
            // guard: where a lane was taken over is known before its first read
            memory.take_over(*lane, self.reader.position())?;
            self.superseded.take_over(self.reader.position());
        }
        Ok(())
    }

    /// Waits a little longer after each failure. Gives up with the error when it is time to leave; returns `true` if
    /// nothing is left to publish.
    async fn give_up_or_pause(&mut self, error: LaneError) -> Result<bool, LaneError> {
        tracing::warn!(lane = self.parts.lane, %error, "not ready; orders stay on the marketplace or in the spool");
        self.status.set(LaneState::Opening { why: Some(error.not_ready_reason()) });
        let failures = self.failures.get_or_insert_with(|| FailureStreak {
            since: Instant::now(),
            pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        });
        let (since, mut pause) = (failures.since, failures.pauses.pause());
        if is_fenced(&error) {
            // Whoever borrowed the lane gets the time to publish.
            pause += TAKE_BACK_PAUSE;
        }
        let stopping = self.parts.stop.is_cancelled();
        let pending = self.pending.iter().filter(|mapped| !mapped.work.is_query()).count();
        let waiting = pending + self.mapping.as_ref().map_or(0, |mapping| mapping.pages) + self.inbox.len();
        // A page that exists in memory only is not given up at the first stop; only the second stop ends the program.
        if !self.has_unspooled() {
            if stopping && waiting == 0 {
                return Ok(true);
            }
            if stopping && since.elapsed() > STOP_TIMEOUT {
                return Err(LaneError::StoppedWaiting { pages: waiting, why: error.to_string() });
            }
            let is_over = |patience| error.ends_a_command() || since.elapsed() > patience;
            if self.parts.patience.is_some_and(is_over) {
                return Err(error);
            }
        }
        if stopping {
            tokio::time::sleep(pause).await;
        } else {
            cancelled_within(&self.parts.stop, pause).await;
        }
        Ok(false)
    }

    fn has_unspooled(&self) -> bool {
        self.parts.counters.total(|store| store.unspooled.get()) > 0
    }

    /// Opens the lane. The order matters: fence first, so that nobody writes behind the index's back; then load the
    /// index; then the rest.
    async fn open(&mut self) -> Result<OpenProducer, LaneError> {
        fail_point::reach("opening");
        self.status.opening();
        self.confirm()?;
        if matches!(self.parts.ownership, Ownership::Borrowed) {
            // Its owner is fenced for as short as possible.
            self.catch_up()?;
        }
        // guard: the fence before the load
        let producer = self.parts.broker.open(self.parts.lane, OPEN_DEADLINE).await?;
        fail_point::reach("fenced");
        // guard: read on after a failed transaction
        self.catch_up()?;
        self.check_not_void()?;
        fail_point::reach("loaded");
        self.frames().await?;
        Ok(OpenProducer { producer })
    }

    /// Checks an empty partition that other instances may have published through.
    fn check_not_void(&self) -> Result<(), LaneError> {
        if self.reader.position() > 0 || matches!(self.parts.ownership, Ownership::Sole) {
            return Ok(());
        }
        let is_void = self.parts.broker.tracking_is_void(OPEN_DEADLINE)?;
        Ok(self.parts.memory.check_not_void(is_void)?)
    }

    /// Returns the current frames. The decoder collects all frames that this lane has ever used for tracking records.
    async fn frames(&mut self) -> Result<Frames, LaneError> {
        let frames = self.parts.schemas.open().await?;
        self.decoder.know(frames.tracking);
        Ok(frames)
    }

    fn catch_up(&mut self) -> Result<(), LaneError> {
        let Self { parts, index, reader, decoder, superseded, .. } = self;
        let mut seen = |record: SeenRecord<'_>| {
            superseded.see(record.offset, record.order, record.entry.map(|entry| entry.read_id));
        };
        load::catch_up(index, &mut **reader, decoder, &parts.memory, &mut seen)?;
        self.counters.index_orders.set(self.index.len() as u64);
        Ok(())
    }

    async fn publish_all(&mut self, open: &OpenProducer) -> Result<End, LaneError> {
        loop {
            if open.producer.must_be_replaced() {
                return Ok(End::ReplaceProducer);
            }
            if self.is_lost() {
                return Err(LaneError::NotOwner(self.parts.lane));
            }
            if self.pending.is_empty()
                && let Some(end) = self.wait_for_work(open).await?
            {
                return Ok(end);
            }
            if self.pending.is_empty() {
                // All of it is parked.
                continue;
            }
            let full = self.pending.len().max(self.inbox.len()) >= MAX_PAGES;
            self.pace.keep(full).await;
            self.map_ahead();
            if let Err(refused) = self.publish(open).await? {
                self.park_the_refused(refused)?;
                return Ok(End::ReplaceProducer);
            }
        }
    }

    /// Waits for the next work. Returns the end of the lane, or of a producer that can't be used any more.
    async fn wait_for_work(&mut self, open: &OpenProducer) -> Result<Option<End>, LaneError> {
        self.pending = self.parking.due();
        if !self.pending.is_empty() {
            return Ok(None);
        }
        if let Some(mapping) = self.mapping.take() {
            self.pending = self.parking.sort_out(mapping.mapped.ended().await?);
            return Ok(None);
        }
        while !open.producer.all_brokers_are_down() {
            // Also pauses the reads while the registry has lost the schemas.
            // guard: an idle lane learns that the registry has forgotten the schemas
            self.frames().await?;
            self.pending = self.parking.due();
            if !self.pending.is_empty() {
                return Ok(None);
            }
            match tokio::time::timeout(IDLE_CHECK, self.inbox.recv()).await {
                Ok(Some(work)) => {
                    let mapped = Mapped::from_work(work, &self.parts.stores)?;
                    self.pending = self.parking.sort_out(vec![mapped]);
                    return Ok(None);
                }
                Ok(None) => return Ok(Some(self.no_more_work())),
                Err(_still_idle) if self.is_lost() => return Err(LaneError::NotOwner(self.parts.lane)),
                Err(_still_idle) if self.has_old_records().await => return Ok(None),
                Err(_still_idle) => {}
            }
        }
        Ok(Some(End::ReplaceProducer))
    }

    /// What is parked stays in the spool.
    fn no_more_work(&self) -> End {
        if !self.parking.is_empty() {
            let (lane, pages) = (self.parts.lane, self.parking.len());
            tracing::warn!(
                lane,
                pages,
                "pages that Kafka refuses stay in the spool, and are tried again at the next start"
            );
        }
        End::NoMoreWork
    }

    /// Puts the work aside whose record was refused, with all other work of its store. If it is not known yet whose it is,
    /// the next transaction finds out.
    fn park_the_refused(&mut self, Refused { work, fault }: Refused) -> Result<(), LaneError> {
        let Some(work) = work else {
            self.parking.look_for_the_refused();
            return Ok(());
        };
        let store = self.pending[work].work.store().clone();
        let (theirs, others): (Vec<_>, _) =
            std::mem::take(&mut self.pending).into_iter().partition(|it| it.work.store() == &store);
        self.pending = others;
        // The other stores of the lane do not wait for it.
        self.left = self.left.saturating_sub(count_left(&theirs));
        self.parts.counters.store(&store).not_read.note("record_refused", fault.to_string());
        tracing::error!(
            lane = self.parts.lane, %store, %fault,
            "a record of the store is refused: the store is not read until Kafka takes it; the others go on"
        );
        self.parking.park(store, theirs);
        Ok(())
    }

    async fn has_old_records(&mut self) -> bool {
        let Self { parts, retention, .. } = self;
        let Some(retention) = retention else { return false };
        retention.look(|| (tracking_reader(parts), parts.schemas.tracking_decoder())).await;
        retention.is_due()
    }

    /// Starts mapping the queued work in the background while the lane publishes.
    fn map_ahead(&mut self) {
        if self.mapping.is_some() {
            return;
        }
        let work: Vec<Work> = std::iter::from_fn(|| self.inbox.try_recv().ok()).take(MAX_PAGES).collect();
        if work.is_empty() {
            return;
        }
        let pages = work.iter().filter(|work| !work.is_query()).count();
        let stores = self.parts.stores.clone();
        let map = move || work.into_iter().map(|work| Mapped::from_work(work, &stores)).collect();
        self.mapping = Some(MappingJob {
            pages,
            mapped: Job::start(&*self.parts.jobs, &format!("lane-{}", self.parts.lane), map),
        });
    }

    /// Whether a store whose record is refused waits alone. A command that ends says what is wrong instead.
    fn may_park(&self) -> bool {
        self.parts.patience.is_none() && !matches!(self.parts.ownership, Ownership::Borrowed)
    }

    /// Publishes pending work in one transaction. Also returns if a record was refused; the transaction is lost then.
    async fn publish(&mut self, open: &OpenProducer) -> Result<Result<(), Refused>, LaneError> {
        let frames = self.frames().await?;
        let mut plan = Plan::of(&self.pending, &self.index, &self.superseded, &self.parts, &frames);
        let forgotten = match &mut self.retention {
            Some(retention) => {
                // A lane that is never idle removes old records too.
                retention.look(|| (tracking_reader(&self.parts), self.parts.schemas.tracking_decoder())).await;
                retention.take(&self.index, |key| plan.tracks(key))
            }
            None => Vec::new(),
        };
        plan.track(&forgotten);
        fail_point::reach("planned");
        self.status.busy();
        let began_at = clock::now();
        open.producer.begin().await?;
        fail_point::reach("begun");
        let delivered = match deliver(&self.parking, self.may_park(), &*open.producer, &plan).await? {
            Ok(delivered) => delivered,
            Err(refused) => return Ok(Err(refused)),
        };
        fail_point::reach("delivered");
        // The index remembers only an order's last read. So earlier pages must have left the spool before a later one
        // is committed, or a kill would bring them back as new reads.
        let released = match self.releasing.wait().await {
            // After a disk failure no page can be released, yet the page that exists in memory only has to be
            // published.
            // guard: a page in memory is not given up for one that can't be let go
            Err(error) if self.has_unspooled() && plan.is_news() => self.releasing.in_spite_of(error),
            released => released?,
        };
        // guard: what is not committed is not shown as published
        let committed = commit::commit(&*open.producer, released).await?;
        fail_point::reach("committed");
        self.status.committed();
        if self.parts.spans.are_wanted() {
            let (lane, plan, delivered) = (self.parts.lane, &plan, &*delivered);
            CommittedTransaction { lane, began_at, plan, delivered }.trace(&self.pending, &self.parts.spans);
        }
        let outcome = plan.into_outcome();
        self.parts.counters.recent.note(outcome.recent);
        self.failures = None;
        let tracked = !outcome.entries.is_empty();
        for (key, entry) in outcome.entries {
            // guard: the index takes over what was committed
            self.index.apply(IndexUpdate::at(key, Some(entry)));
        }
        for key in &forgotten {
            self.index.apply(IndexUpdate::new(key, None));
        }
        self.counters.index_orders.set(self.index.len() as u64);
        self.counters.committed.add(1);
        if tracked {
            self.parts.memory.remember(self.parts.lane)?;
        }
        for page in outcome.first_seen {
            self.parts.account.credit_page(&page.store, page.read_id, &page.created)?;
        }
        self.release(outcome.tallies, committed);
        let pending = &self.pending;
        let more = self.parking.tried(|store| pending.iter().any(|mapped| mapped.work.store() == store));
        self.pending.extend(more);
        self.set_ready()?;
        Ok(Ok(()))
    }

    /// Releases the pages and answers the reconciler, now that the transaction is committed.
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
                Work::Page(page, _) => {
                    // Negative if the clock was set back in between.
                    let took = Duration::try_from(now.duration_since(page.read_at())).unwrap_or_default();
                    self.parts.counters.page_commit.record(took);
                    pages.push(page);
                }
                Work::Unspooled(page) => {
                    if let Err(error) = self.parts.spool.release_unwritten(page.seq, &committed) {
                        tracing::warn!(read = %page.read_id, %error, "published, but its torn file stays in the spool");
                    }
                }
                Work::Fetched(fetched) => {
                    if fetched.done.send(tally).is_err() {
                        tracing::debug!("the reconciler no longer waits");
                    }
                }
                Work::FindMissing(MissingQuery { store, listed, with_tracked, known, passes, reply }) => {
                    if let Some(retention) = &mut self.retention {
                        retention.see_list(&store, &listed);
                    }
                    let earlier = self.index.brought_by(&passes);
                    let diff = diff::missing(&store, &listed, &self.index, with_tracked);
                    let known = diff::known_before(&store, &listed, &self.index, known);
                    if reply.send(Diff { known, earlier, ..diff }).is_err() {
                        tracing::debug!("the reconciler no longer waits");
                    }
                }
            }
        }
        if let Some(retention) = &mut self.retention {
            retention.published(pages.len());
        }
        self.left = self.left.saturating_sub(pages.iter().filter(|page| page.is_left()).count());
        self.releasing.begin(pages, &committed);
    }
}

/// How many of these are pages of an earlier time.
fn count_left(work: &[Mapped]) -> usize {
    work.iter().filter(|mapped| matches!(&mapped.work, Work::Page(page, _) if page.is_left())).count()
}

fn is_fenced(error: &LaneError) -> bool {
    matches!(error, LaneError::Kafka(KafkaFault::Fenced { .. }))
}

enum End {
    NoMoreWork,
    ReplaceProducer,
}

fn tracking_reader(parts: &LaneParts) -> Box<dyn TrackingLog> {
    parts.broker.tracking(parts.lane, OPEN_DEADLINE)
}
