//! What a pass of the reconciler would look for: reads the lists of IDs and the tracking topic, and changes nothing.
//! It needs neither the spool nor a producer, so it may run beside the program at work.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{AppError, client};
use crate::avro::schemas::SchemaResolver;
use crate::config::Config;
use crate::kafka::Connection;
use crate::kafka::topics::{self, TopicPlan};
use crate::kafka::tracking_reader::TrackingReader;
use crate::order::ids::{OrderId, StoreName};
use crate::pipeline::index::{Index, diff};
use crate::pipeline::publish::{self, OPEN_DEADLINE};
use crate::pipeline::reconcile::{Asker, ReconcileError};
use crate::pipeline::tracking_memory::{TrackingMemory, lane_of};

/// What one store lists and the tracking topic does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The store.
    pub store: StoreName,
    /// How many IDs are listed.
    pub listed: usize,
    /// The missing ones. Some may only be pending: to tell, one would have to drain.
    pub missing: Vec<OrderId>,
}

/// The lists first and the tracking topic after them: what is published in between is not missing.
///
/// # Errors
/// A list that can't be had, or a tracking topic that can't be read to its end.
pub async fn dry_run(config: &Config) -> Result<Vec<Missing>, AppError> {
    let mut lists = Vec::new();
    for (name, store) in config.stores_or_error()? {
        let asker = Asker::new(name, store, Arc::new(client(store)?));
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
                    let mut index = Index::default();
                    publish::catch_up(&mut index, &mut reader, &mut decoder, &memory)?;
                    place.insert(index)
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
