//! The three topics. Missing ones are created if allowed; existing ones are checked, never altered.

use std::time::{Duration, Instant};

use rdkafka::admin::{NewTopic, TopicReplication};

use super::admin::Settings;
use super::{Admin, Connection, KafkaFault, access};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    /// Order events.
    pub orders: String,
    /// Tracking records, compacted. Its partitions are the lanes.
    pub tracking: String,
    /// Records that could not be mapped.
    pub dead_letter: String,
    /// Order events without personal data, if there is such a topic.
    pub orders_masked: Option<String>,
}

impl TopicNames {
    /// The topics, each with the operations that a running program needs on it.
    fn needed(&self) -> impl Iterator<Item = (&String, &'static [&'static str])> {
        let written = self.written().map(|name| (name, WRITTEN));
        written.chain([(&self.tracking, TRACKED)])
    }

    /// The topics that are only written to.
    pub fn written(&self) -> impl Iterator<Item = &String> {
        [&self.orders, &self.dead_letter].into_iter().chain(&self.orders_masked)
    }
}

/// Operations on a topic that the program only writes to.
pub const WRITTEN: &[&str] = &["Write"];
/// Operations on the tracking topic.
pub const TRACKED: &[&str] = &["Read", "Write", "DescribeConfigs"];

/// How missing topics are created.
#[derive(Debug, Clone)]
pub struct TopicPlan {
    pub names: TopicNames,
    /// Whether missing topics may be created.
    pub create: bool,
    /// Replicas of each partition; -1 leaves it to the broker.
    pub replication: i32,
    pub orders_partitions: i32,
    /// Partitions of the tracking topic. The number can't be changed later, or orders would be looked for in the wrong
    /// lane.
    pub lanes: i32,
}

/// The topics that exist on the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub lanes: i32,
}

/// 90 days: the default retention of tracking entries.
const RETENTION_MS: &str = "7776000000";
const CALL: Duration = Duration::from_secs(10);
/// How long it takes at most until all brokers know a new topic, also those that are busy starting.
const SPREAD: Duration = Duration::from_secs(5);

/// Creates missing topics if `plan.create`, then checks all of them, as far as that is possible by reading.
///
/// # Errors
/// A missing topic that may not be created, a tracking topic that isn't `cleanup.policy=compact` or hides its policy,
/// or Kafka's own errors.
pub async fn ensure(connection: &Connection, plan: &TopicPlan) -> Result<Layout, KafkaFault> {
    let admin = Admin::open(connection, CALL)?;
    let missing = missing(&admin, &plan.names)?;
    if !missing.is_empty() {
        if !plan.create {
            return Err(KafkaFault::Topic(format!(
                "missing on the broker: {}. Create with `imotriz-kafka topics ensure`, or set `kafka.create_topics`",
                missing.join(", ")
            )));
        }
        let all = plan.new_topics();
        let wanted: Vec<_> = all.iter().filter(|topic| missing.iter().any(|name| name == topic.name)).collect();
        for name in admin.create(&wanted, false).await? {
            tracing::info!(topic = name, "topic created");
        }
        wait_until_visible(&admin, &plan.names).await?;
    }
    check_policy(&admin, &plan.names.tracking).await?;
    check_policy_of_events(&admin, &plan.names.orders).await?;
    // guard: whether the tracking topic can be read is known before a read
    access::check_read(connection, &plan.names.tracking)?;
    Ok(Layout { lanes: admin.partitions(&plan.names.tracking, TRACKED)?.unwrap_or(plan.lanes) })
}

/// As [`ensure`], and also checks the permission to write. A publisher must know before its first read of the
/// marketplace that it can store the orders.
///
/// # Errors
/// As [`ensure`]; and a topic that this user may not write to.
pub async fn ensure_writable(connection: &Connection, plan: &TopicPlan) -> Result<Layout, KafkaFault> {
    let layout = ensure(connection, plan).await?;
    let written: Vec<&str> = plan.names.written().map(String::as_str).collect();
    access::check_writes(connection, &plan.names.tracking, &written).await?;
    Ok(layout)
}

impl TopicPlan {
    /// The topics as they are created.
    #[must_use]
    pub fn new_topics(&self) -> Vec<NewTopic<'_>> {
        let replication = || TopicReplication::Fixed(self.replication);
        let of_orders =
            |name| NewTopic::new(name, self.orders_partitions, replication()).set("retention.ms", RETENTION_MS);
        let mut topics = vec![
            of_orders(&self.names.orders),
            NewTopic::new(&self.names.tracking, self.lanes, replication()).set("cleanup.policy", "compact"),
            NewTopic::new(&self.names.dead_letter, 1, replication()).set("retention.ms", RETENTION_MS),
        ];
        topics.extend(self.names.orders_masked.as_deref().map(of_orders));
        topics
    }
}

fn missing(admin: &Admin, names: &TopicNames) -> Result<Vec<String>, KafkaFault> {
    let mut missing = Vec::new();
    for (name, needs) in names.needed() {
        if admin.partitions(name, needs)?.is_none() {
            missing.push(name.clone());
        }
    }
    Ok(missing)
}

async fn wait_until_visible(admin: &Admin, names: &TopicNames) -> Result<(), KafkaFault> {
    let deadline = Instant::now() + CALL;
    loop {
        match missing(admin, names)?.as_slice() {
            [] => return Ok(()),
            still if Instant::now() > deadline => {
                let why = format!("the broker has created {} and does not show it yet", still.join(", "));
                return Err(KafkaFault::Passing { what: "creating topics", why });
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A broker that has not heard yet of a topic that is new gives the same answer as one that keeps its settings back.
async fn settings_once_known(admin: &Admin, topic: &str) -> Result<Settings, KafkaFault> {
    let deadline = Instant::now() + SPREAD;
    loop {
        match admin.settings_of_topic(topic).await {
            Err(KafkaFault::NotAllowed { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            settings => return settings,
        }
    }
}

/// The tracking topic must keep the last record of each key for ever: any other policy forgets orders. A hidden policy
/// counts as wrong.
async fn check_policy(admin: &Admin, topic: &str) -> Result<(), KafkaFault> {
    match settings_once_known(admin, topic).await?.get("cleanup.policy").map(String::as_str) {
        // guard: the topic's policy is checked
        Some("compact") => Ok(()),
        Some(other) => Err(KafkaFault::Topic(format!(
            "the tracking topic `{topic}` has cleanup.policy={other} and must have `compact` alone: otherwise Kafka forgets \
             what was published, and orders would be published twice. If `topics relane` was to make it, run that again; \
             else set it with kafka-configs --alter, or name another topic in `kafka.topics.tracking`"
        ))),
        None => Err(KafkaFault::Topic(format!(
            "the broker tells settings of the tracking topic `{topic}`, and cleanup.policy is not among them: it must be \
             `compact`, since otherwise Kafka forgets what was published, and orders would be published twice"
        ))),
    }
}

/// Compaction of the orders topic would leave only the last revision of an order. That harms consumers but not the
/// guarantees, so a hidden policy is no reason to stop.
async fn check_policy_of_events(admin: &Admin, topic: &str) -> Result<(), KafkaFault> {
    match admin.settings_of_topic(topic).await {
        Ok(settings) => {
            if settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
                tracing::warn!(
                    topic,
                    "the orders topic is compacted: consumers that come late miss revisions of an order"
                );
            }
            Ok(())
        }
        Err(fault @ KafkaFault::NotAllowed { .. }) => {
            tracing::debug!(topic, %fault, "nobody knows whether the orders topic is compacted");
            Ok(())
        }
        Err(fault) => Err(fault),
    }
}
