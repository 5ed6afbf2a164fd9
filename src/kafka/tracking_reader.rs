//! Reads a lane's tracking partition to its true end.
//!
//! The end is the high watermark that a `read_uncommitted` consumer sees, taken *after* `init_transactions` has settled
//! the lane's open transaction. A `read_committed` consumer's own end is the last stable offset. An open transaction
//! holds that back, so stopping there could miss committed records. Waiting for a message just before the end could
//! wait for ever, since commit markers take offsets too. So the reader continues until its position has reached the
//! high watermark.

use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::broker::{Apply, TrackingLog};
use super::reasons::Watch;
use super::settings::{Isolation, is_about_the_group};
use super::{Connection, Contact, KafkaFault};

const WHAT: &str = "reading the tracking topic";

/// Closes the consumer on a detached thread when it is dropped. Closing takes 100 ms, since the library treats it as a
/// group member, which it never was.
pub(super) struct ClosedInBackground<C: ConsumerContext + 'static = Watch>(Option<BaseConsumer<C>>);

impl<C: ConsumerContext + 'static> ClosedInBackground<C> {
    pub(super) fn new(consumer: BaseConsumer<C>) -> Self {
        Self(Some(consumer))
    }
}

impl<C: ConsumerContext + 'static> Deref for ClosedInBackground<C> {
    type Target = BaseConsumer<C>;

    fn deref(&self) -> &BaseConsumer<C> {
        self.0.as_ref().expect("it is there until the end")
    }
}

impl<C: ConsumerContext + 'static> Drop for ClosedInBackground<C> {
    fn drop(&mut self) {
        let consumer = self.0.take();
        // If no thread can be created, the consumer is closed here.
        drop(thread::Builder::new().spawn(|| drop(consumer)));
    }
}

/// The reader of one partition, with its position.
#[derive(Debug)]
pub struct TrackingReader {
    connection: Connection,
    topic: String,
    lane: i32,
    /// The next offset to read.
    position: i64,
    patience: Duration,
}

impl TrackingLog for TrackingReader {
    fn lane(&self) -> i32 {
        self.lane
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn read_to_end(&mut self, apply: &mut Apply<'_>) -> Result<(), KafkaFault> {
        let (low, high) = self.watermarks()?;
        if low > self.position {
            return Err(KafkaFault::Topic(format!(
                "partition {} of the tracking topic `{}` begins at offset {low}: records were deleted, which compaction \
                 never does there, and orders that they were about would be published again. Restore the topic, or name \
                 another one in `kafka.topics.tracking` in full knowledge of that",
                self.lane, self.topic
            )));
        }
        if self.position > high {
            return Err(KafkaFault::Topic(format!(
                "the tracking topic `{}` ends at offset {high} of partition {}, before what was read of it ({}): it was \
                 deleted or lost records while the program ran. Restart to load it anew, and look into it first: orders \
                 that it no longer holds would be published again",
                self.topic, self.lane, self.position
            )));
        }
        if self.position == high {
            return Ok(());
        }
        let consumer = ClosedInBackground::new(self.assigned()?);
        // Reading the clock for each of a million records would take a tenth of the time.
        let mut idle_since = None;
        while self.position < high {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    if apply(message.offset(), message.key().unwrap_or_default(), message.payload()).is_break() {
                        return Ok(());
                    }
                    self.position = message.offset() + 1;
                    idle_since = None;
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(_))) | None => {
                    if self.passed_markers(&consumer)? {
                        idle_since = None;
                        continue;
                    }
                }
                Some(Err(error)) => {
                    self.survive(&error)?;
                    if let Some(fault) = consumer.context().reasons.lasting(WHAT) {
                        return Err(fault);
                    }
                }
            }
            if idle_since.get_or_insert_with(Instant::now).elapsed() > self.patience {
                let why = format!(
                    "no progress for {:?} at offset {} of {high}. If the broker is well, a transaction that nobody ended \
                     holds the partition back: `kafka-transactions.sh find-hanging` names it, `abort` ends it",
                    self.patience, self.position
                );
                return Err(consumer.context().reasons.explain(KafkaFault::Passing { what: WHAT, why }));
            }
        }
        Ok(())
    }
}

impl TrackingReader {
    /// A reader at the beginning of the partition. It gives up after `patience` without progress.
    #[must_use]
    pub fn new(connection: Connection, topic: String, lane: i32, patience: Duration) -> Self {
        Self { connection, topic, lane, position: 0, patience }
    }

    /// The first and the last offset, including open transactions.
    fn watermarks(&self) -> Result<(i64, i64), KafkaFault> {
        let contact = Contact::open(&self.connection, Isolation::Uncommitted, WHAT, self.patience)?;
        contact.metadata_of(&self.topic)?;
        contact.watermarks(&self.topic, self.lane)
    }

    fn assigned(&self) -> Result<BaseConsumer<Watch>, KafkaFault> {
        let mut config = self.connection.consumer(Isolation::Committed)?;
        config.set("enable.partition.eof", "true");
        // All lanes load at the same time at a start, and what librdkafka queues takes several times the bytes that it
        // counts. The allocator keeps that for good.
        config.set("queued.max.messages.kbytes", "512").set("fetch.message.max.bytes", "131072");
        let consumer = BaseConsumer::from_config_and_context(&config, Watch::default());
        let consumer = consumer.map_err(|error| self.fault(&error))?;
        let mut partitions = TopicPartitionList::new();
        partitions
            .add_partition_offset(&self.topic, self.lane, Offset::Offset(self.position))
            .and_then(|()| consumer.assign(&partitions))
            .map_err(|error| self.fault(&error))?;
        Ok(consumer)
    }

    /// Advances the position past commit markers and compacted or aborted records, for which there is no message.
    fn passed_markers(&mut self, consumer: &BaseConsumer<Watch>) -> Result<bool, KafkaFault> {
        let positions = consumer.position().map_err(|error| self.fault(&error))?;
        let offset = positions.find_partition(&self.topic, self.lane).map(|partition| partition.offset());
        match offset {
            Some(Offset::Offset(offset)) if offset > self.position => {
                self.position = offset;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Ignores errors of connections, which recover by themselves within the patience; one broker of several may stay
    /// out of reach. Any other error ends the reading.
    fn survive(&self, error: &KafkaError) -> Result<(), KafkaFault> {
        use RDKafkaErrorCode as Code;
        if is_about_the_group(error) {
            return Ok(());
        }
        match error.rdkafka_error_code() {
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::SSL
                | Code::Authentication
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::RequestTimedOut,
            ) => Ok(()),
            _ => Err(self.fault(error)),
        }
    }

    fn fault(&self, error: &KafkaError) -> KafkaFault {
        KafkaFault::of(WHAT, self.lane, error).lacking(|| self.connection.acl_on_topics(&["Read"], [&self.topic]))
    }
}
