//! `status`: asks the running instance, or, if none answers, reads the topics and the spool.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use url::form_urlencoded;

use super::out;
use super::style::TerminalStyle;
use super::table::Rows;
use super::wrap;
use crate::avro::tracking::OrderState;
use crate::config::Config;
use crate::operate::admin::{State, client};
use crate::operate::{instances, queries};
use crate::pipeline::account::{Account, OpenLoss};
use crate::platform::text::{count, natural_order, plural};
use crate::spool::{FileState, Holder, Spool};

/// What the tracking records say of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Tally {
    published: u64,
    dead_lettered: u64,
    gone: u64,
    last_published: Option<Timestamp>,
}

/// How many stores that are not well are told. Whoever has more of them has one cause to look for.
const TOLD: usize = 20;

/// What to show of a running instance.
#[derive(Debug, Clone, Default, Args)]
pub struct StatusArgs {
    /// Only this store
    #[arg(long)]
    pub store: Option<String>,
    /// Only stores in this state
    #[arg(long, value_enum)]
    pub state: Option<State>,
    /// At most so many stores
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: Option<u16>,
    /// Only stores behind this name, in natural order
    #[arg(long)]
    pub after: Option<String>,
}

impl StatusArgs {
    /// The path to ask for. Without a wish a person is told what is not well, and a program everything.
    fn path(&self, json: bool) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let state = match self {
            Self { store: None, state: None, after: None, .. } if !json => Some(State::NotWell),
            Self { state, .. } => *state,
        };
        let limit = self.limit.map(usize::from).or((!json).then_some(TOLD));
        let wishes = [
            ("store", self.store.clone()),
            ("state", state.map(|state| state.word().to_owned())),
            ("limit", limit.map(|limit| limit.to_string())),
            ("after", self.after.clone()),
        ];
        for (name, wish) in wishes {
            if let Some(wish) = wish {
                query.append_pair(name, &wish);
            }
        }
        format!("/status?{}", query.finish())
    }
}

