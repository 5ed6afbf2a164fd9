//! A look at a topic from outside: in no group, with nothing left behind on the broker.

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
/// For one question to the broker.
const CALL: Duration = Duration::from_secs(10);
/// How long it goes on without any progress.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);

/// A record as it stands in the topic. Its contents may be personal, so `Debug` tells its place alone.
pub struct ScannedRecord {
    /// The partition.
    pub partition: i32,
    /// The offset in it.
    pub offset: i64,
    /// When it was produced, where the topic tells.
    pub at: Option<Timestamp>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers, as text.
    pub headers: Vec<(String, String)>,
}

impl ScannedRecord {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Where it stands: `partition:offset`, by which a person can name it.
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

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is left.
    Beginning,
    /// With the first record produced at this time or later.
    Time(Timestamp),
    /// This many offsets before the end of each partition. Markers of transactions take offsets too.
    Last(i64),
}

/// A consumer that stands somewhere in all partitions of a topic.
pub struct TopicScan {
    consumer: StreamConsumer<Watch>,
    connection: Connection,
    topic: String,
    /// Where each partition that is not yet read to its end ended when this began.
    left: BTreeMap<i32, i64>,
    whole: bool,
}

impl TopicScan {
    /// Opens `topic`. With [`Isolation::Committed`] its end is that of what is committed.
    ///
    /// # Errors
    /// A topic that is not there, or Kafka's own.
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

    /// Whether it begins with the oldest record of every partition.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The next record; none once all that was there when it was opened has been returned.
    ///
    /// # Errors
    /// A read that fails, or gets no further.
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
                // Markers and given up records may be the last ones: only this tells that they were passed.
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

    /// The next record, whenever it comes. May be cancelled.
    ///
    /// # Errors
    /// A read that fails for good; a broker that is away is waited for.
    pub async fn wait(&self) -> Result<ScannedRecord, KafkaFault> {
        loop {
            match self.consumer.recv().await {
                Ok(message) => return Ok(ScannedRecord::from(&message)),
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => self.survive(&error)?,
            }
        }
    }

    /// Everything up to the end.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn all(mut self) -> Result<Vec<ScannedRecord>, KafkaFault> {
        let mut all = Vec::new();
        while let Some(seen) = self.next().await? {
            all.push(seen);
        }
        Ok(all)
    }

    /// Broken connections mend by themselves, within the patience, and one broker of several may be out of reach for
    /// good.
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

/// An offset that is gone is among what librdkafka calls passing, and would be a hole in what is seen.
fn is_gone(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset))
}

fn fault(error: &KafkaError) -> KafkaFault {
    KafkaFault::of(WHAT, 0, error)
}
