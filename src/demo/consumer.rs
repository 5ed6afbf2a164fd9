//! A consumer of the orders topic, as a seller's own system would be one: it sees what is committed, and nothing else.

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
use crate::kafka::{Connection, KafkaFault};

const CALL: Duration = Duration::from_secs(10);

/// Why the consumer sees nothing more.
#[derive(Debug, Error)]
pub enum DemoConsumerError {
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// An event that can't be understood.
    #[error("an event on the orders topic can't be decoded: {0}")]
    Decode(#[from] DecodeError),
}

/// Reads the orders topic from its beginning, all partitions, in no group.
pub struct DemoConsumer {
    consumer: StreamConsumer<Watch>,
    topic: String,
    partitions: i32,
    decoder: Decoder,
}

/// The end of each partition at one moment.
#[derive(Debug)]
pub struct Ends(Vec<(i32, i64)>);

impl DemoConsumer {
    /// Takes its place before the first event. The topic has `partitions` partitions.
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
        Ok(Self { consumer, topic: topic.to_owned(), partitions, decoder })
    }

    /// The next event as it stands in the topic; none once a passing error was met. May be cancelled: what was not
    /// returned comes at the next call.
    ///
    /// # Errors
    /// Kafka's.
    pub async fn next(&self) -> Result<Option<Vec<u8>>, DemoConsumerError> {
        match self.consumer.recv().await {
            Ok(message) => Ok(message.payload().map(<[u8]>::to_vec)),
            Err(error) if is_about_the_group(&error) => Ok(None),
            Err(error) => match KafkaFault::of("reading the orders topic", 0, &error) {
                // An offset that is gone is among what librdkafka calls passing, and would be a hole in what is seen.
                passing @ KafkaFault::Passing { .. } if is_gone(&error) => Err(passing.into()),
                KafkaFault::Passing { .. } => Ok(None),
                fault => Err(fault.into()),
            },
        }
    }

    /// The event in a message.
    ///
    /// # Errors
    /// [`DemoConsumerError::Decode`].
    pub async fn decode(&mut self, message: &[u8]) -> Result<OrderEvent, DemoConsumerError> {
        Ok(self.decoder.decode(message).await?)
    }

    /// Where the topic ends now, for a consumer that sees what is committed. Blocks for a moment.
    ///
    /// # Errors
    /// Kafka's.
    pub fn ends(&self) -> Result<Ends, DemoConsumerError> {
        let end = |partition| {
            let (_, end) = self.consumer.fetch_watermarks(&self.topic, partition, CALL).map_err(fault)?;
            Ok((partition, end))
        };
        (0..self.partitions).map(end).collect::<Result<_, DemoConsumerError>>().map(Ends)
    }

    /// Whether all before `ends` was returned. Markers of transactions take offsets too and are never returned, so this
    /// goes by the position.
    #[must_use]
    pub fn has_reached(&self, ends: &Ends) -> bool {
        // Fails only for partitions that were not assigned.
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
    KafkaFault::of("reading the orders topic", 0, &error).into()
}
