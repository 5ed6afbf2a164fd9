//! The output of the demonstration.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use comfy_table::presets::{NOTHING, UTF8_BORDERS_ONLY};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, LineStyle, Row, Table};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Report;
use crate::avro::event::OrderEvent;
use crate::cli::order_row::{COLUMNS, NUMBERS, REASON, WIDEST, cells};
use crate::cli::out;
use crate::cli::style::TerminalStyle;
use crate::cli::table::{Columns, borderless, dim_cell};
use crate::cli::wrap::terminal_width;
use crate::demo::Verdict;
use crate::platform::text::{count, grouped, plural};

/// How many events the table shows from the beginning of the run, and from its end.
const FIRST: usize = 10;
const LAST: usize = 5;
/// Pause between two lines of progress without a terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

const LIMITS_OF_THE_EMBEDDED_BROKER: &str = "the embedded one does not isolate transactions: that nothing of an aborted one is \
                                             seen, only a real one can prove (--bootstrap-servers HOST:PORT)";

/// The usual reason. Every other reason is highlighted.
const USUAL_REASON: &str = "drained";

/// Below this width the products are left out.
const NARROW: usize = 96;

/// The columns of an event that is shown as it comes: as [`COLUMNS`], with the products last.
const LIVE: Columns<7> = Columns { widths: [12, 7, 3, 10, 19, 17, 0], numbers: &[1, 2, 5], optional: &[] };

type Cells = [String; COLUMNS.len()];

/// How events are shown.
enum Events {
    /// The first and the last ones, in a table at the end.
    Collected { first: Vec<Cells>, last: VecDeque<Cells>, left_out: u64 },
    /// Each at once, in a line.
    Live,
}

/// Writes to the standard output, with a progress bar below it.
pub(super) struct Screen {
    json: bool,
    style: TerminalStyle,
    bars: MultiProgress,
    bar: Option<ProgressBar>,
    orders: u64,
    said: Instant,
    events: Events,
}

impl Screen {
    pub(super) fn new(json: bool, bars: MultiProgress) -> Self {
        let events = Events::Collected { first: Vec::new(), last: VecDeque::new(), left_out: 0 };
        Self { json, style: TerminalStyle::of_stdout(), bars, bar: None, orders: 0, said: Instant::now(), events }
    }

    pub(super) fn opening(&mut self, orders: u64, bootstrap_servers: Option<&str>) {
        self.orders = orders;
        if self.json {
            return;
        }
        let broker = bootstrap_servers.map_or_else(|| "an embedded broker".to_owned(), |at| format!("Kafka at {at}"));
        out::report(format_args!(
            "\n {}  {} orders of people who don't exist",
            self.style.bold("imotriz-kafka demo"),
            count(orders)
        ));
        out::report(format_args!(
            " {}\n",
            self.style.dim(format!("a marketplace that misbehaves → spool → {broker} → a consumer"))
        ));
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
            Events::Live if self.json => out::report(as_json(event)),
            Events::Live => out::report(live_line(self.style, &cells(event))),
        }
    }

    pub(super) fn progress(&mut self, events: u64, unknown_reads: u64) {
        if self.json || matches!(self.events, Events::Live) {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(events);
                if unknown_reads > 0 {
                    bar.set_message(format!("{} without an outcome", plural(unknown_reads, "read")));
                }
            }
            None if self.said.elapsed() > BETWEEN_LINES => {
                out::report(format_args!(" {} of {} orders have arrived", count(events), count(self.orders)));
                self.said = Instant::now();
            }
            None => {}
        }
    }

    /// Removes the progress bar.
    pub(super) fn curtain(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    pub(super) fn verdict(&self, report: &Report) {
        if self.json {
            out::report(report.as_json());
            return;
        }
        match self.events {
            Events::Collected { .. } => self.list(),
            Events::Live => out::report(""),
        }
        print_indented(&self.numbers(report));
        out::report(format_args!("\n {}\n", self.punch_line(report)));
        out::report(format_args!("{}\n", self.remarks(report).trim_fmt()));
    }

    pub(super) fn going_on(&mut self) {
        self.events = Events::Live;
        if !self.json {
            out::report(format_args!(
                " {}\n",
                self.style.bold("New orders come in every few seconds; stop with Ctrl-C.")
            ));
        }
    }

    fn list(&self) {
        let Events::Collected { first, last, left_out } = &self.events else { return };
        if first.is_empty() {
            return;
        }
        let gap = (*left_out > 0).then(|| {
            let mut gap: Cells = Default::default();
            gap[0] = format!("⋮ {} more", count(*left_out));
            gap
        });
        out::report(format_args!("{}\n", order_table(self.style, first.iter().chain(&gap).chain(last)).trim_fmt()));
    }

    fn numbers(&self, report: &Report) -> Table {
        let verdict = &report.verdict;
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY.with_rounded_corners());
        let must_be_none = |number| self.coloured(number, if number == 0 { Color::Green } else { Color::Red });
        table.add_row([Cell::new("orders in the shop"), self.number(verdict.orders)]);
        if verdict.pending > 0 {
            table.add_row([Cell::new("still to come"), self.coloured(verdict.pending, Color::Yellow)]);
        }
        table.add_row([Cell::new("events seen by the consumer"), self.number(verdict.events)]);
        table.add_row([Cell::new("lost"), must_be_none(verdict.lost)]);
        table.add_row([Cell::new("doubled"), must_be_none(verdict.doubled)]);
        table
    }

    fn number(&self, number: u64) -> Cell {
        let cell = Cell::new(count(number)).set_alignment(CellAlignment::Right);
        if self.style.has_colours() { cell.add_attribute(Attribute::Bold) } else { cell }
    }

    fn coloured(&self, number: u64, colour: Color) -> Cell {
        let cell = self.number(number);
        if self.style.has_colours() { cell.fg(colour) } else { cell }
    }

    fn punch_line(&self, report: &Report) -> String {
        let Verdict { events, lost, doubled, .. } = report.verdict;
        let pace = match (report.took, report.rate()) {
            (Some(took), Some(rate)) if events > 0 => {
                let (seconds, rate) = (took.as_secs_f64(), grouped(&format!("{rate:.0}")));
                format!("{} events in {seconds:.1} s, {rate} a second", count(events))
            }
            _ => format!("{} events", count(events)),
        };
        let judgement = match (lost, doubled) {
            (0, 0) => self.style.good("✔ Nothing lost, nothing doubled."),
            (lost, 0) => self.style.bad(format!("✘ {} lost.", plural(lost, "order"))),
            (0, doubled) => self.style.bad(format!("✘ {} too many.", plural(doubled, "event"))),
            (lost, doubled) => {
                self.style.bad(format!("✘ {} lost, {} too many.", plural(lost, "order"), plural(doubled, "event")))
            }
        };
        format!("{judgement} {}", self.style.dim(pace))
    }

    /// The remarks below the verdict: a name and a sentence each, wrapped at the terminal's width.
    fn remarks(&self, report: &Report) -> Table {
        let mut table = borderless();
        let mut remark = |name: &str, text: String| {
            table.add_row([dim_cell(self.style, name), Cell::new(text)]);
        };
        let struck: u64 = report.faults.values().sum();
        if struck > 0 {
            let each: Vec<_> = report.faults.iter().map(|(name, times)| format!("{name} {times}")).collect();
            remark("answers", format!("{struck} of {} bad or odd: {}", report.reads, each.join(", ")));
        }
        if report.unknown_reads > 0 {
            let reads = plural(report.unknown_reads, "read");
            let back = plural(report.reconciled, "order");
            remark("unknown", format!("{reads} ended without an outcome; {back} came back through the list of IDs"));
        }
        match &report.topic {
            Some(topic) => remark("topic", format!("{topic}: it stays, for other tools to look at")),
            None => remark("broker", LIMITS_OF_THE_EMBEDDED_BROKER.to_owned()),
        }
        table
    }
}

