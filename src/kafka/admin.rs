//! Queries about topics and settings. Each queried resource has an error of its own. "Not allowed" is never mistaken
//! for a value or for "does not exist".

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::Metadata;
use rdkafka::util::Timeout;
use tokio::task::block_in_place;

use super::acl::Acl;
use super::settings::Isolation;
use super::{Connection, Contact, KafkaFault};

const ASKING: &str = "asking the broker for its topics";

/// Settings by name. A setting whose value the broker hides is left out.
pub type Settings = BTreeMap<String, String>;

/// A client that queries the cluster and creates topics.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
    /// Queries topics and brokers: an admin client does not learn why there is no answer.
    contact: Contact,
    connection: Connection,
    /// Time limit for one query.
    patience: Duration,
}

impl Admin {
    /// Opens a client after it has reached the cluster, and each broker at its advertised address.
    ///
    /// # Errors
    /// Settings from which no client can be made, or why the cluster can't be reached.
    pub fn open(connection: &Connection, patience: Duration) -> Result<Self, KafkaFault> {
        let contact = Contact::open(connection, Isolation::Committed, ASKING, patience)?;
        block_in_place(|| contact.check_advertised(connection, &contact.metadata()?))?;
        let client = AdminClient::from_config(&connection.client()?)
            .map_err(|error| KafkaFault::of("making the admin client", 0, &error))?;
        Ok(Self { client, contact, connection: connection.clone(), patience })
    }

    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The brokers, and all topics that this user may see. A missing topic may be hidden or absent.
    pub fn cluster(&self) -> Result<Metadata, KafkaFault> {
        block_in_place(|| self.contact.metadata())
    }

    /// The number of partitions of a topic, or `None` if it does not exist. The query names the topic, since only then
    /// the answer tells an absent topic from one that this user may not see. `needs` lists the operations for the ACL
    /// that an error names.
    pub fn partitions(&self, topic: &str, needs: &'static [&'static str]) -> Result<Option<i32>, KafkaFault> {
        let metadata = block_in_place(|| self.contact.metadata_of(topic))?;
        partitions_in(&metadata, topic)
            .map_err(|code| KafkaFault::of_code("seeing a topic", 0, Some(code), &code.to_string()))
            .map_err(|fault| fault.lacking(|| self.connection.acl_on_topics(needs, [topic])))
    }

    pub async fn settings_of_topic(&self, topic: &str) -> Result<Settings, KafkaFault> {
        let acl = || self.connection.acl_on_topics(&["DescribeConfigs"], [topic]);
        self.settings("reading a topic's settings", ResourceSpecifier::Topic(topic), acl).await
    }

    /// A broker's settings. Most of them hold for the whole cluster.
    pub async fn settings_of_broker(&self, broker: i32) -> Result<Settings, KafkaFault> {
        let acl = || self.connection.acl_on_cluster(&["DescribeConfigs"]);
        self.settings("reading a broker's settings", ResourceSpecifier::Broker(broker), acl).await
    }

    async fn settings(
        &self,
        what: &'static str,
        of: ResourceSpecifier<'_>,
        acl: impl Fn() -> Acl,
    ) -> Result<Settings, KafkaFault> {
        let options = AdminOptions::new().request_timeout(Some(Timeout::After(self.patience)));
        let answers = self.client.describe_configs(&[of], &options).await;
        let mut settings = Settings::new();
        let mut told = false;
        for answer in answers.map_err(|error| KafkaFault::of(what, 0, &error))? {
            let resource = answer
                .map_err(|code| KafkaFault::of_code(what, 0, Some(code), &code.to_string()))
                .map_err(|fault| fault.lacking(&acl))?;
            told |= !resource.entries.is_empty();
            settings.extend(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
        }
        // The client drops the error of a resource and returns its settings, which are then empty. Every existing
        // resource has some.
        // guard: an answer without settings is no value
        if told { Ok(settings) } else { Err(KafkaFault::untold(what, acl())) }
    }

    /// Creates topics, or with `only_ask` lets the broker validate the request. Topics that exist count as success.
    /// Returns the names of the topics created.
    pub async fn create(&self, topics: &[&NewTopic<'_>], only_ask: bool) -> Result<Vec<String>, KafkaFault> {
        let options = AdminOptions::new()
            .operation_timeout(Some(Timeout::After(self.patience)))
            // The default is a minute.
            .request_timeout(Some(Timeout::After(self.patience + self.patience / 2)))
            .validate_only(only_ask);
        let results = self.client.create_topics(topics.iter().copied(), &options).await;
        let mut created = Vec::new();
        for result in results.map_err(|error| KafkaFault::of("creating topics", 0, &error))? {
            match result {
                Ok(name) => created.push(name),
                Err((name, Code::TopicAlreadyExists)) => tracing::debug!(topic = name, "topic is there"),
                Err((name, code)) => {
                    let acl = || self.connection.acl_on_topics(&["Create"], [&name]);
                    return Err(refused_creation(&name, code).lacking(acl));
                }
            }
        }
        Ok(created)
    }

    /// Gives a topic `cleanup.policy=compact`, and the defaults in all other settings.
    pub async fn compact(&self, topic: &str) -> Result<(), KafkaFault> {
        let what = "compacting a topic";
        let options = AdminOptions::new().request_timeout(Some(Timeout::After(self.patience)));
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("cleanup.policy", "compact");
        let results = self.client.alter_configs([&change], &options).await;
        for result in results.map_err(|error| KafkaFault::of(what, 0, &error))? {
            result
                .map_err(|(_, code)| KafkaFault::of_code(what, 0, Some(code), &code.to_string()))
                .map_err(|fault| fault.lacking(|| self.connection.acl_on_topics(&["AlterConfigs"], [topic])))?;
        }
        Ok(())
    }
}

/// What follows when a topic is not created. A cluster that is choosing its controller, or is slow, is asked again.
fn refused_creation(name: &str, code: Code) -> KafkaFault {
    let what = "creating a topic";
    let passes = matches!(
        code,
        Code::NotController
            | Code::RequestTimedOut
            | Code::OperationTimedOut
            | Code::BrokerNotAvailable
            | Code::NetworkException
            | Code::ThrottlingQuotaExceeded
    );
    match KafkaFault::of_code(what, 0, Some(code), &code.to_string()) {
        KafkaFault::Passing { why, .. } if passes => KafkaFault::Passing { what, why: format!("`{name}`: {why}") },
        KafkaFault::Passing { why, .. } => KafkaFault::Topic(format!("the topic `{name}` can't be created: {why}")),
        fault => fault,
    }
}

/// The number of partitions that an answer gives for one topic.
pub(super) fn partitions_in(metadata: &Metadata, topic: &str) -> Result<Option<i32>, Code> {
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.and_then(|found| found.error()).map(Code::from) {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
        // guard: a hidden topic is not called missing
        Some(code) => Err(code),
        None => Ok(found.and_then(|found| i32::try_from(found.partitions().len()).ok()).filter(|count| *count > 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_a_cluster_can_t_create_for_now_is_tried_again_and_one_that_it_refuses_is_not() {
        for code in [Code::NotController, Code::RequestTimedOut, Code::ThrottlingQuotaExceeded] {
            let fault = refused_creation("orders", code);
            assert!(!fault.needs_a_person() && fault.to_string().contains("`orders`"), "{fault}");
        }
        for code in [Code::InvalidReplicationFactor, Code::PolicyViolation, Code::TopicAuthorizationFailed] {
            assert!(refused_creation("orders", code).needs_a_person(), "{code:?}");
        }
    }
}
