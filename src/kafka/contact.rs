//! Questions to the cluster: which topics there are, where a partition ends. The first contact of most commands, and so
//! the place at which settings prove wrong.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use super::reasons::Watch;
use super::settings::Isolation;
use super::{Connection, KafkaFault};

/// A question is asked for so long before it is looked whether it can be answered at all; then for twice as long. Long
/// enough for a host with several addresses to be tried at each.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// A client that is in no group and reads no topic. All calls block.
pub(crate) struct Contact {
    client: BaseConsumer<Watch>,
    what: &'static str,
    patience: Duration,
}

impl Contact {
    /// `what` names the questions in errors; each is given up after `patience`.
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
        // Nobody has to be in a group for a question, and what is in one takes 100 ms to end.
        config.remove("group.id");
        // To be asked for a topic by its name is otherwise, for a broker that creates topics automatically, an order to
        // create it with its defaults.
        config.set("allow.auto.create.topics", "false");
        let client =
            BaseConsumer::from_config_and_context(&config, watch).map_err(|error| KafkaFault::of(what, 0, &error))?;
        Ok(Self { client, what, patience })
    }

    /// The brokers, and all topics that this user may see.
    pub(crate) fn metadata(&self) -> Result<Metadata, KafkaFault> {
        self.ask(|patience| self.client.fetch_metadata(None, patience))
    }

    /// One topic, asked for by its name: only then the answer tells one that is absent from one that this user may not see.
    pub(crate) fn metadata_of(&self, topic: &str) -> Result<Metadata, KafkaFault> {
        self.ask(|patience| self.client.fetch_metadata(Some(topic), patience))
    }

    /// The first and the last offset of a partition.
    pub(crate) fn watermarks(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaFault> {
        self.ask(|patience| self.client.fetch_watermarks(topic, partition, patience))
    }

    /// The first offsets at or after the times in `wanted`.
    pub(crate) fn offsets_for_times(&self, wanted: &TopicPartitionList) -> Result<TopicPartitionList, KafkaFault> {
        self.ask(|patience| self.client.offsets_for_times(wanted.clone(), patience))
    }

    /// Whether one can get from here to where the cluster sends its clients, after it has answered at
    /// `kafka.bootstrap_servers`: that one can't shows otherwise as requests that time out one after the other.
    pub(crate) fn check_advertised(&self, connection: &Connection, metadata: &Metadata) -> Result<(), KafkaFault> {
        let host = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let brokers = metadata.brokers().iter().map(|broker| format!("{}:{}", host(broker.host()), broker.port()));
        let bootstrap_servers = brokers.collect::<Vec<_>>().join(",");
        let there = Connection { bootstrap_servers, ..connection.clone() };
        let what = "reaching a broker where the cluster says that it is (`advertised.listeners`)";
        let contact = Self::open_with(Watch::of_advertised(), &there, Isolation::Committed, what, self.patience)?;
        contact.metadata().map(drop)
    }

    /// In several turns: during a call nobody takes what the callbacks are to be told.
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

    /// Lets the callbacks be told, and waits a moment where a call failed at once.
    fn hear(&self) {
        while self.client.poll(Duration::from_millis(50)).is_some() {}
    }
}
