//! `dlq list`, `dlq show` and `dlq retry`: the records that could not be mapped.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use clap::{ArgGroup, Subcommand};
use serde_json::json;
use thiserror::Error;

use super::exit;
use super::out;
use super::republish;
use super::style::TerminalStyle;
use super::table::Rows;
use crate::avro::tracking::{OrderState, OrderTracking};
use crate::config::Config;
use crate::operate::queries::{self, Letter};
use crate::order::ids::{OrderId, OrderKey, StoreName};
use crate::pipeline::reconcile::Wanted;

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DlqCommand {
    /// List the dead letters: where each is, what was wrong, and at which place in the record; no personal data
    #[command(after_help = "Examples:\n  imotriz-kafka dlq list\n  imotriz-kafka dlq list --store bogota\n  \
                            imotriz-kafka --json dlq list")]
    List {
        /// Only this store's
        #[arg(long)]
        store: Option<StoreName>,
    },
    /// Print a dead letter's JSON as it came: personal data
    #[command(after_help = "Examples:\n  imotriz-kafka dlq show 0:17")]
    Show {
        /// Where it is, as `dlq list` shows it
        #[arg(value_name = "PLACE")]
        place: String,
    },
    /// Publish what the present mapping can read; safe to repeat
    ///
    /// Change `[mapping]` first. A letter that can be read now is fetched anew by its order's ID and published, or as it
    /// came if the marketplace no longer has it; one that still can't be read stays where it is, and it says why. An order
    /// that was published meanwhile is left alone. Where `run` is at work with the spool, it publishes them: let it read
    /// the mapping first, by a SIGHUP or a start.
    #[command(
        group(ArgGroup::new("which").required(true)),
        after_help = "Examples:\n  imotriz-kafka dlq retry --all\n  imotriz-kafka dlq retry --all --dry-run\n  \
                      imotriz-kafka dlq retry 0:17 0:19\n\n\
                      Exit codes: 0 all that was asked for is published · 11 some of it is not, and it says which"
    )]
    Retry {
        /// Where they are, as `dlq list` shows it
        #[arg(value_name = "PLACE", group = "which")]
        places: Vec<String>,
        /// All of them
        #[arg(long, group = "which")]
        all: bool,
        /// Only say which could be read now
        #[arg(long)]
        dry_run: bool,
    },
}

/// The place names no dead letter.
#[derive(Debug, Error)]
#[error("there is no dead letter at `{0}`: `imotriz-kafka dlq list` shows their places")]
pub struct NoLetter(String);

/// Returns the exit code.
///
/// # Errors
/// [`QueryError`](queries::QueryError), [`NoLetter`], and those of [`App`](crate::app::App).
pub async fn run(command: &DlqCommand, config: &Config, json: bool) -> Result<u8> {
    let letters = queries::letters(config).await?;
    match command {
        DlqCommand::List { store } => list(&letters, store.as_ref(), json),
        DlqCommand::Show { place } => show(find(&letters, place)?),
        DlqCommand::Retry { places, all, dry_run } => {
            let chosen: Vec<&Letter> = match all {
                true => letters.iter().collect(),
                false => places.iter().map(|place| find(&letters, place)).collect::<Result<_, _>>()?,
            };
            return retry(config, &chosen, *dry_run, json).await;
        }
    }
    Ok(0)
}

fn find<'a>(letters: &'a [Letter], place: &str) -> Result<&'a Letter, NoLetter> {
    letters.iter().find(|letter| letter.place == place).ok_or_else(|| NoLetter(place.to_owned()))
}

fn list(letters: &[Letter], store: Option<&StoreName>, json: bool) {
    let chosen: Vec<_> = letters.iter().filter(|letter| store.is_none() || letter.store.as_ref() == store).collect();
    if json {
        chosen.iter().for_each(|letter| out::line(format_args!("{}", as_json(letter))));
        return;
    }
    if chosen.is_empty() {
        out::line("no dead letters: every order that came could be mapped");
        return;
    }
    let mut rows = Rows::new(["place", "when", "store", "order", "where", "what is wrong"]);
    for letter in chosen {
        rows.add([
            letter.place.clone(),
            letter.at.map(|at| at.strftime("%d %b %H:%M:%S").to_string()).unwrap_or_default(),
            letter.store.as_ref().map(ToString::to_string).unwrap_or_default(),
            letter.order_id.as_ref().map_or_else(|| "without an ID".to_owned(), ToString::to_string),
            letter.pointer.clone(),
            letter.reason.clone(),
        ]);
    }
    out::line(format_args!("{rows}"));
}