fn progress_bar(orders: u64) -> ProgressBar {
    let template = " {bar:40.green/dim} {human_pos} of {human_len} orders seen  {msg:.yellow}";
    let style = ProgressStyle::with_template(template).expect("the template is fixed").progress_chars("━━─");
    ProgressBar::new(orders).with_style(style)
}

fn order_table<'a>(style: TerminalStyle, rows: impl Iterator<Item = &'a Cells>) -> Table {
    let mut table = borderless();
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_truncation_indicator("…").set_header(COLUMNS.map(|name| dim_cell(style, name)));
    for cells in rows {
        let mut row = Row::from(cells.iter().enumerate().map(|(index, text)| match index {
            REASON if style.has_colours() && ![USUAL_REASON, ""].contains(&text.as_str()) => {
                Cell::new(text).fg(Color::Yellow)
            }
            _ => Cell::new(text),
        }));
        row.max_height(1);
        table.add_row(row);
    }
    let narrow = terminal_width().is_some_and(|width| width < NARROW);
    // The widest row has to fit into 80 columns.
    let padding = if narrow { (1, 0) } else { (1, 1) };
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding(padding);
        if NUMBERS.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if index != WIDEST {
            column.set_constraint(ColumnConstraint::ContentWidth);
        } else if narrow {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    table
}

/// Formats an event as a line. The products may be long: they come last, and are cut at the terminal's width.
fn live_line(style: TerminalStyle, cells: &Cells) -> String {
    let [placed, order, revision, reason, buyer, products, total] = cells.each_ref().map(String::as_str);
    // Leaves room, because some characters take two columns.
    let width = terminal_width().map_or(usize::MAX, |width| width.saturating_sub(3));
    let line = LIVE.line([placed, order, revision, reason, buyer, total, products], width);
    let (placed, rest) = line.split_at_checked(LIVE.widths[0]).unwrap_or((&line, ""));
    format!(" {}{rest}", style.dim(placed))
}

fn print_indented(table: &Table) {
    table.lines().for_each(|line| out::report(format_args!(" {line}")));
}

fn as_json(event: &OrderEvent) -> serde_json::Value {
    serde_json::json!({
        "order_id": event.order_id, "revision": event.revision, "reason": event.reason, "currency": event.currency,
        "total": event.total.map(|total| total.to_string()),
    })
}
