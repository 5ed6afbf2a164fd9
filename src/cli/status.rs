//! `status`: asks the running instance, or, if none answers, reads the topics and the spool.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::out;
use super::style::TerminalStyle;
use super::table::Rows;
use super::wrap;
use crate::avro::tracking::OrderState;
use crate::config::Config;
use crate::operate::admin::client;
use crate::operate::queries;
use crate::pipeline::account::{Account, OpenLoss};
use crate::platform::text::{count, plural};
use crate::spool::{FileState, Holder, Spool};

/// What the tracking records say of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Tally {
    published: u64,
    dead_lettered: u64,
    gone: u64,
    last_published: Option<Timestamp>,
}

/// Prints the status.
///
/// # Errors
/// No instance answers, and Kafka or the spool can't be read either.
pub async fn run(config: &Config, json: bool) -> Result<()> {
    match client::get(config.admin.listen, "/status").await {
        Ok(answer) if answer.is_good() => of_instance(&answer.body, json),
        _ => from_topics(config, json).await,
    }
}

fn of_instance(body: &str, json: bool) -> Result<()> {
    let status: Value = serde_json::from_str(body)
        .context("what answers at `admin.listen` is no instance of this program: its answer is not JSON")?;
    if json {
        out::line(format_args!("{:#}", json!({ "source": "instance", "status": status })));
        return Ok(());
    }
    let style = TerminalStyle::of_stdout();
    let number = |value: &Value| value.as_u64().map(count).unwrap_or_default();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let ready = match &status["ready"] {
        Value::Bool(true) => style.good("ready"),
        _ => style.bad("not ready"),
    };
    let started = when(&status["started_at"]);
    out::line(format_args!(
        "running, {ready}; version {}; counted since its start, {started} UTC",
        text(&status["version"])
    ));
    for reason in status["not_ready"].as_array().into_iter().flatten() {
        out::line(format_args!("  {}: {}", text(&reason["what"]), text(&reason["why"])));
    }
    let mut rows = Rows::new(["store", "pending", "published", "dead", "unknown", "unaccounted", "last read (UTC)"]);
    for (name, store) in status["stores"].as_object().into_iter().flatten() {
        let published = match &store["published"] {
            Value::Object(reasons) => count(reasons.values().filter_map(Value::as_u64).sum()),
            other => text(other),
        };
        rows.add([
            name.clone(),
            number(&store["pending"]),
            published,
            number(&store["dead_letters"]),
            number(&store["unknown_reads"]),
            number(&store["unaccounted_orders"]),
            when(&store["last_good_read_at"]),
        ]);
    }
    out::line(format_args!("\n{rows}"));
    for (name, store) in status["stores"].as_object().into_iter().flatten() {
        for (what, trouble) in [("not read", &store["not_read"]), ("not reconciled", &store["not_reconciled"])] {
            if let Some(why) = trouble["why"].as_str() {
                let (since, tried) = (when(&trouble["since"]), when(&trouble["last_tried_at"]));
                let told = format!("{}: {why} (failing since {since}, last tried {tried} UTC)", style.bad(what));
                out::line(format_args!("{}  {}", style.bold(name), wrap::hanging(&told, 2)));
            }
        }
    }
    Ok(())
}

fn when(value: &Value) -> String {
    let at: Option<Timestamp> = value.as_str().and_then(|text| text.parse().ok());
    at.map_or_else(|| "never".to_owned(), to_the_second)
}

fn to_the_second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

async fn from_topics(config: &Config, json: bool) -> Result<()> {
    let tracked = queries::tracked(config, |_| true).await?;
    let letters = queries::letters(config).await?.len();
    let mut stores: BTreeMap<String, Tally> =
        config.stores.keys().map(|name| (name.to_string(), Tally::default())).collect();
    for (key, record) in &tracked {
        let tally = stores.entry(key.store.to_string()).or_default();
        match record.state {
            OrderState::Published => {
                tally.published += 1;
                tally.last_published = tally.last_published.max(Timestamp::from_millisecond(record.published_at).ok());
            }
            OrderState::DeadLettered => tally.dead_lettered += 1,
            OrderState::Gone => tally.gone += 1,
            OrderState::Unknown => {}
        }
    }
    let spool = SpoolLook::of(config)?;
    if json {
        let status = json!({ "source": "topics", "stores": stores, "dead_letters": letters, "spool": spool });
        out::line(format_args!("{status:#}"));
        return Ok(());
    }
    let style = TerminalStyle::of_stdout();
    out::line(format_args!("{}\n", style.dim("no running instance answers; from the topics and the spool:")));
    let mut rows = Rows::new(["store", "published", "dead", "gone", "last published (UTC)"]);
    for (name, tally) in &stores {
        rows.add([
            name.clone(),
            count(tally.published),
            count(tally.dead_lettered),
            count(tally.gone),
            tally.last_published.map_or_else(|| "never".to_owned(), to_the_second),
        ]);
    }
    out::line(format_args!("{rows}\n"));
    out::line(format_args!("dead letters  {} in the topic", plural(letters as u64, "record")));
    out::line(format_args!(
        "spool         {} to be published, {} of unknown outcome, {} damaged",
        plural(spool.pages as u64, "page"),
        plural(spool.unknown as u64, "read"),
        spool.corrupt
    ));
    out::line(format_args!("lock          {}", if spool.locked { "held by a program at work" } else { "free" }));
    out::line(format_args!(
        "account       {}",
        if spool.gaps == 0 { "no read is known to have lost orders".to_owned() } else { spool.told() }
    ));
    Ok(())
}

#[derive(Debug, Clone, Serialize)]
struct SpoolLook {
    pages: usize,
    unknown: usize,
    corrupt: usize,
    locked: bool,
    /// Losses of which orders are missing, or that no pass of the reconciler has examined.
    gaps: usize,
}

impl SpoolLook {
    fn of(config: &Config) -> Result<Self> {
        let dir = &config.spool.dir;
        let entries = Spool::inspect(dir)?;
        let count = |which: fn(&FileState) -> bool| entries.iter().filter(|entry| which(&entry.state)).count();
        let open = |entry: &crate::pipeline::account::LossEntry| {
            !matches!(entry.open, OpenLoss::Nothing | OpenLoss::UnknownUpTo(_))
        };
        Ok(Self {
            pages: count(|state| matches!(state, FileState::Page { .. })),
            unknown: count(|state| matches!(state, FileState::Unknown { .. })),
            corrupt: count(|state| matches!(state, FileState::Corrupt { .. })),
            locked: Spool::holder(dir)? != Holder::Nobody,
            gaps: Account::look(dir)?.iter().filter(|entry| open(entry)).count(),
        })
    }

    fn told(&self) -> String {
        let reads = plural(self.gaps as u64, "cut read");
        format!("{reads} may have lost orders: see `imotriz-kafka spool account`")
    }
}
