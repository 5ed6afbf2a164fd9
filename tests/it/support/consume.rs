//! Reads a topic from its beginning to its end, as a downstream system does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::{Kafka, wait};

const CALL_DEADLINE: Duration = Duration::from_secs(20);
/// A transaction that nobody ends keeps a `read_committed` consumer waiting, until the broker aborts it.
const READ_DEADLINE: Duration = Duration::from_secs(90);

/// A record as it was read.
#[derive(Debug, Clone)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// As text: all keys of ours are.
    pub key: Option<String>,
    /// Absent: a tombstone.
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl Record {
    /// The value of the first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl From<BorrowedMessage<'_>> for Record {
    fn from(message: BorrowedMessage<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("keys and header values are text");
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(text),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default()))).collect(),
        }
    }
}

/// Everything that a `read_committed` consumer sees, once no transaction is open any more.
pub fn committed(kafka: &Kafka, topic: &str) -> Vec<Record> {
    read_to_end(kafka, topic, "read_committed")
}

/// Everything that was ever written, also by aborted transactions: to prove that a fault did hit.
pub fn uncommitted(kafka: &Kafka, topic: &str) -> Vec<Record> {
    read_to_end(kafka, topic, "read_uncommitted")
}

/// The names of all topics.
pub fn topics(kafka: &Kafka) -> BTreeSet<String> {
    let metadata = metadata(&consumer(kafka, "read_committed"), None);
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

/// The ID of the broker that leads a partition; negative while none does.
pub fn leader(kafka: &Kafka, topic: &str, partition: i32) -> i32 {
    let metadata = metadata(&consumer(kafka, "read_committed"), Some(topic));
    let partitions = metadata.topics()[0].partitions();
    partitions.iter().find(|found| found.id() == partition).expect("the topic has this partition").leader()
}

/// The end is where the log ends now. To a `read_committed` consumer it seems to end at the first open transaction, so
/// another one is asked; and as markers of transactions take offsets too, only the position tells that it is reached.
fn read_to_end(kafka: &Kafka, topic: &str, isolation: &str) -> Vec<Record> {
    let ends = ends(&consumer(kafka, "read_uncommitted"), topic);
    let consumer = consumer(kafka, isolation);
    let mut assignment = TopicPartitionList::new();
    for (partition, _) in &ends {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();

    let mut records = Vec::new();
    let deadline = Instant::now() + READ_DEADLINE;
    while !ends.iter().all(|(partition, end)| *end == 0 || position(&consumer, topic, *partition) >= Some(*end)) {
        assert!(Instant::now() < deadline, "{topic} was not read to its end: is a transaction still open?");
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => records.push(Record::from(message)),
            // The others have the rest, or the deadline tells.
            Some(Err(error)) if is_of_a_dead_broker(&error) => {}
            Some(Err(error)) => panic!("{topic}: {error:?}"),
            None => {}
        }
    }
    records.retain(|record| ends.iter().any(|(partition, end)| record.partition == *partition && record.offset < *end));
    records
}

fn consumer(kafka: &Kafka, isolation: &str) -> BaseConsumer {
    let mut config = kafka.client();
    // The group is never joined; the client wants a name all the same.
    config.set("group.id", Uuid::now_v7().to_string()).set("enable.auto.commit", "false");
    config.set("isolation.level", isolation).set("auto.offset.reset", "error").set("fetch.wait.max.ms", "10");
    config.create().unwrap()
}

/// Partitions and their ends.
fn ends(consumer: &BaseConsumer, topic: &str) -> Vec<(i32, i64)> {
    let metadata = metadata(consumer, Some(topic));
    let topic_metadata = &metadata.topics()[0];
    assert!(topic_metadata.error().is_none(), "{topic}: {:?}", topic_metadata.error());
    let partitions = topic_metadata.partitions().iter().map(|partition| partition.id());
    partitions.map(|id| (id, answer(|| consumer.fetch_watermarks(topic, id, CALL_DEADLINE)).1)).collect()
}

fn metadata(consumer: &BaseConsumer, topic: Option<&str>) -> Metadata {
    answer(|| consumer.fetch_metadata(topic, CALL_DEADLINE))
}

/// Asks until a broker answers: where one of several is gone, a question may meet it before the client knows, or the new
/// leader before it knows how far its partition goes.
fn answer<T>(ask: impl Fn() -> Result<T, KafkaError>) -> T {
    let answer = wait::poll(READ_DEADLINE, || match ask() {
        Err(error) if is_of_a_dead_broker(&error) => None,
        answer => Some(answer.unwrap()),
    });
    answer.unwrap_or_else(|| panic!("no broker answered within {READ_DEADLINE:?}"))
}

/// Whether this error is of a broker that is not there, or not yet in its place: of several, another one answers.
fn is_of_a_dead_broker(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::DestroyBroker
                | Code::AllBrokersDown
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::OffsetNotAvailable
        )
    )
}

fn position(consumer: &BaseConsumer, topic: &str, partition: i32) -> Option<i64> {
    match consumer.position().unwrap().find_partition(topic, partition)?.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}
