//! Converts the settings into the arguments of the Kafka clients.

use super::topics::{TopicNames, TopicPlan};
use super::{Connection, GroupOptions};
use crate::config;

impl From<&config::Kafka> for Connection {
    fn from(kafka: &config::Kafka) -> Self {
        Self {
            bootstrap_servers: kafka.bootstrap_servers.clone(),
            properties: kafka.properties.inline().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            property_files: kafka.properties.files().map(|(key, path)| (key.to_owned(), path.into())).collect(),
            transactional_id_prefix: kafka.transactional_id_prefix.clone(),
            transaction_timeout: kafka.transaction_timeout,
        }
    }
}

impl From<&config::Kafka> for TopicPlan {
    fn from(kafka: &config::Kafka) -> Self {
        Self {
            names: kafka.into(),
            create: kafka.create_topics,
            replication: kafka.replication_factor,
            orders_partitions: kafka.orders_partitions,
            lanes: kafka.lanes,
        }
    }
}

impl From<&config::Kafka> for TopicNames {
    fn from(kafka: &config::Kafka) -> Self {
        Self {
            orders: kafka.topics.orders.clone(),
            tracking: kafka.topics.tracking.clone(),
            dead_letter: kafka.topics.dead_letter.clone(),
            orders_masked: kafka.topics.orders_masked.clone(),
        }
    }
}

impl From<&config::Cluster> for GroupOptions {
    fn from(cluster: &config::Cluster) -> Self {
        Self {
            group_id: cluster.group_id.clone(),
            instance_id: cluster.instance_id.clone(),
            session_timeout: cluster.session_timeout,
        }
    }
}