/// Prints the status.
///
/// # Errors
/// No instance answers, and Kafka or the spool can't be read either.
pub async fn run(config: &Config, wished: &StatusArgs, json: bool) -> Result<()> {
    match client::get(config.admin.listen, &wished.path(json)).await {
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
    print_totals(&status["totals"], style);
    print_lanes(&status["lanes"]);
    print_group(&status["group"], style);
    let stores = status["stores"].as_object().into_iter().flatten();
    stores.for_each(|(name, store)| print_store(name, store, style));
    if let Some(after) = status["next_after"].as_str() {
        out::line(format_args!("\nmore of the {} are shown with --after {after}", number(&status["stores_found"])));
    }
    Ok(())
}

fn print_totals(totals: &Value, style: TerminalStyle) {
    let (well, not_well) = (&totals["well"], totals["not_well"].as_u64().unwrap_or(0));
    let stores = plural(totals["stores"].as_u64().unwrap_or(0), "store");
    let well = match not_well {
        0 => style.good(format!("{} well", number(well))),
        some => format!("{}, {} well", style.bad(format!("{} not well", count(some))), number(well)),
    };
    let published: u64 = totals["published"].as_object().into_iter().flatten().filter_map(|(_, it)| it.as_u64()).sum();
    out::line(format_args!("\nstores        {stores}: {well}"));
    for (name, value) in [
        ("pending", number(&totals["pending"])),
        ("published", count(published)),
        ("dead letters", number(&totals["dead_letters"])),
        (
            "cut reads",
            format!("{}, {} not settled", number(&totals["unknown_reads"]), number(&totals["unsettled_unknown_reads"])),
        ),
        ("unaccounted", number(&totals["unaccounted_orders"])),
        ("oldest read", format!("{} UTC", when(&totals["last_good_read_at"]))),
    ] {
        out::line(format_args!("{name:<12}  {value}"));
    }
}

/// Prints how the lanes of the instance stand.
fn print_lanes(lanes: &Value) {
    let mut rows = Rows::new(["lane", "state", "since (UTC)", "stores", "pages to publish", "tracked orders"]);
    let mut in_order: Vec<_> = lanes.as_object().into_iter().flatten().collect();
    in_order.sort_by(|(one, _), (other, _)| natural_order(one, other));
    for (number, lane) in in_order {
        let [stores, pages, orders] = ["stores", "pages", "index_orders"].map(|key| self::number(&lane[key]));
        rows.add([number.clone(), text(&lane["state"]), when(&lane["since"]), stores, pages, orders]);
    }
    out::line(format_args!("\n{rows}"));
}

/// Prints all instances, as Kafka knows them.
fn print_group(group: &Value, style: TerminalStyle) {
    if let Some(why) = group["why"].as_str() {
        out::line(format_args!("\n{}", style.bad(format!("Kafka does not tell who the other instances are: {why}"))));
    }
    let Some(instances) = group["instances"].as_array() else { return };
    let list =
        |lanes: &Value| lanes.as_array().into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut rows = Rows::new(["instance", "address", "stores", "lanes"]);
    for instance in instances {
        let (name, host) = (text(&instance["name"]), text(&instance["host"]));
        rows.add([name, host, number(&instance["stores"]), list(&instance["lanes"])]);
    }
    let state = group["state"].as_str().filter(|state| !state.is_empty()).unwrap_or("not there");
    out::line(format_args!("\ngroup {}  {}\n\n{rows}", text(&group["group_id"]), state.to_lowercase()));
    let unowned = list(&group["unowned_lanes"]);
    if !unowned.is_empty() {
        out::line(style.bad(format!("lanes of nobody at the moment: {unowned}")));
    }
    out::line(style.dim("since when an instance has its lanes is in its own status: Kafka does not know"));
}

/// Prints what is wrong with a store and what to do about it, or how it stands if it is well.
fn print_store(name: &str, store: &Value, style: TerminalStyle) {
    let problems = store["problems"].as_array().map(Vec::as_slice).unwrap_or_default();
    if problems.is_empty() {
        out::line(format_args!(
            "\n{} {}  well; {} pending, last read {} UTC",
            style.good("✓"),
            style.bold(name),
            number(&store["pending"]),
            when(&store["last_good_read_at"])
        ));
    }
    for problem in problems {
        let what = match problem["state"].as_str() {
            Some("parked" | "not_read") => "not read",
            Some("not_reconciled") => "not reconciled",
            Some(other) => other,
            None => "",
        };
        let tried = match problem["last_tried_at"].as_str() {
            Some(_) => {
                format!("failing since {}, last tried {} UTC", when(&problem["since"]), when(&problem["last_tried_at"]))
            }
            None => format!("since {} UTC", when(&problem["since"])),
        };
        let told = format!("{}: {} ({tried})", style.bad(what), text(&problem["reason"]));
        out::line(format_args!("\n{} {}  {}", style.bad("✗"), style.bold(name), wrap::hanging(&told, 2)));
        out::line(format_args!("  → {}", wrap::hanging(&text(&problem["cure"]), 4)));
    }
}

fn number(value: &Value) -> String {
    value.as_u64().map(count).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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
    let group = json!(block_in_place(|| instances::of_group(config)));
    if json {
        let status =
            json!({ "source": "topics", "stores": stores, "dead_letters": letters, "spool": spool, "group": group });
        out::line(format_args!("{status:#}"));
        return Ok(());
    }
    let style = TerminalStyle::of_stdout();
    out::line(format_args!("{}\n", style.dim("no running instance answers; from the topics and the spool:")));
    let mut rows = Rows::new(["store", "published", "dead", "gone", "last published (UTC)"]);
    let mut in_order: Vec<_> = stores.iter().collect();
    in_order.sort_by(|(one, _), (other, _)| natural_order(one, other));
    for (name, tally) in in_order {
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
    print_group(&group, style);
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
