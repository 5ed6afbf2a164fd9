//! Client settings: the user's properties first, then those on which the guarantees rest.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::KafkaFault;
use super::acl::{Acl, Resource};

/// How an instance takes part in its group.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    pub group_id: String,
    /// Makes it a static member.
    pub instance_id: Option<String>,
    /// Without a sign of life for this long an instance loses its lanes.
    pub session_timeout: Duration,
}

/// How every client reaches the cluster.
#[derive(Clone)]
pub struct Connection {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The user's other librdkafka properties. They may hold secrets, so `Debug` shows none of them.
    pub properties: BTreeMap<String, String>,
    /// The user's properties whose values are in files. The files are read again for each client.
    pub property_files: BTreeMap<String, PathBuf>,
    /// Prefix of each lane's `transactional.id`; the lane's number follows.
    pub transactional_id_prefix: String,
    /// The broker aborts an open transaction after this long without a sign of life. For at most this long a dead
    /// process stalls readers.
    pub transaction_timeout: Duration,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("bootstrap_servers", &self.bootstrap_servers).finish_non_exhaustive()
    }
}

impl Connection {
    /// The settings of every client.
    ///
    /// # Errors
    /// [`KafkaFault::PropertyFile`] if the file of a property can't be read.
    pub fn client(&self) -> Result<ClientConfig, KafkaFault> {
        self.client_with(&[])
    }

    /// As [`client`](Self::client), with defaults that the user may override. Values can't be copied from one
    /// `ClientConfig` to another, because `config_map()` is for display and has a placeholder for a password. So this
    /// sets all of them, in order.
    fn client_with(&self, defaults: &[(&str, &str)]) -> Result<ClientConfig, KafkaFault> {
        let mut config = ClientConfig::new();
        // librdkafka reports a connection that the broker closed at this level only: see `Reasons`.
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("client.id", "imotriz-kafka");
        // By default librdkafka checks only every ten seconds whether a broker is back, and reads nothing until then.
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

    /// Adds to a fault at the first contact where a broker was looked for.
    #[must_use]
    pub fn looked_for(&self, fault: KafkaFault) -> KafkaFault {
        match fault {
            KafkaFault::Passing { what, why } => {
                KafkaFault::Passing { what, why: format!("{why}. {}", self.is_it_running()) }
            }
            other => other,
        }
    }

    /// The broker's name for this user, if the settings tell. Only the broker knows whom a certificate or a token
    /// names.
    fn principal(&self) -> Option<String> {
        let protocol = self.properties.get("security.protocol").map(|protocol| protocol.to_lowercase());
        match (protocol.as_deref(), self.properties.get("sasl.username")) {
            (None | Some("plaintext"), _) => Some("User:ANONYMOUS".to_owned()),
            (Some("sasl_plaintext" | "sasl_ssl"), Some(user)) => Some(format!("User:{user}")),
            _ => None,
        }
    }

    /// An ACL on these topics. For Kafka, Read and Write include Describe.
    pub(crate) fn acl_on_topics<T: ToString>(
        &self,
        operations: &'static [&'static str],
        topics: impl IntoIterator<Item = T>,
    ) -> Acl {
        let topics = topics.into_iter().map(|topic| topic.to_string()).collect();
        Acl { principal: self.principal(), operations, resource: Resource::Topics(topics) }
    }

    /// The ACL for the transactional producers of all lanes.
    pub(crate) fn acl_to_produce(&self) -> Acl {
        let prefix = format!("{}-", self.transactional_id_prefix);
        Acl { principal: self.principal(), operations: &["Write"], resource: Resource::TransactionalIds(prefix) }
    }

    /// The ACL for a member of a consumer group.
    pub(crate) fn acl_on_group(&self, group: &str) -> Acl {
        Acl { principal: self.principal(), operations: &["Read"], resource: Resource::Group(group.to_owned()) }
    }

    /// An ACL on the cluster itself.
    pub(crate) fn acl_on_cluster(&self, operations: &'static [&'static str]) -> Acl {
        Acl { principal: self.principal(), operations, resource: Resource::Cluster }
    }

    /// Asks whether a broker runs at the bootstrap servers, for the end of an error message.
    pub(crate) fn is_it_running(&self) -> String {
        format!("Is a broker running at `{}` (`kafka.bootstrap_servers`)?", self.bootstrap_servers)
    }

    /// The settings of a transactional producer. `name` follows the prefix in its ID: a lane's number, or another
    /// unique name.
    pub(crate) fn producer(&self, name: &str) -> Result<ClientConfig, KafkaFault> {
        let timeout = self.transaction_timeout.as_millis();
        let mut config = self.client_with(&[
            ("compression.type", "lz4"),
            // The topic limits the size of a record, not the client.
            ("message.max.bytes", "67108864"),
        ])?;
        config
            .set("transactional.id", format!("{}-{name}", self.transactional_id_prefix))
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("transaction.timeout.ms", timeout.to_string())
            // A record must not outlive its transaction. The time-out is a little shorter, so that the failure is seen
            // before the abort.
            .set("message.timeout.ms", (timeout * 9 / 10).to_string())
            // The same partitioner as Java's, so that a consumer's joins with its own topics are co-partitioned.
            .set("partitioner", "murmur2_random")
            // A commit flushes in steps of 100 ms. Right after a commit the coordinator asks for a retry, which by
            // default comes after 100 ms. These three settings keep a transaction at a few milliseconds.
            .set("linger.ms", "0")
            .set("retry.backoff.ms", "5")
            .set("socket.nagle.disable", "true")
            // Needed to detect a silently repeated EndTxn, see `Transactions`.
            .set("statistics.interval.ms", "1000");
        Ok(config)
    }

    /// The settings of a member of the group that shares the lanes.
    pub(super) fn member(&self, options: &GroupOptions) -> Result<ClientConfig, KafkaFault> {
        let GroupOptions { group_id, instance_id, session_timeout } = options;
        let session = session_timeout.as_millis();
        // The client ID is what others see of a member.
        let mut config = self.client_with(instance_id.as_deref().map(|id| ("client.id", id)).as_slice())?;
        config
            .set("group.id", group_id)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            // By a heartbeat a member learns that lanes were let go, and their shops wait for it to join again. Whether
            // one is due librdkafka looks once a second, and it joins again after a second at the earliest, unless it
            // asks for metadata more often.
            .set("heartbeat.interval.ms", "100")
            .set("topic.metadata.refresh.interval.ms", "100")
            // A lane that is revoked may wait for a read in flight and for its pages to be published.
            .set("max.poll.interval.ms", session.max(600_000).to_string())
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest");
        // guard: an instance that comes back in time is the one that went
        if let Some(id) = instance_id {
            config.set("group.instance.id", id);
        }
        Ok(config)
    }

    /// The settings of a consumer that joins no group and stores no offsets. [`Isolation::Uncommitted`] also reads open
    /// transactions.
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
            // By default a full queue is checked again only after a second, so the reader would mostly wait.
            .set("fetch.queue.backoff.ms", "2");
        Ok(config)
    }
}

// guard: a group that is never joined need not be allowed
/// Whether an error is about the consumer group. The library makes each consumer name a group and look up its
/// coordinator, though ours join none. A missing permission for the group is no reason to stop reading.
pub(crate) fn is_about_the_group(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// Which records a consumer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Only those of committed transactions.
    Committed,
    /// All of them. The high watermark is then the partition's true end.
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
