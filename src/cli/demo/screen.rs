//! What the demonstration looks like.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Report;
use crate::cli::look::{Look, count, grouped};
use crate::cli::order_row::{COLUMNS, NUMBERS, WIDEST, cells};
use crate::event::OrderEvent;

/// Rows at the beginning of the list, and at its end.
const FIRST: usize = 10;
const LAST: usize = 5;
/// Between two lines of progress where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

type Cells = [String; COLUMNS.len()];

/// What is shown of events.
enum Events {
    /// A few of them, in a table, later.
    Collected { first: Vec<Cells>, last: VecDeque<Cells>, left_out: usize },
    /// Each as it comes.
    Live,
}

/// The standard output, and the progress bar below it.
pub(super) struct Screen {
    json: bool,
    look: Look,
    bars: MultiProgress,
    bar: Option<ProgressBar>,
    orders: usize,
    said: Instant,
    events: Events,
}

impl Screen {
    pub(super) fn new(json: bool, bars: MultiProgress) -> Self {
        let events = Events::Collected { first: Vec::new(), last: VecDeque::new(), left_out: 0 };
        Self { json, look: Look::of_stdout(), bars, bar: None, orders: 0, said: Instant::now(), events }
    }

    pub(super) fn opening(&mut self, orders: usize, bootstrap_servers: Option<&str>) {
        self.orders = orders;
        if self.json {
            return;
        }
        let broker =
            bootstrap_servers.map_or_else(|| "a broker inside this process".to_owned(), |at| format!("Kafka at {at}"));
        println!("\n {}  {} orders of people who don't exist", self.look.bold("imotriz-kafka demo"), count(orders));
        println!(" {}\n", self.look.dim(format!("a marketplace that misbehaves → spool → {broker} → a consumer")));
        if io::stderr().is_terminal() {
            self.bar = Some(self.bars.add(progress_bar(orders)));
        }
    }

    pub(super) fn event(&mut self, event: &OrderEvent) {
        match &mut self.events {
            Events::Collected { .. } if self.json => {}
            Events::Collected { first, .. } if first.len() < FIRST => first.push(cells(event)),
            Events::Collected { last, left_out, .. } => {
                if last.len() == LAST {
                    last.pop_front();
                    *left_out += 1;
                }
                last.push_back(cells(event));
            }
            Events::Live if self.json => println!("{}", as_json(event)),
            Events::Live => println!("{}", order_table(self.look, [cells(event)], false).trim_fmt()),
        }
    }

