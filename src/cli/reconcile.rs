//! `reconcile`: runs one pass over all stores, or with `--dry-run` shows what it would find.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::progress::possible_loss;
use super::{exit, out, progress};
use crate::app::{self, App};
use crate::config::Config;
use crate::pipeline::counters::{Counters, PassSummary};
use crate::platform::shutdown::cancel_on_signals;

/// How to reconcile.
#[derive(Debug, Clone, Copy, Args)]
pub struct ReconcileArgs {
    /// Print the IDs that are listed and not published, and change nothing; safe while the program runs
    ///
    /// New orders are not read, so orders that are only pending are among them.
    #[arg(long)]
    pub dry_run: bool,
}

/// Returns the exit code.
///
/// # Errors
/// See [`crate::app::AppError`]. A store that fails does not keep the others from being reconciled.
pub async fn run(args: ReconcileArgs, config: &Config, json: bool, bars: &MultiProgress) -> Result<u8> {
    if args.dry_run { dry_run(config, json).await } else { pass(config, json, bars).await }
}

async fn dry_run(config: &Config, json: bool) -> Result<u8> {
    let stores = app::dry_run(config).await?;
    for store in &stores {
        for id in &store.missing {
            if json {
                out::report(json!({ "store": store.store, "order_id": id }));
            } else if stores.len() == 1 {
                out::report(id);
            } else {
                out::report(format_args!("{}/{id}", store.store));
            }
        }
        if !json {
            eprintln!(
                "{}: {} of {} listed orders are not published, some of them perhaps only pending",
                store.store,
                store.missing.len(),
                store.listed
            );
        }
    }
    let none = stores.iter().all(|store| store.missing.is_empty());
    Ok(if none { 0 } else { exit::MISSING })
}

async fn pass(config: &Config, json: bool, bars: &MultiProgress) -> Result<u8> {
    let stop = CancellationToken::new();
    cancel_on_signals(stop.clone()).context("can't listen to signals")?;
    let app = App::build(config, true, stop).await?;
    let counters = app.counters();
    let bar = (!json && std::io::stderr().is_terminal()).then(|| bars.add(progress::bar("missing orders  {pace}")));
    let (summaries, result) = tokio::select! {
        ended = app.reconcile() => ended,
        () = watch(bar.as_ref(), &counters) => unreachable!("the watch goes on until the pass ends"),
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    for summary in &summaries {
        print(summary, json);
    }
    result?;
    Ok(code(&summaries))
}

fn code(summaries: &[PassSummary]) -> u8 {
    if summaries.iter().any(|summary| summary.is_beyond_repair()) {
        exit::NOT_REPAIRED
    } else if summaries.iter().any(|summary| summary.missing > 0) {
        exit::REPAIRED
    } else {
        0
    }
}

fn print(summary: &PassSummary, json: bool) {
    if json {
        out::report(json!(summary));
        return;
    }
    let PassSummary { store, listed, missing, published, skipped, dead_letters, gone, failed, .. } = summary;
    let PassSummary { unaccounted, unaccounted_reads, possibly_unaccounted, updated, not_found, .. } = summary;
    if *updated > 0 {
        out::report(format_args!("{store}: {updated} orders had changed and are published anew"));
    }
    if *not_found > 0 {
        out::report(format_args!(
            "{store}: {not_found} published orders are not found any more (404), so nothing is known of their changes"
        ));
    }
    if *missing == 0 {
        out::report(format_args!("{store}: nothing is missing of {listed} orders that are listed"));
    } else {
        out::report(format_args!(
            "{store}: {missing} of {listed} listed orders were missing: {published} published now"
        ));
    }
    let rest = [
        (*skipped, "came by another way meanwhile"),
        (*dead_letters, "could not be mapped and are dead letters"),
        (*gone, "are not on the marketplace any more (404) and won't be asked for again"),
        (*failed, "could not be fetched: try again"),
        (
            *unaccounted,
            "at least were handed over, never arrived and are not listed: see `imotriz-kafka spool account`",
        ),
    ];
    for (count, what) in rest.iter().filter(|(count, _)| *count > 0) {
        out::report(format_args!("{store}: {count} {what}"));
    }
    if *unaccounted_reads > 0 {
        out::report(format_args!("{store}: {}", possible_loss(*unaccounted_reads, *possibly_unaccounted)));
    }
}

/// Updates the progress bar for ever.
async fn watch(bar: Option<&ProgressBar>, counters: &Counters) {
    let Some(bar) = bar else { return std::future::pending().await };
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        bar.set_length(counters.total(|store| store.missing.get()));
        bar.set_position(counters.total(|store| store.looked_up.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(missing: u64, published: u64, gone: u64) -> PassSummary {
        let store = "bogota".parse().unwrap();
        PassSummary { listed: 9, missing, published, gone, ..PassSummary::of(&store) }
    }

    #[test]
    fn the_exit_code_tells_the_worst_of_all_stores() {
        assert_eq!(code(&[summary(0, 0, 0)]), 0);
        assert_eq!(code(&[summary(0, 0, 0), summary(2, 2, 0)]), exit::REPAIRED);
        assert_eq!(code(&[summary(2, 1, 1), summary(2, 2, 0)]), exit::NOT_REPAIRED);
        assert_eq!(code(&[PassSummary { unaccounted: 1, ..summary(0, 0, 0) }]), exit::NOT_REPAIRED);
        let possible = PassSummary { unaccounted_reads: 1, possibly_unaccounted: 30, ..summary(0, 0, 0) };
        assert_eq!(code(&[possible]), 0, "what is only possible is no finding");
    }
}
