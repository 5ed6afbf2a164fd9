//! Runs one lane with its stores. Stores may come, change and go meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::lanes::{Shared, tasks};
use super::store::StoreTask;
use crate::config;
use crate::order::ids::StoreName;
use crate::pipeline::drain::DrainError;
use crate::pipeline::publish::{Lane, LaneHandle, Ownership, Work};
use crate::spool::{Durable, Recovery, UnknownRead};

/// Result of one store's task, with a summary where the command produces one.
pub(super) type StoreResult<T> = Result<Option<T>, AppError>;

/// The summaries of all tasks, and the first error.
pub(super) type End<T> = (Vec<T>, Result<(), AppError>);

/// What is done with each store, to its end.
pub(super) type StoreWork<T> =
    Arc<dyn Fn(StoreTask) -> Pin<Box<dyn Future<Output = StoreResult<T>> + Send>> + Send + Sync>;

/// What to do with a store of the lane.
pub(super) enum StoreCommand {
    /// Start it. If it is at work, do so with these settings once its read in flight is over.
    Start(StoreName, Arc<config::Store>),
    /// Read nothing more of it. What was read is still published.
    Stop(StoreName),
}

/// A store at work.
struct AtWork {
    stop: CancellationToken,
    task: Id,
    /// The settings to start it with again.
    next: Option<Arc<config::Store>>,
}

/// The stores of one lane.
struct LaneStores<T> {
    shared: Arc<Shared>,
    lane: LaneHandle,
    stop: CancellationToken,
    work: StoreWork<T>,
    /// Stores whose earlier pages the lane has.
    known: BTreeSet<StoreName>,
    at_work: BTreeMap<StoreName, AtWork>,
    tasks: JoinSet<StoreResult<T>>,
    summaries: Vec<T>,
    result: Result<(), AppError>,
}

