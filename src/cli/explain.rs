//! `explain`: prints everything that is known of an order, and a sentence that says where the order is and why.

use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::exit;
use super::style::TerminalStyle;
use super::{out, wrap};
use crate::avro::tracking::{OrderState, OrderTracking};
use crate::config::Config;
use crate::operate::queries::{self, Letter, Sighting};
use crate::order::ids::{OrderId, OrderKey, StoreName};
use crate::spool::{FileState, SpoolEntry};

/// Which order.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The marketplace's ID of the order
    #[arg(value_name = "ORDER_ID")]
    pub order: OrderId,
    /// Only of this store
    #[arg(long)]
    pub store: Option<StoreName>,
}

/// The column in which the text of a fact begins, behind its name and time.
const MARGIN: usize = 36;

/// Everything that is known of an order in one store.
#[derive(Debug, Default)]
struct Case {
    spooled: Vec<SpoolEntry>,
    events: Vec<Sighting>,
    tracked: Option<OrderTracking>,
    letters: Vec<Letter>,
}

/// Returns the exit code: 7 if the order is found nowhere.
///
/// # Errors
/// [`QueryError`](queries::QueryError).
pub async fn run(args: ExplainArgs, config: &Config, json: bool) -> Result<u8> {
    let cases = cases(&args, config).await?;
    let found = !cases.is_empty();
    if json {
        let cases: Vec<Value> = cases.iter().map(|(store, case)| as_json(store, &args.order, case)).collect();
        out::line(format_args!("{:#}", json!({ "order_id": args.order, "found": found, "stores": cases })));
    } else {
        cases.iter().for_each(|(store, case)| print(store, &args.order, case));
        if !found {
            out::line(wrap::hanging(&nowhere(&args.order), 0));
        }
    }
    Ok(if found { 0 } else { exit::FINDING })
}

fn nowhere(id: &OrderId) -> String {
    format!(
        "The order {id} is not in the spool, not in the topics, and not tracked: this program never received it. \
         It may still be waiting on the marketplace, which hands it over at the next read. If it was placed within the last \
         8 days, `imotriz-kafka reconcile --dry-run` tells whether it is listed; `imotriz-kafka republish {id}` fetches it by \
         its ID. Or it is older than what the topics and `reconcile.retention` keep."
    )
}

/// Collects the facts by store. Reads the spool first: a page that leaves it meanwhile is then found in the topics.
async fn cases(args: &ExplainArgs, config: &Config) -> Result<BTreeMap<String, Case>> {
    let id = &args.order;
    let mut cases = BTreeMap::<String, Case>::new();
    for entry in queries::spooled(config, id)? {
        let store = entry.store.as_ref().map(ToString::to_string).unwrap_or_default();
        cases.entry(store).or_default().spooled.push(entry);
    }
    for sighting in queries::events_of(config, id).await? {
        cases.entry(sighting.event.store.clone()).or_default().events.push(sighting);
    }
    for (OrderKey { store, .. }, record) in queries::tracked(config, |key| key.id == *id).await? {
        cases.entry(store.to_string()).or_default().tracked = Some(record);
    }
    for letter in queries::letters(config).await? {
        if letter.order_id.as_ref() == Some(id) {
            let store = letter.store.as_ref().map(ToString::to_string).unwrap_or_default();
            cases.entry(store).or_default().letters.push(letter);
        }
    }
    if let Some(wanted) = &args.store {
        cases.retain(|store, _| store == wanted.as_str());
    }
    Ok(cases)
}

fn print(store: &str, id: &OrderId, case: &Case) {
    let style = TerminalStyle::of_stdout();
    out::line(style.bold(format_args!("order {id} of {store}")));
    let fact = |name: &str, at: Option<Timestamp>, text: &str| {
        let name = style.dim(format_args!("{name:<11}"));
        out::line(format_args!("  {name} {}  {}", when(at), wrap::hanging(text, MARGIN)));
    };
    let more = |text: &dyn Display| out::line(format_args!("{:MARGIN$}{text}", ""));
    for entry in &case.spooled {
        fact("spool", entry.reserved_at, state(entry));
        more(&format_args!("read {}", entry.read_id.map(|id| id.to_string()).unwrap_or_default()));
    }
    for Sighting { seen, event, committed } in &case.events {
        let (revision, reason, place) = (event.revision, event.reason.as_str(), seen.place());
        fact("event", seen.at, &format!("revision {revision}, {reason}, at {place}"));
        if !committed {
            more(&style.bold("not visible: not committed"));
        }
    }
    if let Some(record) = &case.tracked {
        let revision = record.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
        let text = format!("{}{revision}, {}", tracked(record.state), record.reason.as_str());
        fact("tracked", Timestamp::from_millisecond(record.published_at).ok(), &text);
        more(&format_args!("read {}", record.read_id));
    }
    for letter in &case.letters {
        fact("dead letter", letter.at, &format!("{} at `{}` ({})", letter.reason, letter.pointer, letter.place));
    }
    out::line(format_args!("{}\n", wrap::hanging(&conclusion(id, case), 0)));
}

