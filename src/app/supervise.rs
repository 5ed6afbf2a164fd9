//! Runs the stores of all lanes to their end: what fails for all stops the rest, what fails for one store does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::lanes::Shared;
use super::serve::{End, StoreWork, concerns_one_store, serve_lane};
use crate::config;
use crate::order::ids::StoreName;
use crate::pipeline::publish::Ownership;

/// First what a former process left in the spool, in its order; then the stores, until they are over; then the lanes,
/// until all is committed.
pub(super) async fn run<T: Send + 'static>(
    shared: Arc<Shared>,
    stores: BTreeMap<StoreName, Arc<config::Store>>,
    work: StoreWork<T>,
) -> End<T> {
    let mut ends = JoinSet::new();
    for (lane, stores) in by_lane(&shared, stores) {
        // Nobody sends a command.
        let (_, commands) = unbounded_channel();
        let (stop, ownership) = (shared.stop.child_token(), Ownership::Sole);
        ends.spawn(serve_lane(lane, shared.clone(), stores, commands, stop, ownership, work.clone()));
    }
    join_all(ends, &shared.stop).await
}

fn by_lane(
    shared: &Shared,
    stores: BTreeMap<StoreName, Arc<config::Store>>,
) -> BTreeMap<i32, BTreeMap<StoreName, Arc<config::Store>>> {
    let of_removed = shared.removed.keys().map(|store| (shared.lane_of(store), BTreeMap::new()));
    let mut sorted: BTreeMap<i32, BTreeMap<_, _>> = of_removed.collect();
    for (name, store) in stores {
        sorted.entry(shared.lane_of(&name)).or_default().insert(name, store);
    }
    sorted
}

/// An early end stops everything else at once, and is logged: without its lane a store has nobody to publish its pages.
async fn join_all<T: Send + 'static>(mut ends: JoinSet<End<T>>, stop: &CancellationToken) -> End<T> {
    let (mut summaries, mut result) = (Vec::new(), Ok(()));
    while let Some(ended) = ends.join_next().await {
        let (more, ended) = ended.unwrap_or((Vec::new(), Err(AppError::Panicked)));
        summaries.extend(more);
        result = first_error(result, ended, stop);
    }
    (summaries, result)
}

/// Adds a lane's end to the result of all.
pub(super) fn first_error(
    result: Result<(), AppError>,
    ended: Result<(), AppError>,
    stop: &CancellationToken,
) -> Result<(), AppError> {
    let Err(error) = ended else { return result };
    if !concerns_one_store(&error) {
        tracing::error!(%error, "stopping");
        stop.cancel();
    }
    // A lane's error is the cause of its stores' errors, so it takes precedence.
    if matches!(error, AppError::Lane(_)) { Err(error) } else { result.and(Err(error)) }
}
