//! `[kafka]`: the cluster, the topics, and properties passed to librdkafka unchanged.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

use serde::de::{Error as _, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secret::{REDACTED, SecretError, SecretSource};
use super::values;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// The first brokers to contact: `host:port`, separated by commas.
    #[serde(deserialize_with = "servers")]
    pub bootstrap_servers: String,
    /// Prefix of every transactional ID; a lane's number follows. Two installations on one cluster need different
    /// prefixes.
    #[serde(deserialize_with = "filled")]
    pub transactional_id_prefix: String,
    /// Whether missing topics are created.
    pub create_topics: bool,
    /// Replicas of a topic that is created; −1 leaves it to the broker.
    #[serde(deserialize_with = "replicas")]
    pub replication_factor: i32,
    /// Partitions of the orders topic when it is created.
    #[serde(deserialize_with = "values::positive")]
    pub orders_partitions: i32,
    /// Partitions of the tracking topic when it is created, which is the number of lanes.
    #[serde(deserialize_with = "values::positive")]
    pub lanes: i32,
    /// How long the broker keeps a transaction open for a process that fell silent.
    #[serde(with = "values::duration")]
    pub transaction_timeout: Duration,
    pub topics: Topics,
    /// librdkafka properties for every client of this program.
    pub properties: Properties,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            bootstrap_servers: "localhost:9092".to_owned(),
            transactional_id_prefix: "imotriz-kafka".to_owned(),
            create_topics: true,
            replication_factor: -1,
            orders_partitions: 6,
            lanes: 4,
            transaction_timeout: Duration::from_secs(30),
            topics: Topics::default(),
            properties: Properties::default(),
        }
    }
}

/// `[kafka.topics]`: names that differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    /// Order events.
    #[serde(deserialize_with = "topic_name")]
    pub orders: String,
    /// Tracking records; compacted.
    #[serde(deserialize_with = "topic_name")]
    pub tracking: String,
    /// Records that could not be mapped, as they came.
    #[serde(deserialize_with = "topic_name")]
    pub dead_letter: String,
    /// The same order events without personal data, for those who may not see it; `None` for no such topic.
    #[serde(deserialize_with = "optional_topic_name")]
    pub orders_masked: Option<String>,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            orders: "imotriz.orders.v1".to_owned(),
            tracking: "imotriz.orders.tracking.v1".to_owned(),
            dead_letter: "imotriz.orders.dlq.v1".to_owned(),
            orders_masked: None,
        }
    }
}

impl Topics {
    /// A topic setting that equals another one, and the name of that other one.
    pub(super) fn duplicate_name(&self) -> Option<(&'static str, &'static str)> {
        let masked = self.orders_masked.as_ref();
        match self {
            Self { orders, .. } if masked == Some(orders) => Some(("orders_masked", "orders")),
            Self { tracking, .. } if masked == Some(tracking) => Some(("orders_masked", "tracking")),
            Self { dead_letter, .. } if masked == Some(dead_letter) => Some(("orders_masked", "dead_letter")),
            Self { orders, tracking, .. } if orders == tracking => Some(("tracking", "orders")),
            Self { orders, dead_letter, .. } if orders == dead_letter => Some(("dead_letter", "orders")),
            Self { tracking, dead_letter, .. } if tracking == dead_letter => Some(("dead_letter", "tracking")),
            _ => None,
        }
    }
}

fn filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?.trim().to_owned();
    if text.is_empty() { Err(D::Error::custom("must not be empty")) } else { Ok(text) }
}

/// Parses addresses that librdkafka can use. librdkafka reports an unusable address only in its log, and then times
/// out.
fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = filled(deserializer)?;
    let servers: Result<Vec<&str>, String> = text.split(',').map(|server| check_server(server.trim())).collect();
    servers.map(|servers| servers.join(",")).map_err(D::Error::custom)
}

fn check_server(server: &str) -> Result<&str, String> {
    let wrong = |reason: &str| {
        let shown = match server {
            "" => "an empty entry".to_owned(),
            // The entry may contain a password.
            _ if server.contains('@') => "an entry with `@`".to_owned(),
            _ => format!("`{server}`"),
        };
        Err(format!(
            "{shown} is no broker{reason}: write host:port, several with commas, such as kafka-1:9092,kafka-2:9092; an IPv6 \
             address in brackets, as [::1]:9092"
        ))
    };
    if server.contains("://") {
        return wrong(" (what it speaks is set by \"security.protocol\" in [kafka.properties])");
    }
    let (host, port) = match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) if address.parse::<Ipv6Addr>().is_ok() => (address, rest.strip_prefix(':').ok_or(rest)),
        Some(_) => return wrong(""),
        None => server.rsplit_once(':').map_or((server, Err("")), |(host, port)| (host, Ok(port))),
    };
    let is_name = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    // Without a port librdkafka uses 9092.
    let is_port = match port {
        Ok(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0),
        Err(rest) => rest.is_empty(),
    };
    match (is_name || host.parse::<Ipv6Addr>().is_ok() && server.starts_with('['), is_port) {
        (true, true) => Ok(server),
        (true, false) => wrong(", its port is no number from 1 to 65535"),
        (false, _) => wrong(""),
    }
}

