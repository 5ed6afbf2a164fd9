//! Read-only queries about orders. They read the topics and the spool, and may run beside the program.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::avro::decoder::DecodeError;
use crate::avro::event::OrderEvent;
use crate::avro::schemas::{SchemaError, SchemaResolver};
use crate::avro::tracking::OrderTracking;
use crate::config::Config;
use crate::kafka::settings::Isolation;
use crate::kafka::topic_scan::{ScannedRecord, Start, TopicScan};
use crate::kafka::{Connection, KafkaFault};
use crate::marketplace::body::Page;
use crate::order::country::Country;
use crate::order::ids::{OrderId, OrderKey, ReadId, StoreName};
use crate::order::{DeadLetter, Order};
use crate::spool::{FileState, Spool, SpoolEntry, SpoolError};

/// Why a query failed.
#[derive(Debug, Error)]
pub enum QueryError {
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The registry failed, or a record can't be decoded.
    #[error(transparent)]
    Encoding(#[from] SchemaError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl From<DecodeError> for QueryError {
    fn from(error: DecodeError) -> Self {
        Self::Encoding(error.into())
    }
}

/// A record of the dead-letter topic. `Debug` hides its JSON, which is personal data.
pub struct Letter {
    /// `partition:offset`, the name of the letter on the command line.
    pub place: String,
    /// When it was written.
    pub at: Option<Timestamp>,
    pub store: Option<StoreName>,
    /// The order's ID, if one could be read.
    pub order_id: Option<OrderId>,
    /// Why the record could not be mapped.
    pub reason: String,
    /// The JSON pointer to the value that is wrong.
    pub pointer: String,
    /// The read that returned the record.
    pub read_id: Option<ReadId>,
    /// The record as it came.
    pub json: Vec<u8>,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Letter({})", self.place)
    }
}

impl From<ScannedRecord> for Letter {
    fn from(seen: ScannedRecord) -> Self {
        let header = |name: &str| seen.header(name).unwrap_or_default().to_owned();
        let time = header("imotriz.error.time").parse().ok().or(seen.at);
        Self {
            place: seen.place(),
            at: time,
            store: header("imotriz.error.store").parse().ok(),
            order_id: seen.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()?.parse().ok()),
            reason: header("imotriz.error.reason"),
            pointer: header("imotriz.error.pointer"),
            read_id: header("imotriz.error.read_id").parse().ok(),
            json: seen.value.unwrap_or_default(),
        }
    }
}

impl Letter {
    /// Maps the record with the present settings. None if the settings don't name its store.
    #[must_use]
    pub fn read_again(&self, config: &Config) -> Option<Result<Order, DeadLetter>> {
        let store = config.stores.get(self.store.as_ref()?)?;
        let Ok(record) = serde_json::from_slice::<&RawValue>(&self.json) else {
            let json = self.json.clone();
            let reason = "it is not JSON, so no mapping can read it".to_owned();
            return Some(Err(DeadLetter { id: self.order_id.clone(), json, reason, pointer: String::new() }));
        };
        Some(config.mapping.order(store.country, record))
    }
}

/// Returns all dead letters, the oldest first.
///
/// # Errors
/// Kafka's.
pub async fn letters(config: &Config) -> Result<Vec<Letter>, QueryError> {
    let connection = Connection::from(&config.kafka);
    let topic_scan =
        TopicScan::open(&connection, &config.kafka.topics.dead_letter, Isolation::Committed, Start::Beginning)?;
    let mut letters: Vec<Letter> = topic_scan.all().await?.into_iter().map(Letter::from).collect();
    letters.sort_by_key(|letter| letter.at);
    Ok(letters)
}

