//! Starts and stops lanes and stores while the program runs.
//!
//! Without a group this process owns all lanes. In a group it owns those that are assigned to it. Pages that are in its
//! spool of a lane that it does not own reach Kafka all the same: it borrows the lane, publishes them, and gives it back.
//! A lane is borrowed at most once for each page that is left, since nothing is read for a lane that is not owned. Reads
//! of unknown outcome of such a lane are audited, which takes nothing from its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::error::AppError;
use super::lanes::Shared;
use super::serve::{End, StoreCommand, StoreWork, borrow_lane, serve_lane};
use super::supervise::first_error;
use crate::config::{self, StoreChange, changes};
use crate::kafka::broker::{Group, GroupEvent, Membership};
use crate::order::ids::StoreName;
use crate::pipeline::account::AccountError;
use crate::pipeline::publish::{LaneError, Ownership};
use crate::pipeline::tracking_memory::MemoryError;
use crate::platform::backoff::Backoff;
use crate::platform::jobs::in_place;
use crate::platform::shutdown::cancelled_within;

/// The stores, each time that they change.
pub(super) type StoresSender = UnboundedSender<BTreeMap<StoreName, Arc<config::Store>>>;

/// Pauses between two attempts to serve or to borrow a lane.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The lanes of a running program.
pub(super) struct LaneManager {
    shared: Arc<Shared>,
    work: StoreWork<()>,
    stores: BTreeMap<StoreName, Arc<config::Store>>,
    group: Option<Arc<dyn Group>>,
    owned: BTreeSet<i32>,
    lanes: BTreeMap<i32, Activity>,
    /// Lanes that were revoked together, and are let go together when none is served any more.
    revoked: Vec<Vec<i32>>,
    pauses: BTreeMap<i32, Backoff>,
    /// Pauses before the audits of the lanes that are audited.
    audits: BTreeMap<i32, Backoff>,
    ends: JoinSet<(i32, End<()>)>,
    result: Result<(), AppError>,
}

/// What goes on with a lane.
enum Activity {
    Serving {
        /// None once it is being closed.
        commands: Option<UnboundedSender<StoreCommand>>,
        stop: CancellationToken,
        lost: CancellationToken,
    },
    /// It is borrowed or audited, or an attempt to serve or to borrow it has failed and the next one has to wait.
    Passing(CancellationToken),
}

impl LaneManager {
    pub(super) fn new(
        shared: Arc<Shared>,
        stores: BTreeMap<StoreName, Arc<config::Store>>,
        work: StoreWork<()>,
    ) -> Self {
        Self {
            shared,
            work,
            stores,
            group: None,
            owned: BTreeSet::new(),
            lanes: BTreeMap::new(),
            revoked: Vec::new(),
            pauses: BTreeMap::new(),
            audits: BTreeMap::new(),
            ends: JoinSet::new(),
            result: Ok(()),
        }
    }

