//! Topics of one test. Their names are unique, so that tests can run side by side on one broker.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use uuid::Uuid;

use super::{Kafka, http};

/// The names of the three topics of one run of the program. They are not created by naming them.
#[derive(Debug, Clone)]
pub struct Topics {
    pub orders: String,
    pub tracking: String,
    pub dead_letter: String,
}

impl Topics {
    /// Names that start with `test` and are used by nobody else.
    pub fn unique(test: &str) -> Self {
        let prefix = unique(test);
        let name = |suffix| format!("{prefix}.{suffix}");
        Self { orders: name("orders"), tracking: name("tracking"), dead_letter: name("dlq") }
    }
}

/// A name that starts with `test` and is used by nobody else.
pub fn unique(test: &str) -> String {
    format!("{test}-{}", Uuid::now_v7().simple())
}

/// Creates a topic with one replica, and returns once the broker has it.
pub fn create(kafka: &Kafka, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let results = http::block_on(admin(kafka).create_topics([&topic], &options())).unwrap();
    results.into_iter().next().expect("one topic, one result").unwrap();
}

/// Deletes a topic.
pub fn delete(kafka: &Kafka, name: &str) {
    let results = http::block_on(admin(kafka).delete_topics(&[name], &options())).unwrap();
    results.into_iter().next().expect("one topic, one result").unwrap();
}

/// Gives a topic more partitions, so many in all.
pub fn add_partitions(kafka: &Kafka, name: &str, partitions: usize) {
    let more = NewPartitions::new(name, partitions);
    let results = http::block_on(admin(kafka).create_partitions([&more], &options())).unwrap();
    results.into_iter().next().expect("one topic, one result").unwrap();
}

/// Changes a setting of a topic, and drops its other ones.
pub fn set(kafka: &Kafka, name: &str, key: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value);
    let results = http::block_on(admin(kafka).alter_configs([&change], &options())).unwrap();
    results.into_iter().next().expect("one topic, one result").unwrap();
}

fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
    kafka.client().create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)))
}
