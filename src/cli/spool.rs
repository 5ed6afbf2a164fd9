//! `spool list`, `spool show`, `spool verify` and `spool account`: looks only, so they may run beside the program at
//! work; to settle an entry of the account leaves a wish to whoever has the spool.

use std::path::Path;

use anyhow::Result;
use clap::Subcommand;
use comfy_table::Table;
use serde_json::{Value, json};

use super::{exit, out};
use crate::account::{self, Account, AccountError, Open};
use crate::clock;
use crate::config::Config;
use crate::spool::{Entry, Spool, State};

/// What to look at.
#[derive(Debug, Clone, Subcommand)]
pub enum SpoolCommand {
    /// List the files: pages that wait, reads with an unknown outcome, damaged files
    List,
    /// Print the answer that a page holds, as it came: personal data
    Show {
        /// The read's ID, as `spool list` shows it
        read_id: String,
    },
    /// Check every byte of every file; exit code 7 if one is damaged
    Verify,
    /// List reads that may have lost orders: how many they marked, how many were found since, how many are missing
    ///
    /// Exit code 7 if orders are missing for good: they are too old for the marketplace's list of IDs. Un-synchronise them
    /// by hand in the shop; they then come by themselves, and the entry goes.
    Account {
        /// What to do with the account
        #[command(subcommand)]
        action: Option<AccountAction>,
    },
}

/// What to do with the account.
#[derive(Debug, Clone, Subcommand)]
pub enum AccountAction {
    /// Take an entry off: nothing of it is missing any more; safe while the program runs
    Settle {
        /// The read's ID, as `spool account` shows it
        read_id: String,
    },
}

/// Returns the exit code.
///
/// # Errors
/// A spool that can't be read.
pub fn run(command: &SpoolCommand, config: &Config, json: bool) -> Result<u8> {
    if let SpoolCommand::Account { action } = command {
        return account(action.as_ref(), config, json);
    }
    let entries = Spool::inspect(&config.spool.dir)?;
    match command {
        SpoolCommand::List => list(&entries, json),
        SpoolCommand::Show { read_id } => return show(&entries, read_id),
        SpoolCommand::Verify => return Ok(verify(&entries, json)),
        SpoolCommand::Account { .. } => unreachable!("has returned"),
    }
    Ok(0)
}

fn list(entries: &[Entry], json: bool) {
    if json {
        entries.iter().for_each(|entry| out::line(as_json(entry)));
        return;
    }
    if entries.is_empty() {
        out::line("the spool is empty: every page that was read is in Kafka");
        return;
    }
    let mut table = Table::new();
    table.set_header(["store", "read", "reserved", "state", "bytes", "note"]);
    for entry in entries {
        let (state, bytes, note) = described(&entry.state);
        table.add_row([
            entry.store.as_ref().map(ToString::to_string).unwrap_or_default(),
            entry.read_id.map(|id| id.to_string()).unwrap_or_default(),
            entry.reserved_at.map(|at| format!("{at:.0}")).unwrap_or_default(),
            state.to_owned(),
            bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
            note.to_owned(),
        ]);
    }
    out::line(table);
}

fn described(state: &State) -> (&'static str, Option<usize>, &str) {
    match state {
        State::Page { bytes, .. } => ("page", Some(*bytes), "waits to be published"),
        State::Unfinished => ("reserved", None, "for the next read, or cut off in it"),
        State::Unknown { reason, bytes } => ("unknown", Some(*bytes), reason),
        State::Corrupt { why } => ("corrupt", None, why),
    }
}

fn as_json(entry: &Entry) -> Value {
    let (state, bytes, note) = described(&entry.state);
    json!({
        "store": entry.store, "read_id": entry.read_id, "state": state, "bytes": bytes, "note": note,
        "reserved_at": entry.reserved_at.map(|at| at.to_string()), "file": entry.path, "size": entry.size,
    })
}

fn show(entries: &[Entry], read_id: &str) -> Result<u8> {
    let found = entries.iter().find(|entry| entry.read_id.is_some_and(|id| id.to_string() == read_id));
    let Some(entry) = found else {
        eprintln!("imotriz-kafka: the spool holds no read `{read_id}`: see `imotriz-kafka spool list`");
        return Ok(exit::USAGE);
    };
    let body = Spool::read_body(Path::new(&entry.path))?;
    out::bytes(&body);
    Ok(0)
}

fn account(action: Option<&AccountAction>, config: &Config, json: bool) -> Result<u8> {
    let dir = &config.spool.dir;
    match action {
        Some(AccountAction::Settle { read_id }) => settle(dir, read_id),
        None => {
            let entries = Account::look(dir)?;
            show_account(&entries, json);
            let is_missing = |entry: &account::Entry| matches!(entry.open, Open::AtLeast(_) | Open::UnknownUpTo(_));
            Ok(if entries.iter().any(is_missing) { exit::FINDING } else { 0 })
        }
    }
}

fn settle(dir: &Path, read_id: &str) -> Result<u8> {
    let Ok(parsed) = read_id.parse() else {
        eprintln!("imotriz-kafka: `{read_id}` is no read ID: see `imotriz-kafka spool account`");
        return Ok(exit::USAGE);
    };
    match Account::settle(dir, parsed) {
        Err(error @ (AccountError::NotThere(_) | AccountError::NotLookedFor(_))) => {
            eprintln!("imotriz-kafka: {error}");
            Ok(exit::USAGE)
        }
        settled => settled.map(|()| 0).map_err(Into::into),
    }
}

fn show_account(entries: &[account::Entry], json: bool) {
    let now = clock::now();
    if json {
        for entry in entries {
            let mut value = json!(entry);
            value["hours_left"] = entry.hours_left(now).into();
            out::report(value);
        }
        return;
    }
    if entries.is_empty() {
        out::report("the account is empty: no read has lost an order");
        return;
    }
    let mut table = Table::new();
    table.set_header(["store", "read", "since", "orders marked", "found since", "missing", "hours left", "note"]);
    for entry in entries {
        let more = entry.reads.len() - 1;
        table.add_row([
            entry.store.to_string(),
            entry.reads.first().map(ToString::to_string).unwrap_or_default()
                + &if more > 0 { format!(" and {more} more") } else { String::new() },
            format!("{:.0}", entry.since),
            entry.marked.to_string(),
            entry.found.to_string(),
            entry.open.to_string(),
            entry.hours_left(now).to_string(),
            entry.placed_before.map_or_else(
                || entry.reason.clone(),
                |before| {
                    format!("un-synchronise by hand what was placed before {before:.0} and is not in the orders topic")
                },
            ),
        ]);
    }
    out::report(table);
}

fn verify(entries: &[Entry], json: bool) -> u8 {
    let damaged: Vec<_> = entries.iter().filter(|entry| matches!(entry.state, State::Corrupt { .. })).collect();
    if json {
        out::report(json!({ "files": entries.len(), "damaged": damaged.len() }));
    } else {
        for entry in &damaged {
            out::report(format_args!("damaged: {}: {}", entry.path.display(), described(&entry.state).2));
        }
        out::report(format_args!("{} files checked, {} damaged", entries.len(), damaged.len()));
    }
    if damaged.is_empty() { 0 } else { exit::FINDING }
}
