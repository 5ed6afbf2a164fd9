//! Client settings: the user's first, then those that the guarantees rest on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaFault;
use super::acl::{Acl, Resource};

/// How to reach the cluster, for every client that is made.
#[derive(Clone)]
pub struct Connection {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Any further librdkafka properties of the user's. May hold secrets, so this type prints none of it.
    pub properties: BTreeMap<String, String>,
    /// The same whose values are in files, which are read anew for each client.
    pub property_files: BTreeMap<String, PathBuf>,
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
    ///
    /// # Errors
    /// [`KafkaFault::PropertyFile`] where the file of a property can't be read.
    pub fn client(&self) -> Result<ClientConfig, KafkaFault> {
        self.client_with(&[])
    }

    /// The same, and defaults that the user may change. What was set can't be copied from one `ClientConfig` to another:
    /// its `config_map()` is for display and has a placeholder where a password was. So all of it is set here, in order.
    fn client_with(&self, defaults: &[(&str, &str)]) -> Result<ClientConfig, KafkaFault> {
        let mut config = ClientConfig::new();
        // A connection that the broker closed is told on this level and not above it: see `Reasons`.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("client.id", "imotriz-kafka");
        // The default looks every ten seconds whether a broker is back, and nothing is read for so long.
        config.set("reconnect.backoff.max.ms", "1000");
        for (key, value) in defaults {
            config.set(*key, *value);
        }
        for (key, value) in &self.properties {
            // guard: a secret reaches every client
            config.set(key, value);
        }
        for (key, path) in &self.property_files {
            let text = fs::read_to_string(path).map_err(|reason| {
                let (property, path) = (key.clone(), path.display().to_string());
                KafkaFault::PropertyFile { property, path, reason }
            })?;
            config.set(key, text.trim_end_matches(['\r', '\n']));
        }
        config.set("bootstrap.servers", &self.bootstrap_servers);
        Ok(config)
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
    fn principal(&self) -> Option<String> {
        let protocol = self.properties.get("security.protocol").map(|protocol| protocol.to_lowercase());
        match (protocol.as_deref(), self.properties.get("sasl.username")) {
            (None | Some("plaintext"), _) => Some("User:ANONYMOUS".to_owned()),
            (Some("sasl_plaintext" | "sasl_ssl"), Some(user)) => Some(format!("User:{user}")),
            _ => None,
        }
    }

    /// What this user lacks on these topics. Kafka takes Describe as included in Read and in Write.
    pub(crate) fn acl_on_topics<T: ToString>(
        &self,
        operations: &'static [&'static str],
        topics: impl IntoIterator<Item = T>,
    ) -> Acl {
        let topics = topics.into_iter().map(|topic| topic.to_string()).collect();
        Acl { principal: self.principal(), operations, resource: Resource::Topics(topics) }
    }

    /// What this user lacks to be the transactional producer of any lane.
    pub(crate) fn acl_to_produce(&self) -> Acl {
        let prefix = format!("{}-", self.transactional_id_prefix);
        Acl { principal: self.principal(), operations: &["Write"], resource: Resource::TransactionalIds(prefix) }
    }

    /// What this user lacks on the cluster itself.
    pub(crate) fn acl_on_cluster(&self, operations: &'static [&'static str]) -> Acl {
        Acl { principal: self.principal(), operations, resource: Resource::Cluster }
    }

    /// Where a broker was looked for, as a question.
    pub(crate) fn is_it_running(&self) -> String {
        format!("Is a broker running at `{}` (`kafka.bootstrap_servers`)?", self.bootstrap_servers)
    }

    /// A transactional producer. `name` is put behind the prefix: a lane's number, or whatever else is to be alone.
    pub(crate) fn producer(&self, name: &str) -> Result<ClientConfig, KafkaFault> {
        let timeout = self.transaction_timeout.as_millis();
        let mut config = self.client_with(&[
            ("compression.type", "lz4"),
            // Whether a large record fits is the topic's to say, not the client's.
            ("message.max.bytes", "67108864"),
        ])?;
        config
            .set("transactional.id", format!("{}-{name}", self.transactional_id_prefix))
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
        Ok(config)
    }

    /// A consumer that belongs to no group and remembers nothing. `read_uncommitted` also sees open transactions.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub fn consumer(&self, isolation: Isolation) -> Result<ClientConfig, KafkaFault> {
        let mut config = self.client()?;
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
        Ok(config)
    }
}

