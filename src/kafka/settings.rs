//! Client settings: the user's first, then those that the guarantees rest on.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaFault;

/// How to reach the cluster, for every client that is made.
#[derive(Clone)]
pub struct Connection {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Any further librdkafka properties of the user's. May hold secrets, so this type prints none of it.
    pub properties: BTreeMap<String, String>,
    /// Put before the lane's number to make its `transactional.id`.
    pub transactional_id_prefix: String,
    /// After this long without a sign of life the broker aborts an open transaction: the longest time for which a dead
    /// process stalls readers.
    pub transaction_timeout: Duration,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("bootstrap_servers", &self.bootstrap_servers).finish_non_exhaustive()
    }
}

impl Connection {
    /// Settings that every client shares.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "imotriz-kafka");
        // The default looks every ten seconds whether a broker is back, and nothing is read for so long.
        config.set("reconnect.backoff.max.ms", "1000");
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config
    }

    /// A fault at the first contact, with where a broker was looked for.
    #[must_use]
    pub fn looked_for(&self, fault: KafkaFault) -> KafkaFault {
        match fault {
            KafkaFault::Passing { what, why } => {
                KafkaFault::Passing { what, why: format!("{why}. {}", self.is_it_running()) }
            }
            other => other,
        }
    }

    /// What the broker calls this user, where the settings tell: whom a certificate or a token names, only the broker knows.
    pub(super) fn principal(&self) -> Option<String> {
        let protocol = self.properties.get("security.protocol").map(|protocol| protocol.to_lowercase());
        match (protocol.as_deref(), self.properties.get("sasl.username")) {
            (None | Some("plaintext"), _) => Some("User:ANONYMOUS".to_owned()),
            (Some("sasl_plaintext" | "sasl_ssl"), Some(user)) => Some(format!("User:{user}")),
            _ => None,
        }
    }

    /// Where a broker was looked for, as a question.
    pub(crate) fn is_it_running(&self) -> String {
        format!("Is a broker running at `{}` (`kafka.bootstrap_servers`)?", self.bootstrap_servers)
    }

    /// A lane's transactional producer.
    pub(crate) fn producer(&self, lane: i32) -> ClientConfig {
        let timeout = self.transaction_timeout.as_millis();
        let mut config = ClientConfig::new();
        // Defaults that the user may change.
        config.set("compression.type", "lz4");
        // Whether a large record fits is the topic's to say, not the client's.
        config.set("message.max.bytes", "67108864");
        let mut config = merged(config, self.client());
        config
            .set("transactional.id", format!("{}-{lane}", self.transactional_id_prefix))
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("transaction.timeout.ms", timeout.to_string())
            // A record must not outlive its transaction; a little less, so that its failure is seen before the abort.
            .set("message.timeout.ms", (timeout * 9 / 10).to_string())
            // As Java's partitioner, so that a consumer's join with its own topics lines up.
            .set("partitioner", "murmur2_random")
            // A commit flushes in steps of 100 ms, and right after a commit the coordinator asks for a moment, which is
            // 100 ms by default: these three keep a transaction at a few milliseconds.
            .set("linger.ms", "0")
            .set("retry.backoff.ms", "5")
            .set("socket.nagle.disable", "true")
            // Feeds the check for a silently repeated EndTxn, see `Transactions`.
            .set("statistics.interval.ms", "1000");
        config
    }

    /// A consumer that belongs to no group and remembers nothing. `read_uncommitted` also sees open transactions.
    #[must_use]
    pub fn consumer(&self, isolation: Isolation) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", "imotriz-kafka-reader")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", isolation.name())
            .set("check.crcs", "true")
            // Halves the wait for the end of a partition.
            .set("fetch.wait.max.ms", "10")
            .set("queued.max.messages.kbytes", "4096")
            // A queue that is full is looked at again after a second by default: the reader would mostly wait.
            .set("fetch.queue.backoff.ms", "2");
        config
    }
}

/// The library makes each consumer name a group, and asks for the group's coordinator, though ours join none: that the user
/// may not is no reason to give up a reading.
pub(crate) fn is_about_the_group(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// Which records a consumer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions alone.
    Committed,
    /// All; its high watermark is the partition's true end.
    Uncommitted,
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

fn merged(mut base: ClientConfig, over: ClientConfig) -> ClientConfig {
    for (key, value) in over.config_map() {
        base.set(key, value);
    }
    base
}
