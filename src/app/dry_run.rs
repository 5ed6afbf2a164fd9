//! A dry run of the reconciler: reads the ID lists and the tracking topic, and changes nothing. It needs neither the
//! spool's lock nor a producer, so it may run beside the running program.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::environment::client;
use super::error::AppError;
use crate::avro::schemas::SchemaResolver;
use crate::config::Config;
use crate::kafka::Connection;
use crate::kafka::topics::{self, TopicPlan};
use crate::kafka::tracking_reader::TrackingReader;
use crate::marketplace::client::{Connections, Hosts, Pace};
use crate::order::ids::{OrderId, StoreName};
use crate::pipeline::index::{Index, diff};
use crate::pipeline::publish::{self, OPEN_DEADLINE};
use crate::pipeline::reconcile::{Asker, ReconcileError};
use crate::pipeline::tracking_memory::{TrackingMemory, lane_of};

/// The orders of one store that the marketplace lists and the tracking topic does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    pub store: StoreName,
    /// How many IDs the list holds.
    pub listed: usize,
    /// The missing IDs. Some may merely be pending: only a drain can tell.
    pub missing: Vec<OrderId>,
}

/// Fetches the lists first and reads the tracking topic after them, so that an order published in between is not
/// reported as missing.
///
/// # Errors
/// A list that can't be fetched, or a tracking topic that can't be read to its end.
pub async fn dry_run(config: &Config) -> Result<Vec<Missing>, AppError> {
    let (hosts, connections, mut lists) = (Hosts::new(config.api.host_limits()), Connections::default(), Vec::new());
    for (name, store) in config.stores_or_error()? {
        let asker =
            Asker::new(store, Arc::new(client(store, &connections)?), Pace::new(name.clone(), &hosts, &store.base_url));
        let ids = asker.order_ids().await.map_err(|error| ReconcileError::no_list(name, error))?;
        lists.push((name.clone(), ids));
    }
    let connection = Connection::from(&config.kafka);
    let layout = topics::ensure(&connection, &TopicPlan { create: false, ..TopicPlan::from(&config.kafka) }).await?;
    let topic = config.kafka.topics.tracking.clone();
    let memory = TrackingMemory::open(&config.spool.dir, &topic, layout.lanes)?;
    let mut decoder = SchemaResolver::from_config(config)?.tracking_decoder();
    spawn_blocking(move || {
        let mut indices: BTreeMap<i32, Index> = BTreeMap::new();
        let mut all = Vec::new();
        for (store, ids) in lists {
            let lane = lane_of(&store, layout.lanes);
            let index = match indices.entry(lane) {
                Entry::Occupied(loaded) => loaded.into_mut(),
                Entry::Vacant(place) => {
                    let mut reader = TrackingReader::new(connection.clone(), topic.clone(), lane, OPEN_DEADLINE);
                    place.insert(publish::load(&mut reader, &mut decoder, &memory, &mut |_| {})?)
                }
            };
            let listed = ids.len();
            let missing = diff::missing(&store, &ids, index, false).missing;
            all.push(Missing { store, listed, missing });
        }
        Ok(all)
    })
    .await
    .map_err(|_| AppError::Panicked)?
}
