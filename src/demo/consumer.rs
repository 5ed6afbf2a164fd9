//! A `read_committed` consumer of the orders topic, as a seller's own system would have one.

use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use thiserror::Error;

use crate::avro::decoder::{DecodeError, Decoder};
use crate::avro::event::OrderEvent;
use crate::kafka::reasons::Watch;
use crate::kafka::settings::{Isolation, is_about_the_group};
use crate::kafka::{Connection, Contact, KafkaFault};

const READING: &str = "reading the orders topic";
/// How long a broker may take to say where a partition ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the consumer stopped.
#[derive(Debug, Error)]
pub enum DemoConsumerError {
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    #[error("an event on the orders topic can't be decoded: {0}")]
    Decode(#[from] DecodeError),
}

/// Reads all partitions of the orders topic from the beginning, without a consumer group.
pub struct DemoConsumer {
    consumer: StreamConsumer<Watch>,
    connection: Connection,
    topic: String,
    partitions: i32,
    decoder: Decoder,
}

/// The end offset of each partition at one moment.
#[derive(Debug)]
pub struct Ends(Vec<(i32, i64)>);

impl DemoConsumer {
    /// Assigns itself the `partitions` partitions of the topic, from the beginning.
    ///
    /// # Errors
    /// Kafka's.
    pub fn new(
        connection: &Connection,
        topic: &str,
        partitions: i32,
        decoder: Decoder,
    ) -> Result<Self, DemoConsumerError> {
        let config = connection.consumer(Isolation::Committed)?;
        let consumer = StreamConsumer::from_config_and_context(&config, Watch::default()).map_err(fault)?;
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning).map_err(fault)?;
        }
        consumer.assign(&all).map_err(fault)?;
        Ok(Self { consumer, connection: connection.clone(), topic: topic.to_owned(), partitions, decoder })
    }

    /// Returns the next record, or none after a temporary error. It may be cancelled: no record is lost by that.
    ///
    /// # Errors
    /// Kafka's.
    pub async fn next(&self) -> Result<Option<Vec<u8>>, DemoConsumerError> {
        match self.consumer.recv().await {
            Ok(message) => Ok(message.payload().map(<[u8]>::to_vec)),
            Err(error) if is_about_the_group(&error) => Ok(None),
            Err(error) => match KafkaFault::of(READING, 0, &error) {
                // librdkafka counts a lost offset among temporary errors. Here it would leave a gap in what was seen.
                passing @ KafkaFault::Passing { .. } if is_gone(&error) => Err(passing.into()),
                KafkaFault::Passing { .. } => Ok(None),
                fault => Err(fault.into()),
            },
        }
    }

    /// Decodes the event of a record.
    ///
    /// # Errors
    /// [`DemoConsumerError::Decode`].
    pub async fn decode(&mut self, message: &[u8]) -> Result<OrderEvent, DemoConsumerError> {
        Ok(self.decoder.decode(message).await?)
    }

    /// Returns where the topic ends now for a `read_committed` consumer. Blocks for a moment.
    ///
    /// # Errors
    /// Kafka's.
    pub fn ends(&self) -> Result<Ends, DemoConsumerError> {
        let contact = Contact::open(&self.connection, Isolation::Committed, READING, PATIENCE)?;
        contact.metadata_of(&self.topic)?;
        let end = |partition| Ok((partition, contact.watermarks(&self.topic, partition)?.1));
        (0..self.partitions).map(end).collect::<Result<_, DemoConsumerError>>().map(Ends)
    }

    /// Whether everything before `ends` was returned. It compares positions, because transaction markers take offsets
    /// too and are never returned.
    #[must_use]
    pub fn has_reached(&self, ends: &Ends) -> bool {
        // Fails only for partitions that are not assigned.
        let positions = self.consumer.position().unwrap_or_default();
        let position = |partition| match positions.find_partition(&self.topic, partition).map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => 0,
        };
        ends.0.iter().all(|&(partition, end)| position(partition) >= end)
    }
}

fn is_gone(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(error.rdkafka_error_code(), Some(Code::OffsetOutOfRange | Code::AutoOffsetReset))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn fault(error: KafkaError) -> DemoConsumerError {
    KafkaFault::of(READING, 0, &error).into()
}
