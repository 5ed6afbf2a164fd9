//! A Kafka broker inside this process: librdkafka's mock cluster, so that the program can be tried with nothing
//! installed.
//!
//! It keeps everything in memory, and at most 5 MiB of a partition. It shows records of open and aborted transactions,
//! fences nobody, and answers neither requests for a topic's settings nor requests to create a topic.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rdkafka::mocking::MockCluster;
use thiserror::Error;

use crate::kafka::topics::{Layout, TopicPlan};

/// The embedded broker can't be started.
#[derive(Debug, Error)]
#[error("the embedded broker can't be started: {0}. Use a real one: --bootstrap-servers HOST:PORT")]
pub struct BrokerError(String);

/// A running broker. Dropping it stops it and drops its records.
pub struct EmbeddedBroker {
    bootstrap_servers: String,
    layout: Layout,
    /// Dropping the sender ends the thread.
    alive: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedBroker {
    /// The most orders that the broker is sure to keep, even if pages don't compress: an event with its headers takes
    /// 970 bytes on average, over six partitions. With the usual compression, 40,000 were seen to fit.
    pub const MOST_ORDERS: usize = 30_000;

    /// Starts a broker with the topics of `plan` on a free port of the loopback address.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start(plan: &TopicPlan) -> Result<Self, BrokerError> {
        let (alive, until) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let plan = plan.clone();
        let layout = Layout { lanes: plan.lanes };
        // The mock cluster must stay on the thread that made it.
        let thread = thread::Builder::new().name("embedded-broker".into()).spawn(move || {
            let cluster = cluster(&plan);
            let told = started.send(cluster.as_ref().map(MockCluster::bootstrap_servers).map_err(ToString::to_string));
            if told.is_ok() && cluster.is_ok() {
                // Nothing is ever sent: this returns once the handle is dropped.
                until.recv().unwrap_or_default();
            }
        });
        let thread = thread.map_err(|error| BrokerError(error.to_string()))?;
        let bootstrap_servers =
            start.recv().map_err(|_| BrokerError("its thread has ended".to_owned()))?.map_err(BrokerError)?;
        Ok(Self { bootstrap_servers, layout, alive: Some(alive), thread: Some(thread) })
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// The layout of its topics, which can't be asked of the broker itself.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }
}

type Cluster = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

fn cluster(plan: &TopicPlan) -> Result<Cluster, rdkafka::error::KafkaError> {
    let cluster = MockCluster::new(1)?;
    let names = &plan.names;
    for (name, partitions) in
        [(&names.orders, plan.orders_partitions), (&names.tracking, plan.lanes), (&names.dead_letter, 1)]
    {
        cluster.create_topic(name, partitions, 1)?;
    }
    Ok(cluster)
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::debug!("the embedded broker's thread panicked");
        }
    }
}
