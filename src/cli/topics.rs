//! `topics ensure` and `topics check`.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::out;
use crate::config::Config;
use crate::kafka::Connection;
use crate::kafka::topics::{self, TopicPlan};

/// What to do with the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum TopicsCommand {
    /// Create those that are missing, then check all; existing ones are never altered
    Ensure,
    /// Check that they are there and have the settings that the guarantees need
    Check,
}

/// Creates the topics if asked to, then checks them.
///
/// # Errors
/// [`crate::kafka::KafkaFault`], with what to do about it.
pub async fn run(command: TopicsCommand, config: &Config, json: bool) -> Result<()> {
    let create = command == TopicsCommand::Ensure;
    let plan = TopicPlan { create, ..TopicPlan::from(&config.kafka) };
    let connection = Connection::from(&config.kafka);
    let layout = topics::ensure_writable(&connection, &plan).await.map_err(|fault| connection.looked_for(fault))?;
    let names = plan.names;
    if json {
        let topics = json!({ "orders": names.orders, "tracking": names.tracking, "dead_letter": names.dead_letter });
        out::report(json!({ "ok": true, "topics": topics, "lanes": layout.lanes }));
    } else {
        out::report(format_args!(
            "topics are fine: {}, {} ({} lanes), {}",
            names.orders, names.tracking, layout.lanes, names.dead_letter
        ));
    }
    Ok(())
}
