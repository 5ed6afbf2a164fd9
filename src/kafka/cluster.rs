//! A real cluster behind the traits of [`super::broker`].

use std::time::Duration;

use super::broker::{Answer, Broker, Producer, TrackingLog};
use super::tracking_reader::TrackingReader;
use super::{Connection, Delivered, Record, Transactions};

/// A real cluster.
pub struct Cluster {
    /// The way to it.
    pub connection: Connection,
    /// Name of the tracking topic.
    pub tracking: String,
}

impl Broker for Cluster {
    fn open(&self, lane: i32, deadline: Duration) -> Answer<'_, Box<dyn Producer>> {
        Box::pin(async move {
            let transactions = Transactions::open(&self.connection, lane, deadline)?;
            Ok(Box::new(transactions) as Box<dyn Producer>)
        })
    }

    fn tracking(&self, lane: i32, patience: Duration) -> Box<dyn TrackingLog> {
        Box::new(TrackingReader::new(self.connection.clone(), self.tracking.clone(), lane, patience))
    }

    fn transaction_timeout(&self) -> Duration {
        self.connection.transaction_timeout
    }
}

impl Producer for Transactions {
    fn begin(&self) -> Answer<'_, ()> {
        Box::pin(async { Transactions::begin(self) })
    }

    fn deliver<'a>(&'a self, records: &'a [Record<'a>]) -> Answer<'a, Vec<Delivered>> {
        Box::pin(async { Transactions::deliver(self, records) })
    }

    fn commit(&self) -> Answer<'_, ()> {
        Box::pin(async { Transactions::commit(self) })
    }

    fn is_worn(&self) -> bool {
        Transactions::is_worn(self)
    }

    fn is_deserted(&self) -> bool {
        Transactions::is_deserted(self)
    }
}
