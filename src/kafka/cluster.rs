//! Implements the traits of [`super::broker`] with a real cluster.

use std::time::Duration;

use super::broker::{Broker, KafkaFuture, Membership, Producer, TrackingLog};
use super::settings::Isolation;
use super::topics::TopicNames;
use super::tracking_reader::TrackingReader;
use super::{Connection, Contact, Delivered, GroupOptions, KafkaFault, OutgoingRecord, Transactions, group};

/// A real cluster.
pub struct Cluster {
    pub connection: Connection,
    pub topics: TopicNames,
    /// The group of the instances that share the lanes.
    pub group: GroupOptions,
}

impl Broker for Cluster {
    fn open(&self, lane: i32, deadline: Duration) -> KafkaFuture<'_, Box<dyn Producer>> {
        Box::pin(async move {
            let transactions = Transactions::open(&self.connection, lane, deadline)?;
            Ok(Box::new(transactions) as Box<dyn Producer>)
        })
    }

    fn tracking(&self, lane: i32, patience: Duration) -> Box<dyn TrackingLog> {
        Box::new(TrackingReader::new(self.connection.clone(), self.topics.tracking.clone(), lane, patience))
    }

    fn tracking_is_void(&self, patience: Duration) -> Result<bool, KafkaFault> {
        let contact = Contact::open(&self.connection, Isolation::Uncommitted, "looking at the topics", patience)?;
        Ok(!contact.has_held_records(&self.topics.tracking)? && contact.has_held_records(&self.topics.orders)?)
    }

    fn join(&self) -> Result<Membership, KafkaFault> {
        group::join(&self.connection, &self.topics.tracking, &self.group)
    }

    fn transaction_timeout(&self) -> Duration {
        self.connection.transaction_timeout
    }
}

impl Producer for Transactions {
    fn begin(&self) -> KafkaFuture<'_, ()> {
        Box::pin(async { Transactions::begin(self) })
    }

    fn deliver<'a>(&'a self, records: &'a [OutgoingRecord<'a>]) -> KafkaFuture<'a, Vec<Delivered>> {
        Box::pin(async { Transactions::deliver(self, records) })
    }

    fn commit(&self) -> KafkaFuture<'_, ()> {
        Box::pin(async { Transactions::commit(self) })
    }

    fn must_be_replaced(&self) -> bool {
        Transactions::must_be_replaced(self)
    }

    fn all_brokers_are_down(&self) -> bool {
        Transactions::all_brokers_are_down(self)
    }
}