fn as_json(letter: &Letter) -> serde_json::Value {
    json!({
        "place": letter.place, "at": letter.at.map(|at| at.to_string()), "store": letter.store,
        "order_id": letter.order_id, "reason": letter.reason, "pointer": letter.pointer, "read_id": letter.read_id,
    })
}

fn show(letter: &Letter) {
    eprintln!("personal data: {} at {}: {}", letter.place, letter.pointer, letter.reason);
    out::bytes(&[&letter.json, b"\n".as_slice()].concat());
}

/// What `retry` can do with a letter.
enum Prospect {
    /// The present mapping reads it, so it can be published.
    Ready(OrderKey),
    /// Its order is published already.
    Done(&'static str),
    /// It stays a dead letter, for this reason.
    Stuck(String),
}

async fn retry(config: &Config, letters: &[&Letter], dry_run: bool, json: bool) -> Result<u8> {
    config.stores_or_error()?;
    let ids: BTreeSet<OrderId> =
        letters.iter().filter_map(|letter| Some(letter.read_again(config)?.ok()?.id)).collect();
    let tracked = queries::tracked(config, |key| ids.contains(&key.id)).await?;
    let mut ready: BTreeMap<StoreName, BTreeMap<OrderId, Wanted>> = BTreeMap::new();
    let mut complete = true;
    let mut said = Vec::new();
    for letter in letters {
        let (word, note) = match prospect(letter, config, &tracked) {
            Prospect::Ready(key) => {
                // Letters come oldest first, so the newest letter of an order replaces the older ones.
                let wanted = Wanted { id: key.id.clone(), kept: Some(wrapped(&letter.json)) };
                ready.entry(key.store).or_default().insert(key.id, wanted);
                ("ready", String::new())
            }
            Prospect::Done(why) => ("done", why.to_owned()),
            Prospect::Stuck(why) => {
                complete = false;
                ("stays", why)
            }
        };
        said.push((*letter, word, note));
    }
    report(&said, json);
    if dry_run {
        return Ok(if complete { 0 } else { exit::NOT_REPAIRED });
    }
    for (store, orders) in ready {
        let republished = republish::publish(config, &store, orders.into_values().collect()).await?;
        republish::print(&republished, json);
        complete &= republished.is_complete();
    }
    Ok(if complete { 0 } else { exit::NOT_REPAIRED })
}

/// Wraps a record into the JSON of the marketplace's answer for one order.
fn wrapped(record: &[u8]) -> bytes::Bytes {
    [br#"{"data":["#, record, b"]}"].concat().into()
}

fn prospect(letter: &Letter, config: &Config, tracked: &BTreeMap<OrderKey, OrderTracking>) -> Prospect {
    let Some(store) = &letter.store else { return Prospect::Stuck("it does not tell its store".to_owned()) };
    match letter.read_again(config) {
        None => Prospect::Stuck(format!("the settings name no store `{store}`")),
        Some(Err(still)) => Prospect::Stuck(format!("{} ({})", still.reason, still.pointer)),
        Some(Ok(order)) => {
            let key = OrderKey { store: store.clone(), id: order.id };
            match tracked.get(&key).map(|record| record.state) {
                Some(OrderState::Published) => Prospect::Done("its order is published"),
                _ => Prospect::Ready(key),
            }
        }
    }
}

fn report(said: &[(&Letter, &str, String)], json: bool) {
    let style = TerminalStyle::of_stdout();
    for (letter, word, note) in said {
        if json {
            out::report(json!({ "place": letter.place, "order_id": letter.order_id, "state": word, "note": note }));
            continue;
        }
        let order = letter.order_id.as_ref().map(|id| format!(" order {id}")).unwrap_or_default();
        match *word {
            "ready" => out::report(format_args!("{}{order}: {}", letter.place, style.good("can be read now"))),
            "done" => out::report(format_args!("{}{order}: {}", letter.place, style.dim(note))),
            _ => out::report(format_args!("{}{order}: {}: {note}", letter.place, style.bad("still can't be read"))),
        }
    }
}
