//! `topics relane`: copies the tracking topic into a new one with another number of lanes.
//!
//! A store's lane follows from its name and the number of lanes. If the topic were given more partitions in place, most
//! orders would be looked for in the wrong one. So the last record of each order goes into the right partition of a new
//! topic. Pages that wait in spools are not touched: whoever starts with the new topic finds everything there that was
//! published, and decides on them as ever.
//!
//! Nobody may publish meanwhile. The command opens the producers of all lanes first, which fences whoever still has one,
//! and looks at the end whether the old topic has grown.
//!
//! Until the copy is complete and compared, the new topic is not compacted, and no program publishes through a tracking
//! topic that is not: an interrupted copy can't be taken for a whole one. To repeat the command writes only what is
//! missing. A topic that is compacted already is compared and never written to.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rdkafka::admin::{NewTopic, TopicReplication};
use thiserror::Error;
use tokio::task::block_in_place;
use xxhash_rust::xxh3::xxh3_128;

use crate::config::Config;
use crate::kafka::broker::TrackingLog;
use crate::kafka::topics::TRACKED;
use crate::kafka::tracking_reader::TrackingReader;
use crate::kafka::{Admin, Connection, GroupView, KafkaFault, OutgoingRecord, Transactions};
use crate::order::ids::OrderKey;
use crate::pipeline::tracking_memory::lane_of;
use crate::spool::{Holder, Spool, SpoolError};

/// How long a call, the opening of a producer, or a reading without progress may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Records in one transaction.
const BATCH: usize = 1000;

/// Why the lanes were not changed.
#[derive(Debug, Error)]
pub enum RelaneError {
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error("the tracking topic `{topic}` has {lanes} lanes already")]
    SameLanes { topic: String, lanes: i32 },
    #[error("a program is at work with the spool {0}: stop all instances first")]
    Locked(String),
    #[error(
        "the group `{group}` still has the instances {}: stop all of them. One that was killed is forgotten after its \
         `cluster.session_timeout`", .members.join(", ")
    )]
    Running { group: String, members: Vec<String> },
    #[error("partition {lane} of `{topic}` holds a record whose key is not an order's: another program writes to it")]
    NoOrder { topic: String, lane: i32 },
    #[error(
        "an instance has published through lane {lane} of `{topic}` meanwhile: stop all instances, then repeat the command"
    )]
    Changed { topic: String, lane: i32 },
    #[error("`{topic}` is there and {why}: name another topic with --into, or delete it if nothing uses it")]
    NoCopy { topic: String, why: String },
}

/// A copied topic.
#[derive(Debug)]
pub struct Relaned {
    pub from: String,
    pub before: i32,
    pub into: String,
    pub lanes: i32,
    /// Tracked orders.
    pub orders: usize,
    /// Records that were written now. An earlier, interrupted run may have written others.
    pub written: usize,
}

/// Copies the tracking topic into `into`, or one that is named after it, with `lanes` partitions.
///
/// # Errors
/// [`RelaneError`]. Nothing of the old topic has been changed, and the command may be repeated.
pub async fn relane(config: &Config, lanes: i32, into: Option<String>) -> Result<Relaned, RelaneError> {
    let connection = Connection::from(&config.kafka);
    block_in_place(|| check_nobody_runs(config, &connection))?;
    let from = config.kafka.topics.tracking.clone();
    let into = into.unwrap_or_else(|| format!("{from}-{lanes}"));
    let admin = Admin::open(&connection, PATIENCE)?;
    let missing = || KafkaFault::Topic(format!("the tracking topic `{from}` is not there: nothing is to be copied"));
    let before = admin.partitions(&from, TRACKED)?.ok_or_else(missing)?;
    if before == lanes || from == into {
        return Err(RelaneError::SameLanes { topic: from, lanes: before });
    }
    let is_complete = prepare(&admin, &into, lanes, config.kafka.replication_factor).await?;
    let copy = Copy { connection, from, before, into, lanes, is_complete };
    let (orders, written) = block_in_place(|| copy.run())?;
    if !is_complete {
        admin.compact(&copy.into).await?;
    }
    let Copy { from, into, .. } = copy;
    Ok(Relaned { from, before, into, lanes, orders, written })
}

fn check_nobody_runs(config: &Config, connection: &Connection) -> Result<(), RelaneError> {
    let dir = &config.spool.dir;
    if Spool::holder(dir)? != Holder::Nobody {
        return Err(RelaneError::Locked(dir.display().to_string()));
    }
    if !config.cluster.enabled {
        return Ok(());
    }
    let group = &config.cluster.group_id;
    let GroupView { members, .. } = GroupView::ask(connection, group, &config.kafka.topics.tracking, PATIENCE)?;
    if members.is_empty() {
        return Ok(());
    }
    let members = members.into_iter().map(|member| format!("`{}` at {}", member.name, member.host)).collect();
    Err(RelaneError::Running { group: group.clone(), members })
}