fn when(at: Option<Timestamp>) -> String {
    at.map_or_else(|| " ".repeat(20), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn state(entry: &SpoolEntry) -> &'static str {
    match entry.state {
        FileState::Page { .. } => "in a page that waits to be published",
        FileState::Unknown { .. } => "in what came of a read of unknown outcome",
        FileState::Unfinished => "in a reservation",
        FileState::Corrupt { .. } => "in a damaged file",
    }
}

fn tracked(state: OrderState) -> &'static str {
    match state {
        OrderState::Published => "published",
        OrderState::DeadLettered => "dead letter",
        OrderState::Gone => "gone from the marketplace",
        OrderState::Unknown => "a state that this version does not know",
    }
}

/// Says in a sentence where the order is, and why.
fn conclusion(id: &OrderId, case: &Case) -> String {
    let waits = case.spooled.iter().any(|entry| matches!(entry.state, FileState::Page { .. }));
    let latest = case.events.iter().rev().find(|sighting| sighting.committed);
    let state = case.tracked.as_ref().map(|record| record.state);
    let letter = case.letters.last();
    let place = latest.map(|latest| {
        let (event, seen) = (&latest.event, &latest.seen);
        format!("revision {}, partition {}, offset {}", event.revision, seen.partition, seen.offset)
    });
    match (waits, state, place, letter) {
        (true, ..) => format!(
            "It is safe in the spool{} and is published as soon as the program runs and Kafka takes it.",
            if latest.is_some() { ", in the topic already with what an earlier read brought," } else { "" },
        ),
        (_, Some(OrderState::DeadLettered), before, Some(letter)) => format!(
            "It could not be mapped: {} at `{}`.{} Correct `[mapping]`, then `imotriz-kafka dlq retry {}`.",
            letter.reason,
            letter.pointer,
            before.map(|place| format!(" Consumers still have its last event ({place}).")).unwrap_or_default(),
            letter.place,
        ),
        (_, Some(OrderState::DeadLettered), _, None) => format!(
            "It could not be mapped, and its dead letter is past the topic's retention: `imotriz-kafka republish {id}` tries \
             again."
        ),
        (_, Some(OrderState::Gone), ..) => {
            "It was listed, never arrived, and the marketplace answered 404 when asked for it: it is not asked for again."
                .to_owned()
        }
        (_, _, Some(place), _) => format!("It is published ({place}); consumers that read committed see it."),
        (_, Some(OrderState::Published), None, _) => {
            "It was published; its event is past the retention of the orders topic.".to_owned()
        }
        (_, _, None, Some(letter)) => format!("It is a dead letter at {}, and is tracked no longer.", letter.place),
        _ if !case.events.is_empty() => "It is in a transaction that is open or was given up: consumers that read committed \
                                         don't see it. The program publishes it again by itself."
            .to_owned(),
        _ => format!(
            "It came in part of an answer that was cut off. `imotriz-kafka reconcile` finds out whether it is missing; \
             `imotriz-kafka republish {id}` publishes it in any case."
        ),
    }
}

fn as_json(store: &str, id: &OrderId, case: &Case) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let spool = case.spooled.iter().map(|entry| {
        json!({
            "file": entry.path, "read_id": entry.read_id, "reserved_at": text(entry.reserved_at), "state": state(entry),
        })
    });
    let events = case.events.iter().map(|Sighting { seen, event, committed }| {
        json!({
            "partition": seen.partition, "offset": seen.offset, "published_at": text(seen.at),
            "revision": event.revision, "reason": event.reason.as_str(), "read_id": event.read_id,
            "visible": committed,
        })
    });
    let letters = case.letters.iter().map(|letter| {
        json!({
            "place": letter.place, "at": text(letter.at), "reason": letter.reason, "pointer": letter.pointer,
            "read_id": letter.read_id,
        })
    });
    let tracking = case.tracked.as_ref().map(|record| {
        json!({
            "state": record.state, "revision": record.revision, "reason": record.reason.as_str(),
            "read_id": record.read_id, "at": text(Timestamp::from_millisecond(record.published_at).ok()),
        })
    });
    json!({
        "store": store, "spool": spool.collect::<Vec<_>>(), "events": events.collect::<Vec<_>>(), "tracking": tracking,
        "dead_letters": letters.collect::<Vec<_>>(), "conclusion": conclusion(id, case),
    })
}
