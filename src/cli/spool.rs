//! `spool list`, `spool show`, `spool verify` and `spool account`. All of them only read, so they may run beside the
//! program. `spool account settle` leaves a request in the folder, which the process that holds the spool carries out.

use std::path::Path;

use anyhow::Result;
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::style::TerminalStyle;
use super::table::Rows;
use super::{exit, out, wrap};
use crate::config::Config;
use crate::pipeline::account::{self, Account, AccountError, OpenLoss};
use crate::platform::clock;
use crate::platform::text::count;
use crate::spool::{FileState, Spool, SpoolEntry};

/// What to look at.
#[derive(Debug, Clone, Subcommand)]
pub enum SpoolCommand {
    /// List the files: pages that wait, reads with an unknown outcome, damaged files
    ///
    /// A page waits to be published. What is reserved is for the next read, or was cut off in it. Of an unknown read nobody
    /// knows what it marked: it is reconciled. What is corrupt was put aside.
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
/// The spool can't be read.
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

fn list(entries: &[SpoolEntry], json: bool) {
    if json {
        entries.iter().for_each(|entry| out::line(as_json(entry)));
        return;
    }
    if entries.is_empty() {
        out::line("the spool is empty: every page that was read is in Kafka");
        return;
    }
    let mut rows = Rows::new(["read", "store", "reserved", "state", "bytes"]);
    for entry in entries {
        let (state, bytes, _) = described(&entry.state);
        rows.add([
            entry.read_id.map(|id| id.to_string()).unwrap_or_default(),
            entry.store.as_ref().map(ToString::to_string).unwrap_or_default(),
            entry.reserved_at.map(|at| at.strftime("%d %b %H:%M").to_string()).unwrap_or_default(),
            state.to_owned(),
            bytes.map(|bytes| count(bytes as u64)).unwrap_or_default(),
        ]);
    }
    out::line(rows);
    for entry in entries {
        if let (Some(id), FileState::Unknown { .. } | FileState::Corrupt { .. }) = (entry.read_id, &entry.state) {
            out::line(format_args!(" {id}  {}", wrap::hanging(described(&entry.state).2, 39)));
        }
    }
}

fn described(state: &FileState) -> (&'static str, Option<usize>, &str) {
    match state {
        FileState::Page { bytes, .. } => ("page", Some(*bytes), "waits to be published"),
        FileState::Unfinished => ("reserved", None, "for the next read, or cut off in it"),
        FileState::Unknown { reason, bytes } => ("unknown", Some(*bytes), reason),
        FileState::Corrupt { why } => ("corrupt", None, why),
    }
}

fn as_json(entry: &SpoolEntry) -> Value {
    let (state, bytes, note) = described(&entry.state);
    json!({
        "store": entry.store, "read_id": entry.read_id, "state": state, "bytes": bytes, "note": note,
        "reserved_at": entry.reserved_at.map(|at| at.to_string()), "file": entry.path, "size": entry.size(),
    })
}

fn show(entries: &[SpoolEntry], read_id: &str) -> Result<u8> {
    let found = entries.iter().find(|entry| entry.read_id.is_some_and(|id| id.to_string() == read_id));
    let Some(entry) = found else {
        eprintln!("imotriz-kafka: the spool holds no read `{read_id}`: see `imotriz-kafka spool list`");
        return Ok(exit::USAGE);
    };
    out::bytes(&entry.body()?);
    Ok(0)
}

fn account(action: Option<&AccountAction>, config: &Config, json: bool) -> Result<u8> {
    let dir = &config.spool.dir;
    match action {
        Some(AccountAction::Settle { read_id }) => settle(dir, read_id),
        None => {
            let entries = Account::look(dir)?;
            show_account(&entries, json);
            // A merely possible loss is shown, but does not change the exit code.
            let is_missing = |entry: &account::LossEntry| matches!(entry.open, OpenLoss::AtLeast(_));
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

fn show_account(entries: &[account::LossEntry], json: bool) {
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
    let style = TerminalStyle::of_stdout();
    for entry in entries {
        let since = entry.since.strftime("%Y-%m-%d %H:%M:%S UTC");
        out::report(format_args!("{}  cut at {since}", style.bold(entry.store.as_str())));
        for (name, text) in told(entry, now) {
            out::report(format_args!("  {} {}", style.dim(format_args!("{name:<8}")), wrap::hanging(&text, 11)));
        }
    }
}

fn told(entry: &account::LossEntry, now: Timestamp) -> Vec<(&'static str, String)> {
    let reads: Vec<_> = entry.reads.iter().map(ToString::to_string).collect();
    let mut told = vec![
        ("read", reads.join(" ")),
        ("why", entry.reason.clone()),
        ("marked", entry.marked.to_string()),
        ("found", format!("{} since", entry.found)),
        ("missing", entry.open.to_string()),
        ("listed", format!("for {} hours more, if placed when it began", entry.hours_left(now))),
    ];
    if let Some(before) = entry.placed_before {
        let before = before.strftime("%Y-%m-%d %H:%M:%S UTC");
        let by_hand = format!("un-synchronise by hand what was placed before {before} and is not in the orders topic");
        let advice = match entry.lapses_at {
            None => by_hand,
            Some(at) => format!(
                "nothing, if no order that old was waiting in the shop; else {by_hand}. The entry goes by itself at {}",
                at.strftime("%Y-%m-%d %H:%M:%S UTC")
            ),
        };
        told.push(("to do", advice));
    }
    told
}

fn verify(entries: &[SpoolEntry], json: bool) -> u8 {
    let damaged: Vec<_> = entries.iter().filter(|entry| matches!(entry.state, FileState::Corrupt { .. })).collect();
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