/// Creates the new topic if it is not there. Returns whether it is complete already.
async fn prepare(admin: &Admin, into: &str, lanes: i32, replication: i32) -> Result<bool, RelaneError> {
    let no_copy = |why: String| RelaneError::NoCopy { topic: into.to_owned(), why };
    match admin.partitions(into, TRACKED)? {
        Some(there) if there != lanes => return Err(no_copy(format!("has {there} partitions"))),
        Some(_) => {
            let settings = admin.settings_of_topic(into).await?;
            let get = |key: &str| settings.get(key).map_or("unknown", String::as_str);
            return match (get("cleanup.policy"), get("retention.ms"), get("retention.bytes")) {
                ("compact", ..) => Ok(true),
                ("delete", "-1", "-1") => Ok(false),
                _ => Err(no_copy("was not made by this command: its records are deleted after a while".to_owned())),
            };
        }
        None => {}
    }
    let topic = NewTopic::new(into, lanes, TopicReplication::Fixed(replication))
        // No program publishes with a tracking topic like this one.
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1")
        .set("retention.bytes", "-1");
    admin.create(&[&topic], false).await?;
    let deadline = Instant::now() + PATIENCE;
    while admin.partitions(into, TRACKED)?.is_none() {
        if Instant::now() > deadline {
            let why = format!("the broker has created {into} and does not show it yet");
            return Err(KafkaFault::Passing { what: "creating topics", why }.into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(false)
}

/// The partition and the value's hash of each key, by the key's hash.
type Digest = HashMap<u128, (i32, u128)>;

struct Copy {
    connection: Connection,
    from: String,
    before: i32,
    into: String,
    lanes: i32,
    /// Whether the new topic may be in use.
    is_complete: bool,
}

impl Copy {
    /// Returns how many orders are tracked, and how many records were written.
    fn run(&self) -> Result<(usize, usize), RelaneError> {
        // Whoever still publishes is fenced before the first record is read.
        let producers = (0..self.before).map(|lane| self.open(lane)).collect::<Result<Vec<_>, _>>()?;
        let (there, mut expected, mut written) = (self.digest()?, Digest::new(), 0);
        let mut readers = Vec::new();
        for (lane, producer) in (0..).zip(producers) {
            let mut reader = self.reader(&self.from, lane);
            let records = latest(&mut reader)?;
            readers.push(reader);
            let mut missing = Vec::new();
            for (key, value) in &records {
                let home = self.home(key, lane)?;
                let (key_hash, value_hash) = (xxh3_128(key), xxh3_128(value));
                expected.insert(key_hash, (home, value_hash));
                if there.get(&key_hash) != Some(&(home, value_hash)) {
                    missing.push(self.record(home, key, value));
                }
            }
            if self.is_complete && !missing.is_empty() {
                return Err(self.no_copy(&format!("lacks {} of the old topic or has newer ones", missing.len())));
            }
            written += missing.len();
            self.write(producer, lane, &missing)?;
        }
        if self.digest()? != expected {
            return Err(self.no_copy("holds records that the old topic does not"));
        }
        for mut reader in readers {
            let lane = reader.lane();
            let changed = || RelaneError::Changed { topic: self.from.clone(), lane };
            let log: &mut dyn TrackingLog = &mut reader;
            log.try_each(|_, _, _| Err(changed()))?;
        }
        Ok((expected.len(), written))
    }

    fn open(&self, lane: i32) -> Result<Transactions, KafkaFault> {
        Transactions::open(&self.connection, lane, &self.from, PATIENCE)
    }

    fn reader(&self, topic: &str, lane: i32) -> TrackingReader {
        TrackingReader::new(self.connection.clone(), topic.to_owned(), lane, PATIENCE)
    }

    /// What the new topic holds.
    fn digest(&self) -> Result<Digest, KafkaFault> {
        let mut digest = Digest::new();
        for lane in 0..self.lanes {
            let records = latest(&mut self.reader(&self.into, lane))?;
            digest.extend(records.iter().map(|(key, value)| (xxh3_128(key), (lane, xxh3_128(value)))));
        }
        Ok(digest)
    }

    /// The lane to which a record of the old `lane` belongs now.
    fn home(&self, key: &[u8], lane: i32) -> Result<i32, RelaneError> {
        let key = std::str::from_utf8(key).ok().and_then(|key| key.parse::<OrderKey>().ok());
        let key = key.ok_or_else(|| RelaneError::NoOrder { topic: self.from.clone(), lane })?;
        Ok(lane_of(&key.store, self.lanes))
    }

    fn record<'a>(&'a self, home: i32, key: &'a [u8], value: &'a [u8]) -> OutgoingRecord<'a> {
        OutgoingRecord {
            topic: &self.into,
            partition: Some(home),
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    fn write(&self, mut producer: Transactions, lane: i32, records: &[OutgoingRecord<'_>]) -> Result<(), KafkaFault> {
        for batch in records.chunks(BATCH) {
            if producer.must_be_replaced() {
                producer = self.open(lane)?;
            }
            producer.begin()?;
            producer.deliver(batch)?;
            producer.commit()?;
        }
        Ok(())
    }

    fn no_copy(&self, why: &str) -> RelaneError {
        RelaneError::NoCopy { topic: self.into.clone(), why: why.to_owned() }
    }
}

/// The last record of each key that has not been removed.
fn latest(log: &mut dyn TrackingLog) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, KafkaFault> {
    let mut records = BTreeMap::new();
    log.try_each(|_, key, value| {
        match value {
            Some(value) => records.insert(key.to_vec(), value.to_vec()),
            None => records.remove(key),
        };
        Ok::<_, KafkaFault>(())
    })?;
    Ok(records)
}
