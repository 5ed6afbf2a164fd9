//! Reads a topic without a consumer group, and leaves nothing behind on the broker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::admin::partitions_in;
use super::reasons::Watch;
use super::settings::{Isolation, is_about_the_group};
use super::{Connection, Contact, KafkaFault};

const WHAT: &str = "reading a topic";
/// Time limit for one query to the broker.
const CALL: Duration = Duration::from_secs(10);
/// How long a scan continues without progress.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);

/// A record of the topic. Its contents may be personal, so `Debug` shows only its position.
pub struct ScannedRecord {
    pub partition: i32,
    pub offset: i64,
    /// When it was produced, if the topic tells.
    pub at: Option<Timestamp>,
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl ScannedRecord {
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The position as `partition:offset`, by which a person can name the record.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.partition, self.offset)
    }
}

impl std::fmt::Debug for ScannedRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScannedRecord")
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl From<&BorrowedMessage<'_>> for ScannedRecord {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            at: message.timestamp().to_millis().and_then(|millis| Timestamp::from_millisecond(millis).ok()),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
        }
    }
}

/// Where a scan begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is left.
    Beginning,
    /// At the first record produced at this time or later.
    Time(Timestamp),
    /// This many offsets before the end of each partition. Transaction markers take offsets too.
    Last(i64),
}

/// A consumer of all partitions of a topic.
pub struct TopicScan {
    consumer: StreamConsumer<Watch>,
    connection: Connection,
    topic: String,
    /// The end of each partition when the scan began, for partitions not yet read to it.
    left: BTreeMap<i32, i64>,
    whole: bool,
}

impl TopicScan {
    /// Opens `topic`. With [`Isolation::Committed`] the scan ends at the last committed record.
    ///
    /// # Errors
    /// The topic does not exist, or Kafka's own errors.
    pub fn open(connection: &Connection, topic: &str, isolation: Isolation, start: Start) -> Result<Self, KafkaFault> {
        block_in_place(|| Self::open_blocking(connection, topic, isolation, start))
            .map_err(|fault| lacking(fault, connection, topic))
    }

    fn open_blocking(
        connection: &Connection,
        topic: &str,
        isolation: Isolation,
        start: Start,
    ) -> Result<Self, KafkaFault> {
        let contact = Contact::open(connection, isolation, WHAT, CALL)?;
        let mut places = TopicPartitionList::new();
        let (mut left, mut whole) = (BTreeMap::new(), true);
        let partitions = partitions(&contact, topic).map_err(|fault| connection.looked_for(fault))?;
        for partition in 0..partitions {
            let (low, high) = contact.watermarks(topic, partition)?;
            let from = match start {
                Start::Beginning => low,
                Start::Last(count) => low.max(high.saturating_sub(count)),
                Start::Time(at) => first_at(&contact, topic, partition, at)?.unwrap_or(high).clamp(low, high),
            };
            whole &= from == low;
            if from < high {
                left.insert(partition, high);
            }
            places.add_partition_offset(topic, partition, Offset::Offset(from)).map_err(|error| fault(&error))?;
        }
        let mut config = connection.consumer(isolation)?;
        config.set("enable.partition.eof", "true");
        let consumer =
            StreamConsumer::from_config_and_context(&config, Watch::default()).map_err(|error| fault(&error))?;
        consumer.assign(&places).map_err(|error| fault(&error))?;
        Ok(Self { consumer, connection: connection.clone(), topic: topic.to_owned(), left, whole })
    }

    /// Whether the scan begins with the oldest record of every partition.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The next record; `None` once all records that existed when the scan was opened have been returned.
    ///
    /// # Errors
    /// A read that fails, or makes no progress.
    pub async fn next(&mut self) -> Result<Option<ScannedRecord>, KafkaFault> {
        let mut progress = Instant::now();
        while !self.left.is_empty() {
            match timeout(Duration::from_millis(200), self.consumer.recv()).await.ok() {
                Some(Ok(message)) => {
                    let seen = ScannedRecord::from(&message);
                    if self.left.get(&seen.partition).is_some_and(|end| seen.offset + 1 >= *end) {
                        self.left.remove(&seen.partition);
                    }
                    return Ok(Some(seen));
                }
                // A partition may end in markers and aborted records: only this event tells that they were passed.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.left.remove(&partition);
                    progress = Instant::now();
                }
                Some(Err(error)) => self.survive(&error)?,
                None => {}
            }
            if progress.elapsed() > PROGRESS_TIMEOUT {
                let why =
                    format!("no progress for {PROGRESS_TIMEOUT:?} in `{}`: see that all its brokers run", self.topic);
                let fault = KafkaFault::Passing { what: WHAT, why };
                return Err(self.consumer.context().reasons.explain(fault));
            }
        }
        Ok(None)
    }

    /// Waits for the next record, however long it takes. Cancel-safe.
    ///
    /// # Errors
    /// A read that fails permanently. A broker that is away is waited for.
    pub async fn wait(&self) -> Result<ScannedRecord, KafkaFault> {
        loop {
            match self.consumer.recv().await {
                Ok(message) => return Ok(ScannedRecord::from(&message)),
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => self.survive(&error)?,
            }
        }
    }

    /// All records up to the end.
    pub async fn all(mut self) -> Result<Vec<ScannedRecord>, KafkaFault> {
        let mut all = Vec::new();
        while let Some(seen) = self.next().await? {
            all.push(seen);
        }
        Ok(all)
    }

    /// Ignores errors of connections, which recover by themselves within the patience; one broker of several may stay
    /// out of reach.
    fn survive(&self, error: &KafkaError) -> Result<(), KafkaFault> {
        let passing = match fault(error) {
            KafkaFault::Passing { .. } | KafkaFault::NoConnection { .. } if !is_gone(error) => Ok(()),
            _ if is_about_the_group(error) => Ok(()),
            fault => Err(lacking(fault, &self.connection, &self.topic)),
        };
        passing.and(self.consumer.context().reasons.lasting(WHAT).map_or(Ok(()), Err))
    }
}

fn lacking(fault: KafkaFault, connection: &Connection, topic: &str) -> KafkaFault {
    fault.lacking(|| connection.acl_on_topics(&["Read"], [topic]))
}

fn partitions(contact: &Contact, topic: &str) -> Result<i32, KafkaFault> {
    let metadata = contact.metadata_of(topic)?;
    let found =
        partitions_in(&metadata, topic).map_err(|code| KafkaFault::of_code(WHAT, 0, Some(code), &code.to_string()))?;
    found.ok_or_else(|| {
        KafkaFault::Topic(format!(
            "the topic `{topic}` is not there: `imotriz-kafka topics ensure` creates it, or `kafka.topics` names another"
        ))
    })
}

fn first_at(contact: &Contact, topic: &str, partition: i32, at: Timestamp) -> Result<Option<i64>, KafkaFault> {
    let mut wanted = TopicPartitionList::new();
    wanted
        .add_partition_offset(topic, partition, Offset::Offset(at.as_millisecond()))
        .map_err(|error| fault(&error))?;
    let found = contact.offsets_for_times(&wanted)?;
    Ok(match found.find_partition(topic, partition).map(|found| found.offset()) {
        Some(Offset::Offset(offset)) => Some(offset),
        _ => None,
    })
}

/// Whether an offset no longer exists. librdkafka counts this as passing, but it would leave a gap in the scan.
fn is_gone(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset))
}

fn fault(error: &KafkaError) -> KafkaFault {
    KafkaFault::of(WHAT, 0, error)
}
