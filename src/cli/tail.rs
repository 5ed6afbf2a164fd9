//! `tail`: prints the events of the orders topic, decoded, as a `read_committed` consumer sees them.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use clap::Args;
use rust_decimal::Decimal;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::order_row::{masked, products};
use super::style::TerminalStyle;
use super::table::Columns;
use super::time_argument::{StartArgument, TimeArgument};
use super::{event_json, out, wrap};
use crate::avro::decoder::Decoder;
use crate::avro::event::{OrderEvent, Reason};
use crate::avro::schemas::{SchemaError, SchemaResolver};
use crate::config::Config;
use crate::kafka::settings::Isolation;
use crate::kafka::topic_scan::{ScannedRecord, Start, TopicScan};
use crate::kafka::{Connection, KafkaFault};
use crate::order::ids::{OrderId, StoreName};
use crate::platform::shutdown::cancel_on_signals;

/// How many events are shown by default.
const LAST: usize = 10;
/// The width of a terminal that does not tell its own.
const WIDTH: usize = 100;

/// What to show.
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    /// Show the last N events, of those that match [default: 10]
    #[arg(short = 'n', long, value_name = "N")]
    pub last: Option<usize>,
    /// Begin there: `beginning`, how long ago (2h), a date, or a time
    #[arg(long, value_name = "TIME", conflicts_with = "last")]
    pub from: Option<StartArgument>,
    /// Go on with new events as they come, until stopped
    #[arg(short, long)]
    pub follow: bool,
    /// Show personal values, which are masked otherwise
    #[arg(long)]
    pub show_pii: bool,
    /// Which events match
    #[command(flatten)]
    pub filter: Filter,
}

/// Which events are shown: those for which all of these hold.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Of this store
    #[arg(long, value_name = "STORE")]
    pub store: Option<StoreName>,
    /// Of this order
    #[arg(long, value_name = "ORDER_ID")]
    pub order: Option<OrderId>,
    /// Published for this reason: drained, reconciled, resynced, updated, republished
    #[arg(long, value_name = "REASON", value_parser = reason)]
    pub reason: Option<Reason>,
    /// Published then or later
    #[arg(long, value_name = "TIME")]
    pub since: Option<TimeArgument>,
    /// Published before then
    #[arg(long, value_name = "TIME")]
    pub until: Option<TimeArgument>,
    /// With at least this total, whatever the currency; compared exactly
    #[arg(long, value_name = "AMOUNT")]
    pub min_total: Option<Decimal>,
}

fn reason(text: &str) -> Result<Reason, String> {
    let found = Reason::WRITTEN.into_iter().find(|reason| reason.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "expected drained, reconciled, resynced, updated or republished".to_owned())
}

impl Filter {
    /// Whether the record's key and time match, which needs no decoding.
    fn may_match(&self, seen: &ScannedRecord) -> bool {
        let key = |id: &OrderId| seen.key.as_deref() == Some(id.as_str().as_bytes());
        self.order.as_ref().is_none_or(key)
            && self.since.is_none_or(|since| seen.at.is_none_or(|at| at >= since.0))
            && self.until.is_none_or(|until| seen.at.is_none_or(|at| at < until.0))
    }

    fn matches(&self, event: &OrderEvent) -> bool {
        let enough = |least: Decimal| event.total.is_some_and(|total| Decimal::from(total) >= least);
        self.store.as_ref().is_none_or(|store| event.store == store.as_str())
            && self.reason.is_none_or(|reason| event.reason == reason)
            && self.min_total.is_none_or(enough)
    }
}

/// Prints events until the end of the topic, or with `--follow` until it is stopped.
///
/// # Errors
/// Kafka's, the registry's, or an event that can't be decoded.
pub async fn run(args: TailArgs, config: &Config, json: bool) -> Result<()> {
    let stop = CancellationToken::new();
    cancel_on_signals(stop.clone()).context("can't listen to signals")?;
    let decoder = SchemaResolver::from_config(config)?.order_decoder();
    let topic = config.kafka.topics.orders.clone();
    let tail = Tail {
        connection: Connection::from(&config.kafka),
        topic,
        decoder,
        printer: Printer::new(json, args.show_pii),
        args,
    };
    tail.run(stop).await
}

struct Tail {
    connection: Connection,
    topic: String,
    decoder: Decoder,
    printer: Printer,
    args: TailArgs,
}