/// Serves a lane: publishes what an earlier time left in the spool, then starts the stores, until no more commands can
/// come and all stores are over; then awaits the lane, until all is committed. `stop` ends the stores.
pub(super) async fn serve_lane<T: Send + 'static>(
    number: i32,
    shared: Arc<Shared>,
    stores: BTreeMap<StoreName, Arc<config::Store>>,
    commands: UnboundedReceiver<StoreCommand>,
    stop: CancellationToken,
    ownership: Ownership,
    work: StoreWork<T>,
) -> End<T> {
    let started = async {
        let left = shared.left_of(&|store| shared.lane_of(store) == number).await?;
        let lane = shared.start_lane(number, left.pages.len(), stop.clone(), ownership)?;
        shared.lane_states.set(number, lane.handle.status.clone());
        Ok((left, lane))
    };
    let (left, lane) = match started.await {
        Ok(started) => started,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let serving = LaneStores {
        shared,
        lane: lane.handle,
        stop,
        work,
        known: BTreeSet::new(),
        at_work: BTreeMap::new(),
        tasks: JoinSet::new(),
        summaries: Vec::new(),
        result: Ok(()),
    };
    // The lane ends once its stores have dropped their handles and all work is committed.
    let ended = async { lane.ended.await.map_err(|_| AppError::Panicked).and_then(|lane| Ok(lane?)) };
    let ((summaries, stores), lane) = tokio::join!(serving.run(left, stores, commands), ended);
    if let (Err(_), Err(error)) = (&lane, &stores) {
        tracing::error!(%error, "stopping");
    }
    // A lane's error is the cause of its stores' errors, so it takes precedence.
    (summaries, lane.and(stores))
}

/// Publishes what is left of another instance's lane in this spool, and gives the lane back.
pub(super) async fn borrow_lane(number: i32, shared: Arc<Shared>, stop: CancellationToken) -> Result<(), AppError> {
    let left = shared.left_of(&|store| shared.lane_of(store) == number).await?;
    let Lane { handle, ended } = shared.start_lane(number, left.pages.len(), stop, Ownership::Borrowed)?;
    // If it has ended, it tells why.
    queue(&handle, left.pages).await;
    drop(handle);
    Ok(ended.await.map_err(|_| AppError::Panicked)??)
}

impl<T: Send + 'static> LaneStores<T> {
    async fn run(
        mut self,
        left: Recovery,
        stores: BTreeMap<StoreName, Arc<config::Store>>,
        mut commands: UnboundedReceiver<StoreCommand>,
    ) -> End<T> {
        let mut unknown = by_store(left.unknown);
        if !self.hand_over(left.pages).await {
            // The lane reports its own error.
            return (Vec::new(), Ok(()));
        }
        self.known.extend(stores.keys().cloned());
        for (name, store) in stores {
            let reads = unknown.remove(&name).unwrap_or_default();
            self.start(name, &store, reads);
        }
        let mut is_open = true;
        while is_open || !self.tasks.is_empty() {
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => self.note_end(ended).await,
                command = commands.recv(), if is_open => match command {
                    Some(StoreCommand::Start(name, store)) => self.start_or_restart(name, store).await,
                    Some(StoreCommand::Stop(name)) => self.stop_store(&name),
                    None => is_open = false,
                },
                // The lane has ended: it tells why.
                () = self.lane.work.closed(), if is_open => {
                    is_open = false;
                    self.stop.cancel();
                }
            }
        }
        (self.summaries, self.result)
    }

    /// Queues the pages of an earlier time before the lane's stores start. Otherwise an order's older content could
    /// follow its newer one, and an order in a waiting page could be taken for missing. `false` if the lane has ended.
    async fn hand_over(&mut self, pages: Vec<Durable>) -> bool {
        self.known.extend(pages.iter().map(|page| page.store().clone()));
        queue(&self.lane, pages).await
    }

    async fn start_or_restart(&mut self, name: StoreName, store: Arc<config::Store>) {
        match self.at_work.get_mut(&name) {
            Some(at_work) => {
                at_work.next = Some(store);
                at_work.stop.cancel();
            }
            None => self.start_anew(name, store).await,
        }
    }

    fn stop_store(&mut self, name: &StoreName) {
        if let Some(at_work) = self.at_work.get_mut(name) {
            at_work.next = None;
            at_work.stop.cancel();
        }
    }

    /// Starts a store while the lane is at work. One that this lane has never served may have pages of an earlier time.
    async fn start_anew(&mut self, name: StoreName, store: Arc<config::Store>) {
        let left = match self.shared.left_of(&|other| *other == name).await {
            Ok(left) => left,
            Err(error) => return self.fail(error.into()),
        };
        // Pages that the lane has already are not handed over again.
        if self.known.insert(name.clone()) && !self.hand_over(left.pages).await {
            return;
        }
        self.start(name, &store, left.unknown);
    }

    fn start(&mut self, name: StoreName, store: &config::Store, unsettled: Vec<UnknownRead>) {
        let counters = self.shared.counters.store(&name);
        counters.unsettled_reads.set(unsettled.len() as u64);
        let stop = self.stop.child_token();
        match tasks(&name, store, &self.lane, &self.shared, unsettled, &stop) {
            Ok((drain, reconciler)) => {
                let damaged = self.shared.damaged.contains(&name);
                let task = self.tasks.spawn((self.work)(StoreTask { drain, reconciler, damaged })).id();
                self.at_work.insert(name, AtWork { stop, task, next: None });
            }
            Err(error) => self.fail(error),
        }
    }

    async fn note_end(&mut self, ended: Result<(Id, StoreResult<T>), JoinError>) {
        let (id, result) = ended.unwrap_or_else(|panicked| (panicked.id(), Err(AppError::Panicked)));
        match result {
            Ok(summary) => self.summaries.extend(summary),
            Err(error) => self.fail(error),
        }
        let name = self.at_work.iter().find(|(_, at_work)| at_work.task == id).map(|(name, _)| name.clone());
        if let Some((name, AtWork { next: Some(store), .. })) = name.and_then(|name| self.at_work.remove_entry(&name)) {
            self.start_anew(name, store).await;
        }
    }

    /// What does not concern one store alone stops the program.
    fn fail(&mut self, error: AppError) {
        if !concerns_one_store(&error) {
            self.shared.stop.cancel();
        }
        if self.result.is_ok() {
            self.result = Err(error);
        }
    }
}

/// Queues pages of an earlier time. `false` if the lane has ended.
async fn queue(lane: &LaneHandle, pages: Vec<Durable>) -> bool {
    for page in pages {
        if lane.work.send(Work::Page(page, None)).await.is_err() {
            return false;
        }
    }
    true
}

pub(super) fn by_store(reads: Vec<UnknownRead>) -> BTreeMap<StoreName, Vec<UnknownRead>> {
    let mut sorted = BTreeMap::<StoreName, Vec<UnknownRead>>::new();
    for read in reads {
        sorted.entry(read.store.clone()).or_default().push(read);
    }
    sorted
}

pub(super) fn concerns_one_store(error: &AppError) -> bool {
    matches!(error, AppError::Drain(DrainError::Refused { .. }) | AppError::Reconcile(_))
}
