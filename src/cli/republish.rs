//! `republish`: orders that an operator wants to see again.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use thiserror::Error;

use super::{exit, out};
use crate::app::{App, AppError};
use crate::config::Config;
use crate::ids::{OrderId, StoreName};
use crate::reconcile::Republished;
use crate::shutdown::stopper;
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

/// Which store is meant is not clear.
#[derive(Debug, Error)]
#[error("say with --store which store is meant: {}", .0.join(", "))]
pub struct WhichStore(Vec<String>);

/// Returns the exit code.
///
/// # Errors
/// See [`crate::app::AppError`], and a store that the settings don't name.
pub async fn run(args: RepublishArgs, config: &Config, json: bool) -> Result<u8> {
    let store = store(args.store, config)?;
    let (stopper, stop) = stopper();
    stopper.clone().stop_on_signals().context("can't listen to signals")?;
    let app = App::build(config, true, stopper, stop).await.map_err(explain)?;
    let republished = app.republish(&store, args.orders.into_iter().map(Into::into).collect()).await?;
    print(&republished, json);
    Ok(if republished.is_complete() { 0 } else { exit::NOT_REPAIRED })
}

/// Another spool is no way out: its lane would take over from the program that runs.
fn explain(error: AppError) -> anyhow::Error {
    let is_at_work = matches!(error, AppError::Spool(SpoolError::Locked { .. }));
    let error = anyhow::Error::from(error);
    if is_at_work { error.context("`run` is at work with this spool: stop it first") } else { error }
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
    out::report(format_args!("{store}: {published} orders published anew"));
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