    pub(super) fn progress(&mut self, events: usize, unknown_reads: u64) {
        if self.json || matches!(self.events, Events::Live) {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(events as u64);
                bar.set_message(match unknown_reads {
                    0 => String::new(),
                    1 => "1 read with an unknown outcome".to_owned(),
                    more => format!("{more} reads with an unknown outcome"),
                });
            }
            None if self.said.elapsed() > BETWEEN_LINES => {
                println!(" {} of {} orders have arrived", count(events), count(self.orders));
                self.said = Instant::now();
            }
            None => {}
        }
    }

    /// Takes the progress bar away.
    pub(super) fn curtain(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    pub(super) fn verdict(&self, report: &Report) {
        if self.json {
            println!("{}", report.as_json());
            return;
        }
        self.list();
        println!("{}", self.numbers(report));
        println!("\n {}\n", self.punch_line(report));
        for line in self.remarks(report) {
            println!(" {}", self.look.dim(line));
        }
        println!();
    }

    pub(super) fn going_on(&mut self) {
        self.events = Events::Live;
        if !self.json {
            println!(" {}\n", self.look.bold("New orders come in every few seconds; stop with Ctrl-C."));
        }
    }

    fn list(&self) {
        let Events::Collected { first, last, left_out } = &self.events else { return };
        let gap = (*left_out > 0).then(|| {
            let mut gap: Cells = Default::default();
            gap[0] = "⋮".into();
            gap[WIDEST] = format!("⋮ {} more", count(*left_out));
            gap
        });
        let rows = first.iter().cloned().chain(gap).chain(last.iter().cloned());
        println!("{}\n", order_table(self.look, rows, true));
    }

    fn numbers(&self, report: &Report) -> Table {
        let verdict = &report.verdict;
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED.with_rounded_corners().with_solid_inner_borders());
        let mut row = |name: &str, number: usize, must_be_none: bool| {
            let cell = Cell::new(count(number)).set_alignment(CellAlignment::Right);
            let colour = if number == 0 { Color::Green } else { Color::Red };
            let cell = if must_be_none && self.look.has_colours() {
                cell.fg(colour).add_attribute(Attribute::Bold)
            } else {
                cell
            };
            table.add_row([Cell::new(name), cell]);
        };
        row("orders in the shop", verdict.orders, false);
        row("events seen by the consumer", verdict.events, false);
        if verdict.pending > 0 {
            row("orders still to come", verdict.pending, false);
        }
        row("lost", verdict.lost, true);
        row("doubled", verdict.doubled, true);
        table
    }

    fn punch_line(&self, report: &Report) -> String {
        let verdict = &report.verdict;
        let pace = format!(
            "{} orders in {:.1} s, {} a second",
            count(verdict.events),
            report.took.as_secs_f64(),
            grouped(&format!("{:.0}", report.rate()))
        );
        match (verdict.lost, verdict.doubled) {
            (0, 0) => format!("{} {pace}.", self.look.good("✔ Nothing lost, nothing doubled:")),
            (lost, doubled) => {
                format!("{} {pace}.", self.look.bad(format!("✘ {} lost, {} doubled:", count(lost), count(doubled))))
            }
        }
    }

    fn remarks(&self, report: &Report) -> Vec<String> {
        let mut remarks = Vec::new();
        let struck: u64 = report.faults.values().sum();
        if struck > 0 {
            let each: Vec<_> = report.faults.iter().map(|(name, times)| format!("{name} {times}")).collect();
            remarks.push(format!(
                "Of {} answers {struck} were not as they should be: {}.",
                report.reads,
                each.join(", ")
            ));
        }
        if report.unknown_reads > 0 {
            remarks.push(format!(
                "{} reads had an unknown outcome. Each left a durable trace, so that it is known what to look for.",
                report.unknown_reads
            ));
        }
        remarks.push(match &report.topic {
            None => {
                "The embedded broker does not isolate transactions: that nothing of an aborted one is seen only a real \
                     broker can prove (--bootstrap-servers HOST:PORT)."
                    .to_owned()
            }
            Some(topic) => format!("The events are in the topic {topic}, to be looked at with other tools."),
        });
        remarks
    }
}

fn progress_bar(orders: usize) -> ProgressBar {
    let template = " {bar:40.green/dim} {pos} of {len} orders seen  {per_sec}  {msg:.yellow}";
    let style = ProgressStyle::with_template(template).expect("the template is fixed").progress_chars("━━─");
    ProgressBar::new(orders as u64).with_style(style)
}

fn order_table(look: Look, rows: impl IntoIterator<Item = Cells>, header: bool) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_truncation_indicator("…");
    if header {
        table.load_style(NOTHING.header_separator(comfy_table::LineStyle::none().fill('─').junction('─')));
        table.set_header(COLUMNS.map(|name| dim_if(look, Cell::new(name))));
    }
    for cells in rows {
        let mut row = Row::from(cells.map(Cell::new));
        row.max_height(1);
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if NUMBERS.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if index != WIDEST {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

fn dim_if(look: Look, cell: Cell) -> Cell {
    if look.has_colours() { cell.add_attribute(Attribute::Dim) } else { cell }
}

fn as_json(event: &OrderEvent) -> serde_json::Value {
    serde_json::json!({
        "order_id": event.order_id, "revision": event.revision, "reason": event.reason, "currency": event.currency,
        "total": event.total.map(|total| total.to_string()),
    })
}
