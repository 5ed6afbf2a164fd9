//! Implements the traits of [`super::broker`] with a real cluster.

use std::time::Duration;

use super::broker::{Broker, KafkaFuture, Membership, Producer, TrackingLog};
use super::settings::Isolation;
use super::topics::TopicNames;
use super::tracking_reader::TrackingReader;
use super::{Connection, Contact, Delivered, GroupOptions, KafkaFault, OutgoingRecord, Transactions, access, group};

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
            let transactions = Transactions::open(&self.connection, lane, &self.topics.tracking, deadline)?;
            let (connection, topics) = (self.connection.clone(), self.topics.clone());
            Ok(Box::new(LaneProducer { transactions, connection, topics }) as Box<dyn Producer>)
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

struct LaneProducer {
    transactions: Transactions,
    connection: Connection,
    topics: TopicNames,
}

impl LaneProducer {
    /// Adds to a fault the topics that this user may not write to, if it is about that.
    async fn name_forbidden_topics(&self, fault: KafkaFault) -> KafkaFault {
        if !matches!(fault, KafkaFault::NotAllowed { missing: None, .. }) {
            return fault;
        }
        let written: Vec<&str> = self.topics.written().map(String::as_str).collect();
        match access::refused_writes(&self.connection, &self.topics.tracking, &written).await {
            Ok(refused) if !refused.is_empty() => fault.lacking(|| self.connection.acl_on_topics(&["Write"], refused)),
            _ => {
                let all = written.into_iter().chain([self.topics.tracking.as_str()]);
                fault.lacking(|| self.connection.acl_on_topics(&["Write"], all))
            }
        }
    }
}

impl Producer for LaneProducer {
    fn begin(&self) -> KafkaFuture<'_, ()> {
        Box::pin(async { self.transactions.begin() })
    }

    fn deliver<'a>(&'a self, records: &'a [OutgoingRecord<'a>]) -> KafkaFuture<'a, Vec<Delivered>> {
        Box::pin(async {
            match self.transactions.deliver(records) {
                Err(fault) => Err(self.name_forbidden_topics(fault).await),
                delivered => delivered,
            }
        })
    }

    fn commit(&self) -> KafkaFuture<'_, ()> {
        Box::pin(async { self.transactions.commit() })
    }

    fn must_be_replaced(&self) -> bool {
        self.transactions.must_be_replaced()
    }

    fn all_brokers_are_down(&self) -> bool {
        self.transactions.all_brokers_are_down()
    }
}
