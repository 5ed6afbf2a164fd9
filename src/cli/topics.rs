//! `topics ensure`, `topics check` and `topics relane`.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::out;
use crate::config::Config;
use crate::kafka::Connection;
use crate::kafka::topics::{self, TopicPlan};
use crate::operate::relane::{self, Relaned};
use crate::platform::text::plural;

/// What to do with the topics.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum TopicsCommand {
    /// Create those that are missing, then check all; existing ones are never altered
    Ensure,
    /// Check that they are there and have the settings that the guarantees need
    Check,
    /// Copy the tracking topic into a new one with another number of lanes; stop all instances first
    ///
    /// The old topic stays as it is. Repeat it if it was interrupted: a topic that is not complete is refused by `run`.
    Relane(RelaneArgs),
}

/// How many lanes, and where.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RelaneArgs {
    /// The new number of lanes
    #[arg(value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub lanes: i32,
    /// The new topic; otherwise the old one's name with the number of lanes behind it
    #[arg(long, value_name = "TOPIC")]
    pub into: Option<String>,
}

/// Creates the topics if asked to, then checks them.
///
/// # Errors
/// [`crate::kafka::KafkaFault`] or [`relane::RelaneError`], with what to do about it.
pub async fn run(command: TopicsCommand, config: &Config, json: bool) -> Result<()> {
    let create = match command {
        TopicsCommand::Relane(args) => return relane(args, config, json).await,
        TopicsCommand::Ensure => true,
        TopicsCommand::Check => false,
    };
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

async fn relane(args: RelaneArgs, config: &Config, json: bool) -> Result<()> {
    let Relaned { from, before, into, lanes, orders, written } = relane::relane(config, args.lanes, args.into).await?;
    if json {
        let (from, into) = (json!({ "topic": from, "lanes": before }), json!({ "topic": into, "lanes": lanes }));
        out::report(json!({ "ok": true, "from": from, "into": into, "orders": orders, "written": written }));
        return Ok(());
    }
    out::report(format_args!(
        "{into} has {lanes} lanes and all {} of {from} ({written} written now). Set `kafka.topics.tracking` to \"{into}\" for \
         every instance, then start them; {from} stays as it is, and nothing may publish with it any more",
        plural(orders as u64, "tracked order")
    ));
    Ok(())
}
