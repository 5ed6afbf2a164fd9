//! `drain`, and the final summary that `run` prints too.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{MultiProgress, ProgressBar};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::progress::possible_loss;
use super::{out, progress};
use crate::app::App;
use crate::avro::event::Reason;
use crate::config::Config;
use crate::pipeline::counters::{Counters, Number, StoreCounters};
use crate::platform::shutdown::cancel_on_signals;
use crate::platform::text::{count, plural};

/// Drains until nothing is pending or until it is stopped, then prints a summary.
///
/// # Errors
/// See [`crate::app::AppError`].
pub async fn run(config: &Config, json: bool, bars: &MultiProgress) -> Result<()> {
    let stop = CancellationToken::new();
    cancel_on_signals(stop.clone()).context("can't listen to signals")?;
    let app = App::build(config, true, stop.clone()).await?;
    let counters = app.counters();
    let bar = (!json && std::io::stderr().is_terminal()).then(|| bars.add(progress::bar("orders  {pace}  {msg}")));
    let result = {
        let run = app.run();
        let watch = watch(bar.as_ref(), &counters);
        tokio::pin!(run);
        tokio::select! {
            result = &mut run => result,
            () = watch => unreachable!("the watch goes on until the run ends"),
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    summarize(&counters, json);
    let pending = counters.total(|store| store.pending.get());
    if stop.is_cancelled() && pending > 0 && !json {
        out::report(format_args!("stopped: {} still pending on the marketplace", plural(pending, "order")));
    }
    result?;
    // The other stores are drained all the same.
    Ok(config.refused_or_none()?)
}

/// Updates the progress bar for ever.
async fn watch(bar: Option<&ProgressBar>, counters: &Counters) {
    let Some(bar) = bar else { return std::future::pending().await };
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let done = counters.total(StoreCounters::settled);
        // `pending` counts the orders that the marketplace holds beyond those read.
        bar.set_length(counters.total(|store| store.orders_read.get() + store.pending.get()).max(done));
        bar.set_position(done);
        bar.set_message(match counters.total(|store| store.unknown_reads.get()) {
            0 => String::new(),
            unknown => format!("{} cut", plural(unknown, "read")),
        });
    }
}

pub(super) fn summarize(counters: &Counters, json: bool) {
    let total = |number: fn(&StoreCounters) -> &Number| counters.total(|store| number(store).get());
    let published = counters.total(|store| store.published.total());
    let [dead, skipped, pages] = [total(|s| &s.dead_letters), total(|s| &s.skipped), total(|s| &s.pages_read)];
    let [unknown, unsettled, missing] =
        [total(|s| &s.unknown_reads), total(|s| &s.unsettled_reads), total(|s| &s.missing)];
    let [unaccounted, unaccounted_reads, possible] =
        [&counters.unaccounted, &counters.unaccounted_reads, &counters.possibly_unaccounted].map(Number::get);
    let fetched = counters.total(|store| store.published.get().of(Reason::Reconciled));
    let not_fetched = counters.total(|store| store.last_pass().map_or(0, |pass| pass.summary.failed));
    if json {
        let [p50, p99] = [0.5, 0.99].map(|share| counters.page_commit.quantile(share).as_secs_f64() * 1000.0);
        let summary = json!({
            "published": published, "dead_letters": dead, "skipped": skipped, "pages": pages, "unknown_reads": unknown,
            "unsettled_reads": unsettled, "missing": missing, "fetched_by_id": fetched,
            "not_fetched": not_fetched, "unaccounted": unaccounted, "unaccounted_reads": unaccounted_reads,
            "possibly_unaccounted": possible, "pending": total(|s| &s.pending),
            "page_commit_ms": { "p50": p50, "p99": p99 }, "last_commit": counters.last_commit.get(),
        });
        out::report(summary);
        return;
    }
    out::report(format_args!(
        "{} published, {}, {} already known; {} read",
        plural(published, "order"),
        plural(dead, "dead letter"),
        count(skipped),
        plural(pages, "page"),
    ));
    if missing > 0 {
        out::report(format_args!(
            "{} had been handed over and never arrived: {} fetched by ID and published",
            plural(missing, "order"),
            count(fetched)
        ));
    }
    if not_fetched > 0 {
        out::report(format_args!(
            "{} could not be fetched and so are not published: start it again, or `imotriz-kafka reconcile`",
            plural(not_fetched, "order")
        ));
    }
    if unsettled > 0 {
        out::report(format_args!(
            "{} had an unknown outcome: orders may have been marked that did not reach us (`imotriz-kafka spool list` \
             shows it, `imotriz-kafka reconcile` looks for the orders)",
            plural(unsettled, "read")
        ));
    }
    if unaccounted > 0 {
        out::report(format_args!(
            "at least {} handed over, never arrived, and not listed: see `imotriz-kafka spool account`",
            plural(unaccounted, "order")
        ));
    }
    if unaccounted_reads > 0 {
        out::report(possible_loss(unaccounted_reads, possible));
    }
}