impl Tail {
    async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let topic_scan = tokio::select! {
            topic_scan = self.what_is_there() => topic_scan?,
            () = stop.cancelled() => return Ok(()),
        };
        while self.args.follow {
            let seen = tokio::select! {
                seen = topic_scan.wait() => seen?,
                () = stop.cancelled() => break,
            };
            if let Some(event) = self.decode(&seen).await?
                && !self.printer.print(&seen, &event)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Prints the events that are there already, and returns the scan, which stands at the end of the topic.
    async fn what_is_there(&mut self) -> Result<TopicScan> {
        match (self.args.from, self.args.last, self.args.filter.since) {
            (Some(StartArgument::Beginning), ..) => self.all_from(Start::Beginning).await,
            (Some(StartArgument::Time(at)), ..) | (None, None, Some(at)) => self.all_from(Start::Time(at.0)).await,
            (None, last, _) => self.the_last(last.unwrap_or(LAST)).await,
        }
    }

    async fn all_from(&mut self, start: Start) -> Result<TopicScan> {
        let mut topic_scan = self.open(start)?;
        while let Some(seen) = topic_scan.next().await? {
            if let Some(event) = self.decode(&seen).await?
                && !self.printer.print(&seen, &event)?
            {
                break;
            }
        }
        Ok(topic_scan)
    }

    /// Looks back further and further, because neither the offsets per event nor the share of matching events is known.
    async fn the_last(&mut self, wanted: usize) -> Result<TopicScan> {
        let mut reach = i64::try_from(wanted).unwrap_or(i64::MAX).saturating_mul(2).saturating_add(16);
        loop {
            let mut topic_scan = self.open(Start::Last(reach))?;
            let mut found = Vec::new();
            while let Some(seen) = topic_scan.next().await? {
                if let Some(event) = self.decode(&seen).await? {
                    found.push((seen, event));
                }
            }
            if found.len() >= wanted || topic_scan.is_whole() {
                // A scan returns one partition after the other.
                found.sort_by_key(|(seen, _)| (seen.at, seen.partition, seen.offset));
                let first = found.len().saturating_sub(wanted);
                for (seen, event) in &found[first..] {
                    self.printer.print(seen, event)?;
                }
                return Ok(topic_scan);
            }
            reach = reach.saturating_mul(8);
        }
    }

    fn open(&self, start: Start) -> Result<TopicScan, KafkaFault> {
        TopicScan::open(&self.connection, &self.topic, Isolation::Committed, start)
    }

    /// Returns none for an event that does not match the filter.
    async fn decode(&mut self, seen: &ScannedRecord) -> Result<Option<OrderEvent>> {
        let Some(value) = seen.value.as_deref().filter(|_| self.args.filter.may_match(seen)) else { return Ok(None) };
        let event: OrderEvent = self
            .decoder
            .decode(value)
            .await
            .map_err(SchemaError::from)
            .with_context(|| format!("the record at {} of `{}` can't be decoded", seen.place(), self.topic))?;
        Ok(Some(event).filter(|event| self.args.filter.matches(event)))
    }
}

/// Prints events: rows for people, tab-separated lines for scripts, or JSON.
struct Printer {
    form: Form,
    show_pii: bool,
    style: TerminalStyle,
    headed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Row,
    Line,
    Json,
}

impl Printer {
    fn new(json: bool, show_pii: bool) -> Self {
        let form = match json {
            true => Form::Json,
            false if io::stdout().is_terminal() => Form::Row,
            false => Form::Line,
        };
        Self { form, show_pii, style: TerminalStyle::of_stdout(), headed: false }
    }

    /// Returns false once the reader is gone: `tail | head` is no error.
    fn print(&mut self, seen: &ScannedRecord, event: &OrderEvent) -> Result<bool> {
        let text = match self.form {
            Form::Row => {
                let width = wrap::terminal_width().unwrap_or(WIDTH);
                let head = if self.headed { String::new() } else { self.style.dim(LAYOUT.line(HEAD, width)) + "\n" };
                self.headed = true;
                let row = LAYOUT.line(cells(seen, event, self.show_pii).each_ref().map(String::as_str), width);
                let usual = event.reason == Reason::Drained && i32::from(event.revision) == 1;
                head + &if usual { row } else { self.style.bold(row) }
            }
            Form::Line => cells(seen, event, self.show_pii).map(|cell| cell.replace(['\t', '\n'], " ")).join("\t"),
            Form::Json => json!({
                "partition": seen.partition, "offset": seen.offset, "published_at": seen.at.map(|at| at.to_string()),
                "event": event_json::event(event, self.show_pii),
            })
            .to_string(),
        };
        out::try_line(text).context("can't write to the standard output")
    }
}

const COLUMNS: usize = 9;
/// The column names, from left to right.
const HEAD: [&str; COLUMNS] = ["published", "at", "store", "order", "rev", "reason", "total", "buyer", "products"];
const LAYOUT: Columns<COLUMNS> =
    Columns { widths: [14, 7, 10, 9, 3, 11, 18, 14, 0], numbers: &[4, 6], optional: &[8, 1, 7, 2] };

fn cells(seen: &ScannedRecord, event: &OrderEvent, show_pii: bool) -> [String; COLUMNS] {
    let name = event.buyer.name.as_deref();
    [
        seen.at.map(|at| at.strftime("%d %b %H:%M:%S").to_string()).unwrap_or_default(),
        seen.place(),
        event.store.clone(),
        event.order_id.clone(),
        event.revision.to_string(),
        event.reason.as_str().to_lowercase(),
        event.total.map(|total| format!("{} {}", event.currency, total.grouped())).unwrap_or_default(),
        name.map(|name| if show_pii { name.to_owned() } else { masked(name) }).unwrap_or_default(),
        products(&event.lines),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELLS: [&str; COLUMNS] =
        ["24 Nov 10:00:00", "3:1204", "bogota", "4810007", "1", "drained", "COP 129,900.00", "A••• P•••", "2 × Casco"];

    #[test]
    fn a_row_fits_the_terminal_and_never_loses_order_reason_and_total() {
        for width in [60, 80, 100, 120, 200] {
            let row = LAYOUT.line(CELLS, width);
            assert!(row.chars().count() <= width, "{width}: {row}");
            for needed in ["4810007", "COP"] {
                assert!(row.contains(needed), "{width}: {row}");
            }
        }
        assert!(LAYOUT.line(CELLS, 120).contains("Casco"));
        assert!(LAYOUT.line(CELLS, 80).contains("COP 129,900.00"));
    }

    #[test]
    fn reasons_are_known_in_any_case() {
        assert_eq!(reason("Reconciled"), Ok(Reason::Reconciled));
        assert!(reason("unknown").is_err());
    }
}