    /// Runs until the program is stopped and everything is committed. Without a membership all lanes are owned.
    pub(super) async fn run(
        mut self,
        membership: Option<Membership>,
        mut changed: UnboundedReceiver<BTreeMap<StoreName, Arc<config::Store>>>,
    ) -> Result<(), AppError> {
        let stop = self.shared.stop.clone();
        // Without a group the sender is kept, so that nothing ever comes.
        let (_never, mut events) = unbounded_channel();
        match membership {
            Some((group, happens)) => (self.group, events) = (Some(group), happens),
            None => self.assign((0..self.shared.layout.lanes).collect()),
        }
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(event) = events.recv() => self.follow(event),
                Some(stores) = changed.recv() => self.change_stores(stores),
                Some(ended) = self.ends.join_next() => self.note_end(ended.map_err(|_| AppError::Panicked)),
            }
        }
        let is_served = |lane: &i32| matches!(self.lanes.get(lane), Some(Activity::Serving { .. }));
        let served: BTreeSet<i32> = self.owned.iter().copied().filter(is_served).collect();
        self.lanes.clear();
        while let Some(ended) = self.ends.join_next().await {
            self.note_end(ended.map_err(|_| AppError::Panicked));
        }
        // guard: an instance that stops with pages left says so
        self.tell_what_is_left(&served);
        self.result
    }

    fn follow(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Assigned(lanes) => {
                tracing::info!(?lanes, "the group has assigned lanes to this instance");
                self.assign(lanes);
            }
            GroupEvent::Revoked(lanes) => {
                tracing::info!(?lanes, "lanes go to another instance once their reads in flight are published");
                self.owned.retain(|lane| !lanes.contains(lane));
                lanes.iter().for_each(|lane| self.settle(*lane));
                self.revoked.push(lanes);
                self.let_go();
            }
            GroupEvent::Lost(lanes) => {
                tracing::warn!(?lanes, "the group has given up this instance: its lanes may be another's already");
                self.owned.retain(|lane| !lanes.contains(lane));
                for lane in lanes {
                    if let Some(Activity::Serving { lost, .. }) = self.lanes.get(&lane) {
                        lost.cancel();
                    }
                    self.settle(lane);
                }
            }
            GroupEvent::Failed(fault) => self.note_result(Err(fault.into())),
        }
    }

    fn assign(&mut self, lanes: Vec<i32>) {
        self.shared.lane_states.assigned();
        self.owned.extend(lanes);
        // What is left of other lanes is published too.
        (0..self.shared.layout.lanes).for_each(|lane| self.settle(lane));
    }

    /// Begins or ends what has to be done with a lane.
    fn settle(&mut self, lane: i32) {
        if self.shared.stop.is_cancelled() {
            return;
        }
        let is_owned = self.owned.contains(&lane);
        match self.lanes.get_mut(&lane) {
            None => self.begin(lane, is_owned),
            Some(Activity::Serving { commands, stop, .. }) if !is_owned => {
                *commands = None;
                stop.cancel();
                self.shared.lane_states.remove(lane);
            }
            Some(Activity::Passing(stop)) if is_owned => stop.cancel(),
            _ => {}
        }
    }

    fn begin(&mut self, lane: i32, is_owned: bool) {
        if is_owned {
            self.audits.remove(&lane);
            return self.serve(lane);
        }
        // guard: pages of a lane that is another instance's are published
        if self.has_pages_left(lane) {
            return self.borrow(lane);
        }
        match self.leave(lane) {
            Ok(stores) if stores.is_empty() => drop(self.audits.remove(&lane)),
            Ok(stores) => self.audit(lane, stores),
            Err(error) => self.note_result(Err(error.into())),
        }
    }

    /// Leaves the lane's stores to another instance. Returns those of which something is to be looked for.
    fn leave(&self, lane: i32) -> Result<Vec<(StoreName, Arc<config::Store>)>, AccountError> {
        let account = &self.shared.account;
        let is_of_lane = |store: &StoreName| self.shared.lane_of(store) == lane;
        account.leave(is_of_lane)?;
        // guard: reads of a lane that is another instance's are looked into
        let looked_for = |store: &StoreName| is_of_lane(store) && account.is_to_be_looked_for(store);
        let stores = self.stores.iter().filter(|(name, _)| looked_for(name));
        Ok(stores.map(|(name, store)| (name.clone(), store.clone())).collect())
    }

    fn audit(&mut self, lane: i32, stores: Vec<(StoreName, Arc<config::Store>)>) {
        let pauses = self.audits.entry(lane).or_insert_with(|| Audit::pauses(&self.shared));
        let (pause, shared, stop) = (pauses.pause(), self.shared.clone(), self.shared.stop.child_token());
        let audit = Audit { lane, shared, stores, stop: stop.clone() };
        self.ends.spawn(async move {
            audit.run(pause).await;
            (lane, (Vec::new(), Ok(())))
        });
        self.lanes.insert(lane, Activity::Passing(stop));
    }

    fn serve(&mut self, lane: i32) {
        let of_lane = |(name, _): &(&StoreName, &Arc<config::Store>)| self.shared.lane_of(name) == lane;
        let stores = self.stores.iter().filter(of_lane).map(|(name, store)| (name.clone(), store.clone()));
        let stores: BTreeMap<_, _> = stores.collect();
        if stores.is_empty() && !self.shared.has_removed_stores(lane) {
            return;
        }
        let (commands, taken) = unbounded_channel();
        let (stop, lost) = (self.shared.stop.child_token(), CancellationToken::new());
        let ownership = match &self.group {
            Some(group) => Ownership::Member { group: group.clone(), lost: lost.clone() },
            None => Ownership::Sole,
        };
        let serve = serve_lane(lane, self.shared.clone(), stores, taken, stop.clone(), ownership, self.work.clone());
        self.ends.spawn(async move { (lane, serve.await) });
        self.lanes.insert(lane, Activity::Serving { commands: Some(commands), stop, lost });
    }

    fn has_pages_left(&mut self, lane: i32) -> bool {
        self.pages_left(|other| other == lane) > 0
    }

    /// Lanes that were `served` say by themselves what they could not publish.
    fn tell_what_is_left(&mut self, served: &BTreeSet<i32>) {
        let pages = self.pages_left(|lane| !served.contains(&lane));
        if pages > 0 {
            let why = "their lanes are another instance's, or could not be served".to_owned();
            self.note_result(Err(LaneError::StoppedWaiting { pages, why }.into()));
        }
    }

    /// How many pages this instance of a group has of lanes that it does not serve. Without a group nobody else has a lane.
    fn pages_left(&mut self, is_wanted: impl Fn(i32) -> bool) -> usize {
        if self.group.is_none() {
            return 0;
        }
        let shared = &self.shared;
        let is_wanted = |store: &StoreName| shared.stores.knows(store) && is_wanted(shared.lane_of(store));
        in_place(|| shared.spool.pages_of(&is_wanted)).unwrap_or_else(|error| {
            self.note_result(Err(error.into()));
            0
        })
    }

    fn borrow(&mut self, lane: i32) {
        tracing::info!(lane, "pages of a lane that is another instance's are left in the spool: publishing them");
        let stop = self.shared.stop.child_token();
        let borrow = borrow_lane(lane, self.shared.clone(), stop.clone());
        self.ends.spawn(async move { (lane, (Vec::new(), borrow.await)) });
        self.lanes.insert(lane, Activity::Passing(stop));
    }

    /// Starts, restarts and stops the stores that differ, and no other.
    fn change_stores(&mut self, stores: BTreeMap<StoreName, Arc<config::Store>>) {
        self.shared.counters.set_stores(stores.keys());
        in_place(|| self.shared.countries.remember(&stores, |_| true));
        let changes = changes(&self.stores, &stores);
        self.stores = stores;
        for (name, change) in changes {
            let command = match change {
                StoreChange::Removed => StoreCommand::Stop(name.clone()),
                StoreChange::Added | StoreChange::Changed => {
                    let store = &self.stores[&name];
                    self.shared.introduce(&name, store.country);
                    StoreCommand::Start(name.clone(), store.clone())
                }
            };
            let lane = self.shared.lane_of(&name);
            match self.lanes.get(&lane) {
                // If the lane has just ended, it finds the store when it is started again.
                Some(Activity::Serving { commands: Some(commands), .. }) => drop(commands.send(command)),
                Some(_) => {}
                None => self.settle(lane),
            }
        }
    }

    fn note_end(&mut self, ended: Result<(i32, End<()>), AppError>) {
        let (lane, result) = match ended {
            Ok((lane, (_, result))) => (lane, result),
            Err(error) => return self.note_result(Err(error)),
        };
        self.lanes.remove(&lane);
        self.shared.lane_states.remove(lane);
        match result {
            Err(error) if self.group.is_some() && self.others_go_on(&error) => {
                tracing::warn!(lane, %error, "the lane has ended; the others go on");
                self.pause(lane);
            }
            Ok(()) => {
                self.pauses.remove(&lane);
                self.settle(lane);
            }
            failed => self.note_result(failed),
        }
        self.let_go();
    }

    /// Whether a lane's error ends that lane alone. What a lane could not publish before the program stops is its result.
    fn others_go_on(&self, error: &AppError) -> bool {
        let is_cut_short = matches!(error, AppError::Lane(LaneError::StoppedWaiting { .. }));
        concerns_one_lane(error) && !(is_cut_short && self.shared.stop.is_cancelled())
    }

    /// Settles the lane after a while.
    fn pause(&mut self, lane: i32) {
        let pauses = self.pauses.entry(lane).or_insert_with(|| Backoff::new(FIRST_PAUSE, LONGEST_PAUSE));
        let (pause, stop) = (pauses.pause(), self.shared.stop.child_token());
        let waited = stop.clone();
        self.ends.spawn(async move {
            cancelled_within(&waited, pause).await;
            (lane, (Vec::new(), Ok(())))
        });
        self.lanes.insert(lane, Activity::Passing(stop));
    }

    /// Lets lanes go that were revoked and are not served any more.
    fn let_go(&mut self) {
        let Some(group) = &self.group else { return };
        let lanes = &self.lanes;
        // guard: a lane is let go when all of it is published
        let is_served = |lane: &i32| matches!(lanes.get(lane), Some(Activity::Serving { .. }));
        self.revoked.retain(|revoked| {
            let waits = revoked.iter().any(is_served);
            if !waits {
                group.let_go(revoked);
            }
            waits
        });
    }

    fn note_result(&mut self, result: Result<(), AppError>) {
        let so_far = std::mem::replace(&mut self.result, Ok(()));
        self.result = first_error(so_far, result, &self.shared.stop);
    }
}

/// Whether other lanes can go on, and this one may be tried again: it is another instance's now, or what is wrong is in
/// Kafka.
fn concerns_one_lane(error: &AppError) -> bool {
    let AppError::Lane(error) = error else { return false };
    match error {
        LaneError::NotOwner(_) | LaneError::StoppedWaiting { .. } => true,
        LaneError::Kafka(_) | LaneError::Encoding(_) | LaneError::Decode(_) | LaneError::Thread(_) => true,
        LaneError::Memory(error) => !matches!(error, MemoryError::File { .. }),
        LaneError::Spool(_) | LaneError::Account(_) | LaneError::UnknownStore(_) | LaneError::Event(_) => false,
    }
}
