//! Tables for people, at most as wide as the terminal.
//!
//! [`Rows`] is for a table that is known as a whole: its columns get the widths that its cells need. [`Columns`] is for
//! rows that are printed one by one as they come: its columns have fixed widths.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, ContentArrangement, Table};

use super::order_row::printable;
use super::style::TerminalStyle;

/// A table without lines whose cells wrap at the terminal's width.
#[must_use]
pub fn borderless() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// A cell of less importance, such as one of a head.
#[must_use]
pub fn dim_cell(style: TerminalStyle, text: &str) -> Cell {
    let cell = Cell::new(text);
    if style.has_colours() { cell.add_attribute(Attribute::Dim) } else { cell }
}

/// Rows below a head.
pub struct Rows(Table);

impl Rows {
    #[must_use]
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        let style = TerminalStyle::of_stdout();
        let mut table = borderless();
        table.set_header(head.map(|text| dim_cell(style, text)));
        Self(table)
    }

    pub fn add<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells.map(|cell| printable(&cell)));
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.trim_fmt())
    }
}

/// Columns of fixed widths, two blanks apart. The last one takes the rest of the line.
pub struct Columns<const N: usize> {
    /// The minimum width of each column.
    pub widths: [usize; N],
    /// The columns of numbers, which are right-aligned.
    pub numbers: &'static [usize],
    /// The columns that a narrow terminal leaves out, the least important first.
    pub optional: &'static [usize],
}

impl<const N: usize> Columns<N> {
    /// The room that the last column needs to be of use.
    const LEAST_OF_LAST: usize = 12;

    /// Formats the cells as one line of at most `width` characters. Leaves out whole columns before it cuts anything.
    #[must_use]
    pub fn line(&self, cells: [&str; N], width: usize) -> String {
        let mut line = String::new();
        for column in self.fitting(width) {
            let (cell, at_least) = (printable(cells[column]), self.widths[column]);
            if !line.is_empty() {
                line.push_str("  ");
            }
            match self.numbers.contains(&column) {
                true => line.push_str(&format!("{cell:>at_least$}")),
                false => line.push_str(&format!("{cell:<at_least$}")),
            }
        }
        let cut: String = line.chars().take(width).collect();
        cut.trim_end().to_owned()
    }

    fn fitting(&self, width: usize) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..N).collect();
        for optional in self.optional {
            let last = if shown.last() == Some(&(N - 1)) { Self::LEAST_OF_LAST } else { 0 };
            if shown.iter().map(|column| self.widths[*column] + 2).sum::<usize>() + last <= width {
                break;
            }
            shown.retain(|column| column != optional);
        }
        shown
    }
}
