//! A Kafka broker inside this process: librdkafka's own mock, for those who want to see the program before they install
//! anything.
//!
//! It keeps everything in memory, hides nothing of an open or aborted transaction, fences nobody, and keeps no more than
//! 5 MiB of a partition. It answers neither questions about topics' settings nor requests to create one.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rdkafka::mocking::MockCluster;
use thiserror::Error;

use crate::kafka::topics::{Layout, TopicPlan};

/// Why there is no embedded broker.
#[derive(Debug, Error)]
#[error("the embedded broker can't be started: {0}. Use a real one: --bootstrap-servers HOST:PORT")]
pub struct BrokerError(String);

/// A running broker; it ends when this is dropped, and what it held is gone.
pub struct EmbeddedBroker {
    bootstrap_servers: String,
    layout: Layout,
    /// Dropped to end the thread.
    alive: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedBroker {
    /// So many orders are kept to the last, even in pages that don't compress: an event and its headers take 970 bytes
    /// on average, over six partitions. Compressed as usual, 40,000 were seen to fit.
    pub const MOST_ORDERS: usize = 30_000;

    /// Starts it on a free port of the loopback address, with the topics of `plan`.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub fn start(plan: &TopicPlan) -> Result<Self, BrokerError> {
        let (alive, until) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let plan = plan.clone();
        let layout = Layout { lanes: plan.lanes };
        // The cluster may not leave the thread that made it.
        let thread = thread::Builder::new().name("embedded-broker".into()).spawn(move || {
            let cluster = cluster(&plan);
            let told = started.send(cluster.as_ref().map(MockCluster::bootstrap_servers).map_err(ToString::to_string));
            if told.is_ok() && cluster.is_ok() {
                // Nobody ever sends: this returns when the handle is gone.
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

    /// What it holds, since it can't be asked.
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
