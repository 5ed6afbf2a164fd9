//! Checks of many stores: a few at a time.

use std::panic;
use std::sync::Arc;

use tokio::task::{JoinSet, LocalSet};

use super::Check;
use crate::config::Store;
use crate::order::ids::StoreName;

/// How many stores are checked at a time.
const AT_ONCE: usize = 16;

/// Makes the checks of each store, some stores at a time. Returns them in the order of the stores.
pub(super) async fn each_store<'a>(
    stores: impl Iterator<Item = (&'a StoreName, &'a Arc<Store>)>,
    check: impl AsyncFn(StoreName, Arc<Store>) -> Vec<Check> + Copy + 'static,
) -> Vec<Check> {
    let mut stores =
        stores.map(|(name, store)| (name.clone(), store.clone())).collect::<Vec<_>>().into_iter().enumerate();
    let in_turn = async move {
        let mut running = JoinSet::new();
        let mut found = Vec::new();
        loop {
            while running.len() < AT_ONCE
                && let Some((index, (name, store))) = stores.next()
            {
                running.spawn_local(async move { (index, check(name, store).await) });
            }
            match running.join_next().await {
                Some(Ok(checks)) => found.push(checks),
                Some(Err(panicked)) => panic::resume_unwind(panicked.into_panic()),
                None => break,
            }
        }
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().flat_map(|(_, checks)| checks).collect()
    };
    // The checks stay on this thread: they mostly wait.
    LocalSet::new().run_until(in_turn).await
}
