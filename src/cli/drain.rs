//! `drain`, and what it and `run` say in the end.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::out;
use crate::app::App;
use crate::config::Config;
use crate::counters::{Counters, Number, StoreCounters};
use crate::shutdown::stopper;

/// Drains until nothing is pending, or until it is stopped; then says what was done.
///
/// # Errors
/// See [`crate::app::AppError`].
pub async fn run(config: &Config, json: bool, bars: &MultiProgress) -> Result<()> {
    let (stopper, stop) = stopper();
    stopper.clone().stop_on_signals().context("can't listen to signals")?;
    let app = App::build(config, true, stopper, stop).await?;
    let counters = app.counters();
    let bar = (!json && std::io::stderr().is_terminal()).then(|| bars.add(progress_bar()));
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
    Ok(result?)
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40.green/dim} {pos}/{len} orders  {per_sec}  {msg}  eta {eta}")
        .expect("the template is fixed")
        .progress_chars("━━─");
    ProgressBar::new(0).with_style(style)
}

/// Never returns.
async fn watch(bar: Option<&ProgressBar>, counters: &Counters) {
    let Some(bar) = bar else { return std::future::pending().await };
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tick.tick().await;
        let done = counters.total(StoreCounters::settled);
        // The marketplace says how many are pending behind what was read.
        bar.set_length(counters.total(|store| store.orders_read.get() + store.pending.get()).max(done));
        bar.set_position(done);
        bar.set_message(match counters.total(|store| store.unknown_reads.get()) {
            0 => String::new(),
            unknown => format!("{unknown} reads with an unknown outcome"),
        });
    }
}

pub(super) fn summarize(counters: &Counters, json: bool) {
    let total = |number: fn(&StoreCounters) -> &Number| counters.total(|store| number(store).get());
    let published = counters.total(|store| store.published.total());
    let [dead, skipped, pages] = [total(|s| &s.dead_letters), total(|s| &s.skipped), total(|s| &s.pages_read)];
    let [unknown, unsettled, missing] =
        [total(|s| &s.unknown_reads), total(|s| &s.unsettled_reads), total(|s| &s.missing)];
    let [unaccounted, unaccounted_reads] = [&counters.unaccounted, &counters.unaccounted_reads].map(Number::get);
    if json {
        let [p50, p99] = [0.5, 0.99].map(|share| counters.page_commit.quantile(share).as_secs_f64() * 1000.0);
        let summary = json!({
            "published": published, "dead_letters": dead, "skipped": skipped, "pages": pages, "unknown_reads": unknown,
            "unsettled_reads": unsettled, "missing": missing, "unaccounted": unaccounted,
            "unaccounted_reads": unaccounted_reads,
            "page_commit_ms": { "p50": p50, "p99": p99 }, "last_commit": counters.last_commit.get(),
        });
        out::report(summary);
        return;
    }
    out::report(format_args!(
        "{published} orders published, {dead} dead letters, {skipped} already known; {pages} pages read"
    ));
    if missing > 0 {
        out::report(format_args!(
            "{missing} orders had been handed over and never arrived: they were fetched by their IDs"
        ));
    }
    if unsettled > 0 {
        out::report(format_args!(
            "{unsettled} reads had an unknown outcome: orders may have been marked that did not reach us \
             (`imotriz-kafka spool list` shows them, `imotriz-kafka reconcile` looks for the orders)"
        ));
    }
    if unaccounted > 0 {
        out::report(format_args!(
            "at least {unaccounted} orders were handed over, never arrived and are not listed: see `imotriz-kafka spool account`"
        ));
    }
    if unaccounted_reads > 0 {
        out::report(format_args!(
            "{unaccounted_reads} cut reads may have lost orders that are not listed: see `imotriz-kafka spool account`"
        ));
    }
}
