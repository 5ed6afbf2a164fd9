//! Whether this user may read and write topics, found out before anything depends on it. Nothing is written.

use std::time::{Duration, Instant};

use rdkafka::config::{FromClientConfig as _, FromClientConfigAndContext as _};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::block_in_place;

use super::reasons::Watch;
use super::settings::Isolation;
use super::tracking_reader::EndedBeside;
use super::{Connection, KafkaFault};

/// For one answer. What does not come in time is not held against anybody: whatever needs it will say so.
const CALL: Duration = Duration::from_secs(5);

/// Fails if this user may not read `topic`.
///
/// # Errors
/// [`KafkaFault::NotAllowed`], or settings of which no client can be made.
pub fn check_read(connection: &Connection, topic: &str) -> Result<(), KafkaFault> {
    let what = "reading a topic";
    let fault = |error: &KafkaError| KafkaFault::of(what, 0, error);
    block_in_place(|| {
        let mut config = connection.consumer(Isolation::Uncommitted)?;
        config.set("enable.partition.eof", "true");
        let consumer =
            BaseConsumer::from_config_and_context(&config, Watch::default()).map_err(|error| fault(&error))?;
        let consumer = EndedBeside::new(consumer);
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

/// Fails if this user may not write to one of the topics, as far as the broker tells it without being written to.
///
/// # Errors
/// [`KafkaFault::NotAllowed`], or settings of which no client can be made.
pub async fn check_writes(connection: &Connection, tracking: &str, others: &[&str]) -> Result<(), KafkaFault> {
    let refused = refused_writes(connection, tracking, others).await?;
    if refused.is_empty() {
        return Ok(());
    }
    let code = Code::TopicAuthorizationFailed;
    Err(KafkaFault::of_code("writing to a topic", 0, Some(code), &code.to_string())
        .lacking(|| connection.acl_on_topics(&["Write"], refused)))
}

/// Those of these topics to which this user may not write. All of them are there.
///
/// Each gets a record that no broker takes: a producer must ask for 0, 1 or all acknowledgements, and this one asks for
/// two. Kafka looks first whether the user may write, and then refuses that without looking at the record. Whether a
/// broker does so is found out with the tracking topic, where a tombstone without a key could do no harm, and which
/// refuses one if only because it is compacted: where it answers anything else, nothing is sent to the others.
///
/// # Errors
/// Settings of which no client can be made.
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
    // The pair's second half is the record.
    sent.err().and_then(|(error, _)| error.rdkafka_error_code())
}
