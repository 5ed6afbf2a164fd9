//! Runs the stores of all lanes to their end: what fails for all stops the rest, what fails for one store does not.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::store::StoreTask;
use crate::pipeline::drain::DrainError;
use crate::pipeline::publish::{Lane, Work};
use crate::pipeline::tracking_memory::lane_of;
use crate::spool::Durable;

/// Result of one store's task, with a summary where the command produces one.
pub(super) type StoreResult<T> = Result<Option<T>, AppError>;

/// The summaries of all tasks, and the first error.
pub(super) type End<T> = (Vec<T>, Result<(), AppError>);

/// First what a former process left in the spool, in its order; then the stores, until they are over; then the lanes,
/// until all is committed.
pub(super) async fn run<T: Send + 'static>(
    lanes: BTreeMap<i32, Lane>,
    lane_count: i32,
    recovered: Vec<Durable>,
    stores: Vec<StoreTask>,
    start: impl Fn(&mut JoinSet<StoreResult<T>>, StoreTask) + Clone + Send + 'static,
    stop: CancellationToken,
) -> End<T> {
    let mut pages = by_lane(recovered, |page| lane_of(page.store(), lane_count));
    let mut stores = by_lane(stores, |store| lane_of(&store.drain.store, lane_count));
    let mut ends = JoinSet::new();
    for (number, lane) in lanes {
        let pages = pages.remove(&number).unwrap_or_default();
        let stores = stores.remove(&number).unwrap_or_default();
        // The lane ends once its stores have dropped their handles and all work is committed.
        let (work, ended) = (lane.handle.work, lane.ended);
        ends.spawn(serve_lane(work, pages, stores, start.clone(), stop.clone()));
        ends.spawn(async { (Vec::new(), ended.await.map_err(|_| AppError::Panicked).and_then(|lane| Ok(lane?))) });
    }
    join_all(ends, &stop).await
}

fn by_lane<T>(all: Vec<T>, lane: impl Fn(&T) -> i32) -> BTreeMap<i32, Vec<T>> {
    let mut sorted = BTreeMap::<i32, Vec<T>>::new();
    for one in all {
        sorted.entry(lane(&one)).or_default().push(one);
    }
    sorted
}

/// Queues the pages of a former process before it starts the lane's stores. Otherwise an order's older content could
/// follow its newer one, and an order in a waiting page could be taken for missing.
async fn serve_lane<T: Send + 'static>(
    work: mpsc::Sender<Work>,
    pages: Vec<Durable>,
    stores: Vec<StoreTask>,
    start: impl Fn(&mut JoinSet<StoreResult<T>>, StoreTask),
    stop: CancellationToken,
) -> End<T> {
    for page in pages {
        if work.send(Work::Page(page, None)).await.is_err() {
            // The lane reports its own error.
            return (Vec::new(), Ok(()));
        }
    }
    drop(work);
    let mut tasks = JoinSet::new();
    for store in stores {
        start(&mut tasks, store);
    }
    join_stores(tasks, &stop).await
}

async fn join_stores<T: Send + 'static>(mut tasks: JoinSet<StoreResult<T>>, stop: &CancellationToken) -> End<T> {
    let (mut summaries, mut result) = (Vec::new(), Ok(()));
    while let Some(ended) = tasks.join_next().await {
        match ended.map_err(|_| AppError::Panicked).flatten() {
            Ok(summary) => summaries.extend(summary),
            Err(error) => {
                if !concerns_one_store(&error) {
                    stop.cancel();
                }
                result = result.and(Err(error));
            }
        }
    }
    (summaries, result)
}

/// An early end stops everything else at once, and is logged: without its lane a store has nobody to publish its pages.
async fn join_all<T: Send + 'static>(mut ends: JoinSet<End<T>>, stop: &CancellationToken) -> End<T> {
    let (mut summaries, mut result) = (Vec::new(), Ok(()));
    while let Some(ended) = ends.join_next().await {
        let (more, ended) = ended.unwrap_or((Vec::new(), Err(AppError::Panicked)));
        summaries.extend(more);
        if let Err(error) = ended {
            if !concerns_one_store(&error) {
                tracing::error!(%error, "stopping");
                stop.cancel();
            }
            // A lane's error is the cause of its stores' errors, so it takes precedence.
            result = if matches!(error, AppError::Lane(_)) { Err(error) } else { result.and(Err(error)) };
        }
    }
    (summaries, result)
}

fn concerns_one_store(error: &AppError) -> bool {
    matches!(error, AppError::Drain(DrainError::Refused { .. }) | AppError::Reconcile(_))
}
