//! What a lane needs of Kafka: the seam at which a simulation puts a broker that loses answers, fences and goes away.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;

use super::{Delivered, KafkaFault, OutgoingRecord};

/// An answer that takes its time. One that is only awaited by the lane's own thread may block it.
pub type KafkaFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, KafkaFault>> + 'a>>;

/// Where lanes get their producers and what they have to read. For all errors see [`KafkaFault`].
#[allow(clippy::missing_errors_doc)]
pub trait Broker: Send + Sync {
    /// Makes a lane's producer, fences any former owner of the lane, and settles the transaction that it may have left
    /// open.
    fn open(&self, lane: i32, deadline: Duration) -> KafkaFuture<'_, Box<dyn Producer>>;
    /// A reader of the lane's tracking partition that has read nothing. `patience`: how long it goes on without any
    /// progress.
    fn tracking(&self, lane: i32, patience: Duration) -> Box<dyn TrackingLog>;
    /// After this long without a sign of life a transaction is aborted.
    fn transaction_timeout(&self) -> Duration;
}

/// A lane's transactions, one at a time. After any error the outcome is open, and the producer is of no more use.
#[allow(clippy::missing_errors_doc)]
pub trait Producer {
    /// Opens a transaction.
    fn begin(&self) -> KafkaFuture<'_, ()>;
    /// Hands over `records` and waits until each one is at the broker. The answers are in the order of the records.
    fn deliver<'a>(&'a self, records: &'a [OutgoingRecord<'a>]) -> KafkaFuture<'a, Vec<Delivered>>;
    /// Ends the transaction. An error says nothing about the outcome.
    fn commit(&self) -> KafkaFuture<'_, ()>;
    /// Whether the next transaction needs a new producer.
    fn must_be_replaced(&self) -> bool;
    /// Whether no broker answered when one was last needed.
    fn all_brokers_are_down(&self) -> bool;
}

/// A lane's tracking partition, read from where the last reading ended.
#[allow(clippy::missing_errors_doc)]
pub trait TrackingLog: Send {
    /// The partition.
    fn lane(&self) -> i32;
    /// The next offset to read.
    fn position(&self) -> i64;
    /// Hands every record between the position and the partition's true end to `apply`, key and value, in order. A
    /// record at which `apply` breaks off is handed over again by the next reading. Blocks.
    fn read_to_end(&mut self, apply: &mut Apply<'_>) -> Result<(), KafkaFault>;
}

/// Takes a record: its key, and its value unless it is a tombstone.
pub type Apply<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> ControlFlow<()> + 'a;

impl dyn TrackingLog + '_ {
    /// The same for what can fail.
    ///
    /// # Errors
    /// A failed reading, or the first error of `apply`. What was applied until then stays applied: reading it again
    /// changes nothing.
    pub fn try_each<E: From<KafkaFault>>(
        &mut self,
        mut apply: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        self.read_to_end(&mut |key, value| match apply(key, value) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}
