//! `republish`: publishes orders again that an operator names.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use thiserror::Error;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use super::{exit, out};
use crate::app::control_socket::{self, ControlError};
use crate::app::{App, AppError};
use crate::config::Config;
use crate::operate::instances::GroupQuery;
use crate::order::ids::{OrderId, StoreName};
use crate::pipeline::reconcile::{Republished, Wanted};
use crate::platform::shutdown::cancel_on_signals;
use crate::platform::text::plural;
use crate::spool::SpoolError;

/// What to publish anew.
#[derive(Debug, Clone, Args)]
pub struct RepublishArgs {
    /// The store that sold; may be left out where the settings name one alone
    #[arg(long)]
    pub store: Option<StoreName>,
    /// The marketplace's IDs of the orders
    #[arg(required = true, value_name = "ORDER_ID")]
    pub orders: Vec<OrderId>,
}

/// The settings have several stores, or not the one that was named.
#[derive(Debug, Error)]
#[error("say with --store which store is meant: {}", .0.join(", "))]
pub struct WhichStore(Vec<String>);

/// Another instance has the store.
#[derive(Debug, Error)]
#[error(
    "the store `{store}` is not this instance's at the moment but `{instance}`'s, which speaks to Kafka from {host}: run \
     the command there"
)]
pub struct OwnedElsewhere {
    store: StoreName,
    instance: String,
    host: String,
}

/// Returns the exit code.
///
/// # Errors
/// See [`crate::app::AppError`], and [`WhichStore`].
pub async fn run(args: RepublishArgs, config: &Config, json: bool) -> Result<u8> {
    let store = store(args.store, config)?;
    let orders = args.orders.into_iter().map(Into::into).collect();
    let republished = publish(config, &store, orders).await?;
    print(&republished, json);
    Ok(if republished.is_complete() { 0 } else { exit::NOT_REPAIRED })
}

/// Publishes orders anew. If another process holds the spool, asks that process to do it. A second spool would not
/// help: its lane would fence the running program's producer.
pub(super) async fn publish(config: &Config, store: &StoreName, orders: Vec<Wanted>) -> Result<Republished> {
    let stop = CancellationToken::new();
    cancel_on_signals(stop.clone()).context("can't listen to signals")?;
    match App::build(config, true, stop.clone()).await {
        Ok(app) => {
            check_owner(config, store)?;
            Ok(app.republish(store, orders).await?)
        }
        Err(locked @ AppError::Spool(SpoolError::Locked { .. })) => {
            match control_socket::ask(&config.spool.dir, store, &orders, &stop).await {
                Err(nobody @ ControlError::NobodyThere) => Err(anyhow::Error::from(locked).context(nobody)),
                Err(not_at_work @ ControlError::NotAtWork(_)) => {
                    check_owner(config, store)?;
                    Err(not_at_work.into())
                }
                answer => Ok(answer?),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Fails if another instance has the store: to publish for it here would fence its producer.
fn check_owner(config: &Config, store: &StoreName) -> Result<()> {
    let Some(group) = GroupQuery::of(config) else { return Ok(()) };
    match block_in_place(|| group.owner(store))? {
        Some(owner) if config.cluster.instance_id.as_ref() != Some(&owner.name) => {
            Err(OwnedElsewhere { store: store.clone(), instance: owner.name, host: owner.host }.into())
        }
        _ => Ok(()),
    }
}

fn store(wanted: Option<StoreName>, config: &Config) -> Result<StoreName> {
    let stores = config.stores_or_error()?;
    let found = match wanted {
        Some(wanted) => stores.keys().find(|name| **name == wanted),
        None if stores.len() == 1 => stores.keys().next(),
        None => None,
    };
    found.cloned().ok_or_else(|| WhichStore(stores.keys().map(ToString::to_string).collect()).into())
}

pub(super) fn print(republished: &Republished, json: bool) {
    if json {
        out::report(json!(republished));
        return;
    }
    let Republished { store, published, dead_letters, not_found, failed } = republished;
    out::report(format_args!("{store}: {} published anew", plural(*published, "order")));
    if *dead_letters > 0 {
        out::report(format_args!("{store}: {dead_letters} could not be mapped and are dead letters"));
    }
    for id in not_found {
        out::report(format_args!(
            "{store}: the marketplace does not have the order {id} (404); it looks 30 days back at most"
        ));
    }
    for unfetched in failed {
        out::report(format_args!("{store}: the order {} could not be fetched: {}", unfetched.order_id, unfetched.why));
    }
}