/// Returns the newest tracking record of each order for which `wanted` holds.
///
/// # Errors
/// Kafka's, the registry's, or a record that can't be decoded.
pub async fn tracked(
    config: &Config,
    wanted: impl Fn(&OrderKey) -> bool,
) -> Result<BTreeMap<OrderKey, OrderTracking>, QueryError> {
    let connection = Connection::from(&config.kafka);
    let mut decoder = SchemaResolver::from_config(config)?.tracking_decoder();
    let topic = &config.kafka.topics.tracking;
    let mut topic_scan = TopicScan::open(&connection, topic, Isolation::Committed, Start::Beginning)?;
    let mut tracked = BTreeMap::new();
    while let Some(seen) = topic_scan.next().await? {
        let key = seen.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()?.parse::<OrderKey>().ok());
        let Some(key) = key.filter(|key| wanted(key)) else { continue };
        match seen.value {
            Some(value) => drop(tracked.insert(key, decoder.decode(&value).await?)),
            None => drop(tracked.remove(&key)),
        }
    }
    Ok(tracked)
}

/// An event of an order, and whether consumers see it.
#[derive(Debug)]
pub struct Sighting {
    /// The record, with its partition and offset.
    pub seen: ScannedRecord,
    pub event: OrderEvent,
    /// Whether its transaction was committed.
    pub committed: bool,
}

/// Returns all events with this order ID, the oldest first. Includes events of open and aborted transactions.
///
/// # Errors
/// Kafka's, the registry's, or a record that can't be decoded.
pub async fn events_of(config: &Config, id: &OrderId) -> Result<Vec<Sighting>, QueryError> {
    let connection = Connection::from(&config.kafka);
    let mut decoder = SchemaResolver::from_config(config)?.order_decoder();
    let topic = &config.kafka.topics.orders;
    let is_its = |seen: &ScannedRecord| seen.key.as_deref() == Some(id.as_str().as_bytes());
    let mut sightings = Vec::new();
    let mut all = TopicScan::open(&connection, topic, Isolation::Uncommitted, Start::Beginning)?;
    while let Some(seen) = all.next().await? {
        if let Some(value) = seen.value.as_deref().filter(|_| is_its(&seen)) {
            let event = decoder.decode(value).await?;
            sightings.push(Sighting { seen, event, committed: false });
        }
    }
    if sightings.is_empty() {
        return Ok(sightings);
    }
    // A second scan, `read_committed`, tells which of the events found are committed by now.
    let mut committed = TopicScan::open(&connection, topic, Isolation::Committed, Start::Beginning)?;
    while let Some(seen) = committed.next().await? {
        let same = |it: &&mut Sighting| (it.seen.partition, it.seen.offset) == (seen.partition, seen.offset);
        if let Some(sighting) = sightings.iter_mut().find(same) {
            sighting.committed = true;
        }
    }
    sightings.sort_by_key(|sighting| (sighting.seen.at, sighting.seen.partition, sighting.seen.offset));
    Ok(sightings)
}

/// Returns the spool's files that hold the order. A file that disappears during the search is skipped.
///
/// # Errors
/// The spool's.
pub fn spooled(config: &Config, id: &OrderId) -> Result<Vec<SpoolEntry>, QueryError> {
    let entries = Spool::inspect(&config.spool.dir)?;
    Ok(entries.into_iter().filter(|entry| holds(config, entry, id)).collect())
}

fn holds(config: &Config, entry: &SpoolEntry, id: &OrderId) -> bool {
    if !matches!(entry.state, FileState::Page { .. } | FileState::Unknown { .. }) {
        return false;
    }
    let Ok(body) = entry.body() else { return false };
    let Ok(page) = Page::parse(&body) else { return false };
    // The ID is read alike in all countries, so any country will do if the settings no longer name the store.
    let store = entry.store.as_ref().and_then(|store| config.stores.get(store));
    let country = store.map_or(Country::Co, |store| store.country);
    page.records.iter().any(|record| match record.order(&config.mapping, country) {
        Ok(order) => order.id == *id,
        Err(letter) => letter.id.as_ref() == Some(id),
    })
}
