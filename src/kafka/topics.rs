//! The three topics: created where they are missing and that is allowed, checked, never altered.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::util::Timeout;

use tokio::task::block_in_place;

use super::settings::Isolation;
use super::{Connection, Contact, KafkaFault};

/// Names of the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    /// Order events.
    pub orders: String,
    /// What was published, compacted; its partitions are the lanes.
    pub tracking: String,
    /// What could not be mapped.
    pub dead_letter: String,
}

/// How topics are made that aren't there yet.
#[derive(Debug, Clone)]
pub struct TopicPlan {
    /// Their names.
    pub names: TopicNames,
    /// Whether missing ones may be created.
    pub create: bool,
    /// Replicas of each partition; -1 leaves it to the broker.
    pub replication: i32,
    /// Partitions of the orders topic.
    pub orders_partitions: i32,
    /// Partitions of the tracking topic. It can't be changed later: orders would be looked for in the wrong lane.
    pub lanes: i32,
}

/// What stands on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Partitions of the tracking topic.
    pub lanes: i32,
}

/// 90 days: as long as tracking entries are kept by default.
const RETENTION_MS: &str = "7776000000";
const CALL: Duration = Duration::from_secs(10);

/// Creates what is missing, if `plan.create`, then checks all three.
///
/// # Errors
/// A missing topic that may not be created, a tracking topic that isn't `cleanup.policy=compact`, or Kafka's own.
pub async fn ensure(connection: &Connection, plan: &TopicPlan) -> Result<Layout, KafkaFault> {
    // Before the admin client: only this one learns why there is no answer.
    let contact = Contact::open(connection, Isolation::Committed, "asking the broker for its topics", CALL)?;
    let admin: AdminClient<DefaultClientContext> = AdminClient::from_config(&connection.client()?)
        .map_err(|error| KafkaFault::of("making the admin client", 0, &error))?;
    block_in_place(|| contact.check_advertised(connection, &contact.metadata()?))?;
    let missing = missing(&contact, &plan.names)?;
    if !missing.is_empty() {
        if !plan.create {
            return Err(KafkaFault::Topic(format!(
                "missing on the broker: {}. Create with `imotriz-kafka topics ensure`, or set `kafka.create_topics`",
                missing.join(", ")
            )));
        }
        create(&admin, plan, &missing).await?;
        wait_until_visible(&contact, &plan.names).await?;
    }
    check_policy(&admin, &plan.names.tracking).await?;
    check_policy_of_events(&admin, &plan.names.orders).await?;
    Ok(Layout { lanes: partitions(&contact, &plan.names.tracking)?.unwrap_or(plan.lanes) })
}

/// Partitions of a topic, or `None` where there is no such topic.
fn partitions(contact: &Contact, topic: &str) -> Result<Option<i32>, KafkaFault> {
    let metadata = block_in_place(|| contact.metadata())?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.and_then(|found| found.error()).map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(code) => Err(KafkaFault::of_code("asking the broker for its topics", 0, Some(code), &code.to_string())),
        None => Ok(found.and_then(|found| i32::try_from(found.partitions().len()).ok()).filter(|count| *count > 0)),
    }
}

fn missing(contact: &Contact, names: &TopicNames) -> Result<Vec<String>, KafkaFault> {
    let mut missing = Vec::new();
    for name in [&names.orders, &names.tracking, &names.dead_letter] {
        if partitions(contact, name)?.is_none() {
            missing.push(name.clone());
        }
    }
    Ok(missing)
}

async fn create(
    admin: &AdminClient<DefaultClientContext>,
    plan: &TopicPlan,
    missing: &[String],
) -> Result<(), KafkaFault> {
    let replication = || TopicReplication::Fixed(plan.replication);
    let all = [
        NewTopic::new(&plan.names.orders, plan.orders_partitions, replication()).set("retention.ms", RETENTION_MS),
        NewTopic::new(&plan.names.tracking, plan.lanes, replication()).set("cleanup.policy", "compact"),
        NewTopic::new(&plan.names.dead_letter, 1, replication()).set("retention.ms", RETENTION_MS),
    ];
    let wanted: Vec<_> = all.iter().filter(|topic| missing.iter().any(|name| name == topic.name)).collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(Timeout::After(CALL)))
        // The default is a minute.
        .request_timeout(Some(Timeout::After(CALL + CALL / 2)));
    let results =
        admin.create_topics(wanted, &options).await.map_err(|error| KafkaFault::of("creating topics", 0, &error))?;
    for result in results {
        match result {
            Ok(name) => tracing::info!(topic = name, "topic created"),
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => tracing::debug!(topic = name, "topic is there"),
            Err((name, code)) => return Err(refused_creation(&name, code)),
        }
    }
    Ok(())
}

fn refused_creation(name: &str, code: RDKafkaErrorCode) -> KafkaFault {
    match KafkaFault::of_code("creating topics", 0, Some(code), &code.to_string()) {
        KafkaFault::Passing { why, .. } => KafkaFault::Topic(format!("the topic `{name}` can't be created: {why}")),
        other => other,
    }
}

async fn wait_until_visible(contact: &Contact, names: &TopicNames) -> Result<(), KafkaFault> {
    let deadline = Instant::now() + CALL;
    loop {
        match missing(contact, names)?.as_slice() {
            [] => return Ok(()),
            still if Instant::now() > deadline => {
                return Err(KafkaFault::Topic(format!(
                    "the broker has {} and does not show it: this user's ACLs must allow Describe, Read and Write on it",
                    still.join(", ")
                )));
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The tracking topic must keep the last record of each key for ever: anything else forgets orders.
async fn check_policy(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(), KafkaFault> {
    match cleanup_policy(admin, topic).await?.as_deref() {
        Some("compact") => Ok(()),
        other => Err(KafkaFault::Topic(format!(
            "the tracking topic `{topic}` has cleanup.policy={} and must have `compact` alone: otherwise Kafka forgets \
             what was published, and orders would be published twice. Set it with kafka-configs --alter, or name \
             another topic in `kafka.topics.tracking`",
            other.unwrap_or("unknown")
        ))),
    }
}

/// Compaction would leave only the last revision of an order.
async fn check_policy_of_events(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<(), KafkaFault> {
    if cleanup_policy(admin, topic).await?.is_some_and(|policy| policy.contains("compact")) {
        tracing::warn!(topic, "the orders topic is compacted: consumers that come late miss revisions of an order");
    }
    Ok(())
}

async fn cleanup_policy(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<Option<String>, KafkaFault> {
    let options = AdminOptions::new().request_timeout(Some(Timeout::After(CALL)));
    let answers = admin
        .describe_configs(&[ResourceSpecifier::Topic(topic)], &options)
        .await
        .map_err(|error| KafkaFault::of("reading a topic's settings", 0, &error))?;
    let mut policy = None;
    for answer in answers {
        let resource = answer
            .map_err(|code| KafkaFault::of_code("reading a topic's settings", 0, Some(code), &code.to_string()))?;
        policy = resource.get("cleanup.policy").and_then(|entry| entry.value.clone()).or(policy);
    }
    Ok(policy)
}
