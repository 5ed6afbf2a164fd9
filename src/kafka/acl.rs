//! Permissions on a cluster with an authoriser: what this user lacks, in words that an administrator can act on.

use std::fmt;

use super::Connection;

/// What has to be allowed to this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// As the broker names the user, where the settings tell.
    principal: Option<String>,
    operations: &'static [&'static str],
    resource: Resource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Resource {
    Topics(Vec<String>),
    /// All that begin with this.
    TransactionalIds(String),
    Cluster,
}

impl Acl {
    /// On these topics. Kafka takes Describe as included in Read and in Write.
    pub(crate) fn on_topics<T: ToString>(
        connection: &Connection,
        operations: &'static [&'static str],
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        let topics = topics.into_iter().map(|topic| topic.to_string()).collect();
        Self { principal: connection.principal(), operations, resource: Resource::Topics(topics) }
    }

    /// To be the transactional producer of any lane.
    pub(crate) fn to_produce(connection: &Connection) -> Self {
        let prefix = format!("{}-", connection.transactional_id_prefix);
        Self { principal: connection.principal(), operations: &["Write"], resource: Resource::TransactionalIds(prefix) }
    }

    /// On the cluster itself.
    pub(crate) fn on_cluster(connection: &Connection, operations: &'static [&'static str]) -> Self {
        Self { principal: connection.principal(), operations, resource: Resource::Cluster }
    }

    /// librdkafka's name of the error by which a broker says that it is missing.
    pub(super) fn code(&self) -> &'static str {
        match self.resource {
            Resource::Topics(_) => "TopicAuthorizationFailed",
            Resource::TransactionalIds(_) => "TransactionalIdAuthorizationFailed",
            Resource::Cluster => "ClusterAuthorizationFailed",
        }
    }

    /// The command that gives it. Where to, and as whom, is the administrator's own matter.
    #[must_use]
    pub fn command(&self) -> String {
        let principal = self.principal.as_deref().unwrap_or("User:NAME");
        let mut command = format!("kafka-acls.sh --add --allow-principal {principal}");
        for operation in self.operations {
            command += &format!(" --operation {operation}");
        }
        match &self.resource {
            Resource::Topics(topics) => topics.iter().for_each(|topic| command += &format!(" --topic {topic}")),
            Resource::TransactionalIds(prefix) => {
                command += &format!(" --transactional-id {prefix} --resource-pattern-type prefixed");
            }
            Resource::Cluster => command += " --cluster",
        }
        command
    }
}

/// Who needs what.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.principal {
            Some(principal) => write!(f, "`{principal}`")?,
            None => f.write_str("this user")?,
        }
        write!(f, " needs the ACL {} on ", self.operations.join(" and "))?;
        match &self.resource {
            Resource::Topics(topics) => {
                let noun = if topics.len() == 1 { "topic" } else { "topics" };
                write!(f, "the {noun} `{}`", topics.join("`, `"))
            }
            Resource::TransactionalIds(prefix) => write!(f, "transactional IDs that begin with `{prefix}`"),
            Resource::Cluster => f.write_str("the cluster"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    fn connection(properties: &[(&str, &str)]) -> Connection {
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
        let shop = connection(&[("security.protocol", "SASL_SSL"), ("sasl.username", "shop")]);
        let acl = Acl::on_topics(&shop, &["Write"], ["orders"]);
        assert_eq!(acl.to_string(), "`User:shop` needs the ACL Write on the topic `orders`");
        let add = "kafka-acls.sh --add --allow-principal User:shop";
        assert_eq!(acl.command(), format!("{add} --operation Write --topic orders"));
        let acl = Acl::on_topics(&shop, &["Read", "Write"], ["a", "b"]);
        assert_eq!(acl.to_string(), "`User:shop` needs the ACL Read and Write on the topics `a`, `b`");
        assert_eq!(acl.command(), format!("{add} --operation Read --operation Write --topic a --topic b"));
        let acl = Acl::to_produce(&shop).command();
        assert_eq!(
            acl,
            format!("{add} --operation Write --transactional-id imotriz-kafka- --resource-pattern-type prefixed")
        );
        let acl = Acl::on_cluster(&shop, &["DescribeConfigs"]);
        assert_eq!(acl.command(), format!("{add} --operation DescribeConfigs --cluster"));
    }

    #[test]
    fn whom_a_certificate_names_is_not_guessed() {
        let acl = Acl::on_cluster(&connection(&[("security.protocol", "SSL")]), &["DescribeConfigs"]);
        assert!(acl.to_string().starts_with("this user needs") && acl.command().contains(" User:NAME "), "{acl}");
        let nobody = Connection { properties: BTreeMap::new(), ..connection(&[]) };
        assert!(Acl::on_cluster(&nobody, &["DescribeConfigs"]).command().contains("User:ANONYMOUS"));
    }
}
