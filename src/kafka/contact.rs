//! Queries to the cluster: which topics exist, where a partition ends. For most commands this is the first contact, and
//! so the place where wrong settings show.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::groups::GroupList;
use rdkafka::metadata::Metadata;

use super::reasons::Watch;
use super::settings::Isolation;
use super::{Connection, KafkaFault};

/// Length of the first attempt at a query; then it is checked whether the query can succeed at all, and each further
/// attempt is twice as long. It is long enough to try each address of a host with several.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// A client that joins no group and reads no topic. All calls block.
pub(crate) struct Contact {
    client: BaseConsumer<Watch>,
    what: &'static str,
    patience: Duration,
}

impl Contact {
    /// `what` names the queries in errors; `patience` limits each query.
    pub(crate) fn open(
        connection: &Connection,
        isolation: Isolation,
        what: &'static str,
        patience: Duration,
    ) -> Result<Self, KafkaFault> {
        Self::open_with(Watch::default(), connection, isolation, what, patience)
    }

    fn open_with(
        watch: Watch,
        connection: &Connection,
        isolation: Isolation,
        what: &'static str,
        patience: Duration,
    ) -> Result<Self, KafkaFault> {
        let mut config = connection.consumer(isolation)?;
        // A query needs no group, and a client in a group takes 100 ms to close.
        config.remove("group.id");
        // Otherwise a broker with automatic topic creation takes a query for a topic by name as an order to create it
        // with defaults.
        config.set("allow.auto.create.topics", "false");
        let client =
            BaseConsumer::from_config_and_context(&config, watch).map_err(|error| KafkaFault::of(what, 0, &error))?;
        Ok(Self { client, what, patience })
    }

    /// The brokers, and all topics that this user may see.
    pub(crate) fn metadata(&self) -> Result<Metadata, KafkaFault> {
        self.ask(|patience| self.client.fetch_metadata(None, patience))
    }

    /// One topic, queried by its name: only then the answer tells an absent topic from one that this user may not see.
    pub(crate) fn metadata_of(&self, topic: &str) -> Result<Metadata, KafkaFault> {
        self.ask(|patience| self.client.fetch_metadata(Some(topic), patience))
    }

    /// The first and the last offset of a partition. Ask for the topic's metadata before, so that the client knows who
    /// leads the partition: one that has no connection at the moment would look for that again after half a second.
    pub(crate) fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaFault> {
        self.ask(|patience| self.client.fetch_watermarks(topic, partition, patience))
    }

    /// Whether any partition of the topic holds a record, or has ever held one.
    pub(crate) fn has_held_records(&self, topic: &str) -> Result<bool, KafkaFault> {
        let metadata = self.metadata_of(topic)?;
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            if self.watermarks(topic, partition.id())?.1 > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A consumer group, if this user may see it.
    pub(crate) fn group(&self, group_id: &str) -> Result<GroupList, KafkaFault> {
        self.ask(|patience| self.client.fetch_group_list(Some(group_id), patience))
    }

    /// The first offsets at or after the times in `wanted`.
    pub(crate) fn offsets_for_times(&self, wanted: &TopicPartitionList) -> Result<TopicPartitionList, KafkaFault> {
        self.ask(|patience| self.client.offsets_for_times(wanted.clone(), patience))
    }

    /// Checks that the brokers' advertised addresses can be reached from here, after the cluster has answered at
    /// `kafka.bootstrap_servers`. Otherwise the failure would only show as requests that time out one after the other.
    pub(crate) fn check_advertised(&self, connection: &Connection, metadata: &Metadata) -> Result<(), KafkaFault> {
        let host = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let brokers = metadata.brokers().iter().map(|broker| format!("{}:{}", host(broker.host()), broker.port()));
        let bootstrap_servers = brokers.collect::<Vec<_>>().join(",");
        let there = Connection { bootstrap_servers, ..connection.clone() };
        let what = "reaching a broker where the cluster says that it is (`advertised.listeners`)";
        let contact = Self::open_with(Watch::of_advertised(), &there, Isolation::Committed, what, self.patience)?;
        contact.metadata().map(drop)
    }

    /// Calls in several attempts: during a call, librdkafka's callbacks are not served.
    fn ask<T>(&self, call: impl Fn(Duration) -> Result<T, KafkaError>) -> Result<T, KafkaFault> {
        let (start, mut turn) = (Instant::now(), FIRST_LOOK);
        let reasons = &self.client.context().reasons;
        loop {
            let left = self.patience.saturating_sub(start.elapsed());
            match call(turn.min(left).max(Duration::from_millis(1))) {
                Ok(answer) => {
                    reasons.answered();
                    return Ok(answer);
                }
                Err(error) => {
                    self.hear();
                    let fault = reasons.explain(KafkaFault::of(self.what, 0, &error));
                    if !matches!(fault, KafkaFault::Passing { .. }) || start.elapsed() >= self.patience {
                        return Err(fault);
                    }
                }
            }
            turn = (turn * 2).min(self.patience);
        }
    }

    /// Serves the callbacks, and waits a moment in case the call failed at once.
    fn hear(&self) {
        while self.client.poll(Duration::from_millis(50)).is_some() {}
    }
}
