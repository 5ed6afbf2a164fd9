//! The instances that share the stores, as Kafka knows them.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Config;
use crate::kafka::topics::TRACKED;
use crate::kafka::{Admin, Connection, GroupMember, GroupView, KafkaFault};
use crate::order::ids::StoreName;
use crate::pipeline::tracking_memory::lane_of;
use crate::platform::clock;

/// How long the answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// The whole group at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Instances {
    pub group_id: String,
    /// When Kafka was asked.
    pub at: Timestamp,
    /// Kafka's word for the group's state; empty if there is no such group, or this user may not see it.
    pub state: String,
    pub instances: Vec<Instance>,
    /// Lanes that no instance owns, for instance while they move.
    pub unowned_lanes: Vec<i32>,
}

/// What the status says of the group.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Group {
    Known(Instances),
    /// Kafka does not tell.
    Unknown {
        why: String,
    },
}

/// One of them. Since when it has its lanes, Kafka does not know: its own status tells.
#[derive(Debug, Clone, Serialize)]
pub struct Instance {
    /// `cluster.instance_id`, or what else its client calls itself.
    pub name: String,
    pub host: String,
    pub lanes: Vec<i32>,
    /// How many of the stores that are known here belong to its lanes.
    pub stores: usize,
}

impl From<Result<Instances, KafkaFault>> for Group {
    fn from(answer: Result<Instances, KafkaFault>) -> Self {
        match answer {
            Ok(instances) => Self::Known(instances),
            Err(fault) => Self::Unknown { why: fault.to_string() },
        }
    }
}

/// How to ask for them.
#[derive(Debug, Clone)]
pub struct GroupQuery {
    connection: Connection,
    group_id: String,
    topic: String,
}

/// The group that the settings name, with their stores; `None` if they name none. Blocks.
#[must_use]
pub fn of_group(config: &Config) -> Option<Group> {
    let query = GroupQuery::of(config)?;
    let asked = query.lanes().and_then(|lanes| query.ask(lanes, config.stores.keys()));
    Some(asked.into())
}

impl GroupQuery {
    /// `None` if the settings know of no group.
    #[must_use]
    pub fn of(config: &Config) -> Option<Self> {
        config.cluster.enabled.then(|| Self {
            connection: Connection::from(&config.kafka),
            group_id: config.cluster.group_id.clone(),
            topic: config.kafka.topics.tracking.clone(),
        })
    }

    /// How many lanes there are. Blocks.
    fn lanes(&self) -> Result<i32, KafkaFault> {
        let there = Admin::open(&self.connection, PATIENCE)?.partitions(&self.topic, TRACKED)?;
        there.ok_or_else(|| KafkaFault::Topic(format!("the tracking topic `{}` is not there", self.topic)))
    }

    /// Asks Kafka who owns the `lanes` lanes. Blocks.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn ask<'a>(&self, lanes: i32, stores: impl Iterator<Item = &'a StoreName>) -> Result<Instances, KafkaFault> {
        let GroupView { state, members } = self.view()?;
        let homes: Vec<i32> = stores.map(|store| lane_of(store, lanes)).collect();
        let is_owned = |lane: &i32| members.iter().any(|member| member.lanes.contains(lane));
        let unowned_lanes = (0..lanes).filter(|lane| !is_owned(lane)).collect();
        let instance = |GroupMember { name, host, lanes }| {
            let stores = homes.iter().filter(|home| lanes.contains(home)).count();
            Instance { name, host, lanes, stores }
        };
        let instances = members.into_iter().map(instance).collect();
        Ok(Instances { group_id: self.group_id.clone(), at: clock::now(), state, instances, unowned_lanes })
    }

    /// The instance that owns a store, if one does. Blocks.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn owner(&self, store: &StoreName) -> Result<Option<GroupMember>, KafkaFault> {
        let home = lane_of(store, self.lanes()?);
        Ok(self.view()?.members.into_iter().find(|member| member.lanes.contains(&home)))
    }

    fn view(&self) -> Result<GroupView, KafkaFault> {
        GroupView::ask(&self.connection, &self.group_id, &self.topic, PATIENCE)
    }
}
