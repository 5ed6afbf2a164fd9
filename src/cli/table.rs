//! Tables without lines, for people, at most as wide as the terminal.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, ContentArrangement, Table};

use super::order_row::printable;
use super::style::TerminalStyle;

/// Rows below a head.
pub struct Rows(Table);

impl Rows {
    #[must_use]
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        let dim = TerminalStyle::of_stdout().has_colours();
        let cell = |text: &str| {
            let cell = Cell::new(text);
            if dim { cell.add_attribute(comfy_table::Attribute::Dim) } else { cell }
        };
        table.set_header(head.map(cell));
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
