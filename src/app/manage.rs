//! Starts and stops lanes and stores while the program runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::error::AppError;
use super::lanes::Shared;
use super::serve::{End, StoreCommand, StoreWork, serve_lane};
use super::supervise::{by_lane, first_error};
use crate::config::{self, StoreChange, changes};
use crate::order::ids::StoreName;

/// The stores, each time that they change.
pub(super) type StoresSender = UnboundedSender<BTreeMap<StoreName, config::Store>>;

/// The lanes of a running program.
pub(super) struct LaneManager {
    shared: Arc<Shared>,
    work: StoreWork<()>,
    stores: BTreeMap<StoreName, config::Store>,
    lanes: BTreeMap<i32, RunningLane>,
    ends: JoinSet<(i32, End<()>)>,
    result: Result<(), AppError>,
}

struct RunningLane(UnboundedSender<StoreCommand>);

impl LaneManager {
    pub(super) fn new(shared: Arc<Shared>, stores: BTreeMap<StoreName, config::Store>, work: StoreWork<()>) -> Self {
        Self { shared, work, stores, lanes: BTreeMap::new(), ends: JoinSet::new(), result: Ok(()) }
    }

    /// Runs until the program is stopped and everything is committed.
    pub(super) async fn run(
        mut self,
        mut changed: UnboundedReceiver<BTreeMap<StoreName, config::Store>>,
    ) -> Result<(), AppError> {
        let stop = self.shared.stop.clone();
        for (lane, stores) in by_lane(&self.shared, self.stores.clone()) {
            self.start_lane(lane, stores);
        }
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(stores) = changed.recv() => self.change_stores(stores),
                Some(ended) = self.ends.join_next() => self.note_end(ended.map_err(|_| AppError::Panicked)),
            }
        }
        self.lanes.clear();
        while let Some(ended) = self.ends.join_next().await {
            self.note_end(ended.map_err(|_| AppError::Panicked));
        }
        self.result
    }

    fn start_lane(&mut self, lane: i32, stores: BTreeMap<StoreName, config::Store>) {
        let (commands, taken) = unbounded_channel();
        let stop = self.shared.stop.child_token();
        let serve = serve_lane(lane, self.shared.clone(), stores, taken, stop, self.work.clone());
        self.ends.spawn(async move { (lane, serve.await) });
        self.lanes.insert(lane, RunningLane(commands));
    }

    /// Starts, restarts and stops the stores that differ, and no other.
    fn change_stores(&mut self, stores: BTreeMap<StoreName, config::Store>) {
        self.shared.counters.set_stores(stores.keys());
        let changes = changes(&self.stores, &stores);
        self.stores = stores;
        for (name, change) in changes {
            let lane = self.shared.lane_of(&name);
            let command = match change {
                StoreChange::Removed => StoreCommand::Stop(name.clone()),
                StoreChange::Added | StoreChange::Changed => {
                    StoreCommand::Start(name.clone(), Box::new(self.stores[&name].clone()))
                }
            };
            match (self.lanes.get(&lane), command) {
                // If the lane has just ended, its error is on its way.
                (Some(lane), command) => drop(lane.0.send(command)),
                (None, StoreCommand::Start(name, store)) => self.start_lane(lane, BTreeMap::from([(name, *store)])),
                (None, StoreCommand::Stop(_)) => {}
            }
        }
    }

    fn note_end(&mut self, ended: Result<(i32, End<()>), AppError>) {
        let result = ended.and_then(|(lane, (_, result))| {
            self.lanes.remove(&lane);
            self.shared.lane_states.remove(lane);
            result
        });
        let so_far = std::mem::replace(&mut self.result, Ok(()));
        self.result = first_error(so_far, result, &self.shared.stop);
    }
}
