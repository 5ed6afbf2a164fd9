//! Traits for the parts of Kafka that a lane uses: the seam at which a simulation puts a broker that loses answers,
//! fences producers and goes away.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::{Delivered, KafkaFault, OutgoingRecord};

/// The future of a Kafka operation. It may block its thread if only the lane's own thread awaits it.
pub type KafkaFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, KafkaFault>> + 'a>>;

/// A change in the lanes that a member of the group owns.
#[derive(Debug)]
pub enum GroupEvent {
    /// These lanes are this instance's now.
    Assigned(Vec<i32>),
    /// Another instance is to get these lanes, as soon as this one [lets them go](Group::let_go).
    Revoked(Vec<i32>),
    /// The group has given up this instance: others may own these lanes already.
    Lost(Vec<i32>),
    /// The group can't be used, for a reason that does not pass.
    Failed(KafkaFault),
}

/// The group of the instances that share the lanes, as one member sees it.
pub trait Group: Send + Sync {
    /// Whether the coordinator still takes this instance for the owner of the lane, as it knows it at this moment. Blocks.
    ///
    /// # Errors
    /// The coordinator does not answer.
    fn owns(&self, lane: i32) -> Result<bool, KafkaFault>;
    /// Lets revoked lanes go: from now on others may get them.
    fn let_go(&self, lanes: &[i32]);
}

/// A member's handle of its group, and what happens to it. It leaves the group when the handle is dropped.
pub type Membership = (Arc<dyn Group>, UnboundedReceiver<GroupEvent>);

/// Opens producers and tracking readers for lanes. All errors are [`KafkaFault`]s.
pub trait Broker: Send + Sync {
    /// Creates a lane's producer, fences any former owner of the lane, and settles the transaction that it may have
    /// left open.
    fn open(&self, lane: i32, deadline: Duration) -> KafkaFuture<'_, Box<dyn Producer>>;
    /// A reader of the lane's tracking partition, from its beginning. It gives up after `patience` without progress.
    fn tracking(&self, lane: i32, patience: Duration) -> Box<dyn TrackingLog>;
    /// Whether no partition of the tracking topic has ever held a record although the orders topic has. Each transaction
    /// with an order writes to both, so the tracking topic was deleted. Blocks.
    fn tracking_is_void(&self, patience: Duration) -> Result<bool, KafkaFault>;
    /// Joins the group of the instances that share the lanes.
    fn join(&self) -> Result<Membership, KafkaFault>;
    /// The broker aborts a transaction after this long without a sign of life.
    fn transaction_timeout(&self) -> Duration;
}

/// A lane's transactions, one at a time. After any error the outcome is unknown and the producer must be dropped.
pub trait Producer {
    fn begin(&self) -> KafkaFuture<'_, ()>;
    /// Sends `records` and waits until the broker has acknowledged each one. The results are in the order of the
    /// records.
    fn deliver<'a>(&'a self, records: &'a [OutgoingRecord<'a>]) -> KafkaFuture<'a, Vec<Delivered>>;
    /// Commits the transaction. An error says nothing about the outcome.
    fn commit(&self) -> KafkaFuture<'_, ()>;
    /// Whether the next transaction needs a new producer.
    fn must_be_replaced(&self) -> bool;
    /// Whether no broker answered when one was last needed.
    fn all_brokers_are_down(&self) -> bool;
}

/// A lane's tracking partition. Each reading continues where the last one ended.
pub trait TrackingLog: Send {
    fn lane(&self) -> i32;
    /// The next offset to read.
    fn position(&self) -> i64;
    /// Passes offset, key and value of every record between the position and the partition's true end to `apply`, in order.
    /// If `apply` breaks off at a record, the next reading starts with that record. Blocks.
    fn read_to_end(&mut self, apply: &mut Apply<'_>) -> Result<(), KafkaFault>;
}

/// Handles a record: its offset, its key, and its value unless it is a tombstone.
pub type Apply<'a> = dyn FnMut(i64, &[u8], Option<&[u8]>) -> ControlFlow<()> + 'a;

impl dyn TrackingLog + '_ {
    /// Reads to the end with an `apply` that can fail.
    ///
    /// # Errors
    /// A failed reading, or the first error of `apply`. Records applied until then stay applied: reading them again
    /// changes nothing.
    pub fn try_each<E: From<KafkaFault>>(
        &mut self,
        mut apply: impl FnMut(i64, &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut failed = None;
        self.read_to_end(&mut |offset, key, value| match apply(offset, key, value) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}
