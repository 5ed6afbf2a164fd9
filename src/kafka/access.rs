//! Checks whether this user may read and write topics, before anything depends on it. Nothing is written.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfig as _, FromClientConfigAndContext as _};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::block_in_place;

use super::reasons::Watch;
use super::settings::Isolation;
use super::tracking_reader::ClosedInBackground;
use super::{Connection, KafkaFault};

/// Time limit for one answer. A missing answer counts as "allowed": whatever needs the permission will report its lack.
const CALL: Duration = Duration::from_secs(5);

/// Fails if this user may not read `topic`.
///
/// # Errors
/// [`KafkaFault::NotAllowed`], or settings from which no client can be made.
pub fn check_read(connection: &Connection, topic: &str) -> Result<(), KafkaFault> {
    let what = "reading a topic";
    let fault = |error: &KafkaError| KafkaFault::of(what, 0, error);
    block_in_place(|| {
        let mut config = connection.consumer(Isolation::Uncommitted)?;
        config.set("enable.partition.eof", "true");
        let consumer =
            BaseConsumer::from_config_and_context(&config, Watch::default()).map_err(|error| fault(&error))?;
        let consumer = ClosedInBackground::new(consumer);
        let mut end = TopicPartitionList::new();
        end.add_partition_offset(topic, 0, Offset::End)
            .and_then(|()| consumer.assign(&end))
            .map_err(|error| fault(&error))?;
        let deadline = Instant::now() + CALL;
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) if error.rdkafka_error_code() == Some(Code::TopicAuthorizationFailed) => {
                    return Err(fault(&error).lacking(|| connection.acl_on_topics(&["Read"], [topic])));
                }
                Some(Err(_)) | None => {}
            }
        }
        Ok(())
    })
}

/// What the broker says of an offset of the group.
#[derive(Default)]
struct Committed(Mutex<Option<Code>>);

impl ClientContext for Committed {}

impl ConsumerContext for Committed {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let code = result.err().and_then(|error| error.rdkafka_error_code()).unwrap_or(Code::NoError);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
    }
}

/// Fails if this user may not be a member of the group. Blocks.
///
/// An offset is committed of a partition that no topic has. Kafka first checks the permission, which is that of a
/// member, and then refuses the offset.
///
/// # Errors
/// [`KafkaFault::NotAllowed`], or settings from which no client can be made.
pub fn check_group(connection: &Connection, group_id: &str, topic: &str) -> Result<(), KafkaFault> {
    let what = "being a member of the group of instances";
    let fault = |error: &KafkaError| KafkaFault::of(what, -1, error);
    let mut config = connection.client()?;
    config.set("group.id", group_id).set("enable.auto.commit", "false");
    let consumer: BaseConsumer<Committed> =
        BaseConsumer::from_config_and_context(&config, Committed::default()).map_err(|error| fault(&error))?;
    // An offset that could not be sent holds the closing up for ten seconds.
    let consumer = ClosedInBackground::new(consumer);
    let mut nowhere = TopicPartitionList::new();
    nowhere
        .add_partition_offset(topic, i32::MAX, Offset::Offset(0))
        .and_then(|()| consumer.commit(&nowhere, CommitMode::Async))
        .map_err(|error| fault(&error))?;
    let refused = Code::GroupAuthorizationFailed;
    let deadline = Instant::now() + CALL;
    let mut told = None;
    while told.is_none() && Instant::now() < deadline {
        // A user who may not even see the group is refused before the offset is sent.
        let polled = consumer.poll(Duration::from_millis(100)).and_then(Result::err);
        told = polled.and_then(|error| error.rdkafka_error_code()).filter(|code| *code == refused);
        told = told.or(*consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner));
    }
    if told == Some(refused) {
        let fault = KafkaFault::of_code(what, -1, told, &refused.to_string());
        return Err(fault.lacking(|| connection.acl_on_group(group_id)));
    }
    Ok(())
}

/// Fails if this user may not write to one of the topics, as far as the broker reveals it without a write.
///
/// # Errors
/// [`KafkaFault::NotAllowed`], or settings from which no client can be made.
pub async fn check_writes(connection: &Connection, tracking: &str, others: &[&str]) -> Result<(), KafkaFault> {
    let refused = refused_writes(connection, tracking, others).await?;
    if refused.is_empty() {
        return Ok(());
    }
    let code = Code::TopicAuthorizationFailed;
    Err(KafkaFault::of_code("writing to a topic", 0, Some(code), &code.to_string())
        .lacking(|| connection.acl_on_topics(&["Write"], refused)))
}

/// Returns those of these topics to which this user may not write. All of them must exist.
///
/// Each topic is sent a record that no broker accepts: a producer must ask for 0, 1 or all acknowledgements, and this
/// one asks for two. Kafka first checks the permission to write, and then rejects the record without looking at it. The
/// tracking topic is tried first, to see whether the broker does so. There a tombstone without a key could do no harm,
/// and a compacted topic rejects it anyway. If the broker gives any other answer, nothing is sent to the other topics.
///
/// # Errors
/// Settings from which no client can be made.
pub async fn refused_writes(
    connection: &Connection,
    tracking: &str,
    others: &[&str],
) -> Result<Vec<String>, KafkaFault> {
    let mut config = connection.client()?;
    config
        .set("acks", "2")
        .set("message.timeout.ms", CALL.as_millis().to_string())
        .set("linger.ms", "0")
        .set("allow.auto.create.topics", "false");
    let producer: FutureProducer =
        FutureProducer::from_config(&config).map_err(|error| KafkaFault::of("making a producer", 0, &error))?;
    match answer(&producer, tracking).await {
        Some(Code::InvalidRequiredAcks) => {}
        Some(Code::TopicAuthorizationFailed) => return Ok(vec![tracking.to_owned()]),
        told => {
            tracing::debug!(?told, "the broker does not tell what may be written to");
            return Ok(Vec::new());
        }
    }
    let mut refused = Vec::new();
    for topic in others {
        if answer(&producer, topic).await == Some(Code::TopicAuthorizationFailed) {
            refused.push((*topic).to_owned());
        }
    }
    Ok(refused)
}

async fn answer(producer: &FutureProducer, topic: &str) -> Option<Code> {
    let tombstone: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(topic).partition(0);
    let sent = producer.send(tombstone, Timeout::After(CALL)).await;
    // The second half of the pair is the record: drop it.
    sent.err().and_then(|(error, _)| error.rdkafka_error_code())
}