fn replicas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    match i32::deserialize(deserializer)? {
        replicas @ (-1 | 1..=32_767) => Ok(replicas),
        _ => Err(D::Error::custom("must be at least 1, or -1 for the broker's default")),
    }
}

fn optional_topic_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    topic_name(deserializer).map(Some)
}

fn topic_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=249).contains(&name.len()) && name.chars().all(legal) && name != "." && name != ".." {
        Ok(name)
    } else {
        Err(D::Error::custom(
            "is no name for a topic: 1 to 249 letters, digits, `.`, `_` and `-`, neither `.` nor `..`",
        ))
    }
}

/// Suffix of a property whose value is in a file. No property of librdkafka ends like this.
pub(super) const FILE: &str = "_file";

/// `[kafka.properties]`: librdkafka's names and values. With the suffix `_file` the value is the path of a file that
/// holds the property's value. Values that may be secrets are redacted when printed.
#[derive(Clone, Default, PartialEq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Properties with their value in the settings. The values may be secrets.
    pub fn inline(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter(|(name, _)| !name.ends_with(FILE))
    }

    /// Properties with their value in a file, and the file's path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|(name, path)| Some((name.strip_suffix(FILE)?, path)))
    }

    /// Checks the files of all properties.
    ///
    /// # Errors
    /// A file can't be read or is empty.
    pub fn check_files(&self) -> Result<(), SecretError> {
        self.files().try_for_each(|(_, path)| SecretSource::File(path.into()).read("Kafka property").map(drop))
    }

    /// Properties given both inline and in a file.
    pub(super) fn given_twice(&self) -> Vec<String> {
        self.files().map(|(name, _)| name.to_owned()).filter(|name| self.0.contains_key(name)).collect()
    }

    /// Removes a property by its name in the settings, including `_file`.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Names and values, with secrets redacted.
    fn shown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().map(|(name, value)| (name, if Self::is_secret(name) { REDACTED } else { value }))
    }

    fn is_secret(name: &str) -> bool {
        if name.ends_with(FILE) {
            return false;
        }
        let name = name.to_lowercase();
        let secret = ["password", "secret", "key", "token", "pem", "sasl.jaas", "sasl.oauthbearer.config"];
        secret.iter().any(|part| name.contains(part))
    }

    /// The first property whose value this program fixes, with what to do instead.
    pub(super) fn fixed_by_program(&self) -> Option<(&str, &'static str)> {
        self.0.keys().find_map(|name| Some((name.as_str(), why_fixed(name.strip_suffix(FILE).unwrap_or(name))?)))
    }
}

/// What to do instead of setting a property that this program fixes.
fn why_fixed(property: &str) -> Option<&'static str> {
    Some(match property {
        "bootstrap.servers" | "metadata.broker.list" => "use kafka.bootstrap_servers",
        "transactional.id" => "use kafka.transactional_id_prefix",
        "transaction.timeout.ms" => "use kafka.transaction_timeout",
        "enable.idempotence"
        | "enable.gapless.guarantee"
        | "acks"
        | "request.required.acks"
        | "retries"
        | "message.send.max.retries"
        | "max.in.flight"
        | "max.in.flight.requests.per.connection"
        | "message.timeout.ms"
        | "delivery.timeout.ms" => "nothing may be lost or doubled, so it is fixed",
        "isolation.level"
        | "enable.auto.commit"
        | "auto.commit.enable"
        | "enable.auto.offset.store"
        | "auto.offset.reset"
        | "enable.partition.eof" => "what was published is read in one way only, so it is fixed",
        "partitioner" => "it is murmur2_random, as Java's, so that joins line up",
        "group.id" | "group.instance.id" | "group.protocol" => "the program names its groups itself",
        "statistics.interval.ms" => "the program watches its connections by it",
        _ => return None,
    })
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.shown()).finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.shown() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
        Ok(Self(map.into_iter().map(|(name, Scalar(value))| (name, value)).collect()))
    }
}

/// A value as text. librdkafka only takes text, but people write `"linger.ms" = 5` in the file.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;

        impl Visitor<'_> for AsText {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
                Ok(Scalar(flag.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string()))
            }
        }

        deserializer.deserialize_any(AsText)
    }
}