// guard: a group that is never joined need not be allowed
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_is_made_with_the_users_own_values_secret_ones_among_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), " shop\r\n").unwrap();
        let properties = [
            ("sasl.password", "s1"),
            ("ssl.key.password", "s2"),
            ("ssl.keystore.password", "s3"),
            ("ssl.truststore.password", "s4"),
            ("sasl.oauthbearer.client.secret", "s5"),
            ("compression.type", "zstd"),
        ];
        let connection = Connection {
            bootstrap_servers: "localhost:9092".to_owned(),
            properties: properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            property_files: [("sasl.username".to_owned(), file.path().to_owned())].into(),
            transactional_id_prefix: "test".to_owned(),
            transaction_timeout: Duration::from_secs(30),
        };
        let configs = [connection.client(), connection.producer("0"), connection.consumer(Isolation::Committed)]
            .map(Result::unwrap);
        for config in configs {
            for (key, value) in properties {
                assert_eq!(config.get(key), Some(value), "{key}");
            }
            assert_eq!(config.get("sasl.username"), Some(" shop"));
        }
        let gone = file.path().display().to_string();
        drop(file);
        let refused = connection.client().expect_err("the file is gone").to_string();
        assert!(refused.contains("sasl.username") && refused.contains(&gone), "{refused}");
    }

    fn with_properties(properties: &[(&str, &str)]) -> Connection {
        Connection {
            bootstrap_servers: "localhost:9092".to_owned(),
            properties: properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            property_files: std::collections::BTreeMap::new(),
            transactional_id_prefix: "imotriz-kafka".to_owned(),
            transaction_timeout: Duration::from_secs(30),
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_gives_it() {
        let shop = with_properties(&[("security.protocol", "SASL_SSL"), ("sasl.username", "shop")]);
        let acl = shop.acl_on_topics(&["Write"], ["orders"]);
        assert_eq!(acl.to_string(), "`User:shop` needs the ACL Write on the topic `orders`");
        let add = "kafka-acls.sh --add --allow-principal User:shop";
        assert_eq!(acl.command(), format!("{add} --operation Write --topic orders"));
        let acl = shop.acl_on_topics(&["Read", "Write"], ["a", "b"]);
        assert_eq!(acl.to_string(), "`User:shop` needs the ACL Read and Write on the topics `a`, `b`");
        assert_eq!(acl.command(), format!("{add} --operation Read --operation Write --topic a --topic b"));
        let acl = shop.acl_to_produce().command();
        assert_eq!(
            acl,
            format!("{add} --operation Write --transactional-id imotriz-kafka- --resource-pattern-type prefixed")
        );
        let acl = shop.acl_on_cluster(&["DescribeConfigs"]);
        assert_eq!(acl.command(), format!("{add} --operation DescribeConfigs --cluster"));
    }

    #[test]
    fn whom_a_certificate_names_is_not_guessed() {
        let acl = with_properties(&[("security.protocol", "SSL")]).acl_on_cluster(&["DescribeConfigs"]);
        assert!(acl.to_string().starts_with("this user needs") && acl.command().contains(" User:NAME "), "{acl}");
        let nobody = Connection { properties: BTreeMap::new(), ..with_properties(&[]) };
        assert!(nobody.acl_on_cluster(&["DescribeConfigs"]).command().contains("User:ANONYMOUS"));
    }
}
