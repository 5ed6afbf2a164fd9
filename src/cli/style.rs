//! Colours on the standard output: only on a terminal, and only unless `NO_COLOR` is set.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal as _};

use clap::builder::styling::{AnsiColor, Style};

/// Styles text for a terminal, or leaves it plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalStyle {
    colours: bool,
}

impl TerminalStyle {
    /// Uses colours if the standard output is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn of_stdout() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: io::stdout().is_terminal() && !refused }
    }

    /// Adds no escape codes.
    #[must_use]
    pub fn plain() -> Self {
        Self { colours: false }
    }

    #[must_use]
    pub fn has_colours(self) -> bool {
        self.colours
    }

    /// For text of less importance.
    #[must_use]
    pub fn dim(self, text: impl Display) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    /// For the text that a reader should see first.
    #[must_use]
    pub fn bold(self, text: impl Display) -> String {
        self.styled(Style::new().bold(), text)
    }

    /// For a good result.
    #[must_use]
    pub fn good(self, text: impl Display) -> String {
        self.styled(AnsiColor::Green.on_default().bold(), text)
    }

    /// For a problem that needs attention.
    #[must_use]
    pub fn bad(self, text: impl Display) -> String {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }

    fn styled(self, style: Style, text: impl Display) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_style_adds_nothing() {
        assert_eq!(TerminalStyle::plain().bad("lost"), "lost");
        assert_eq!(TerminalStyle { colours: true }.bad("lost"), "\u{1b}[1m\u{1b}[31mlost\u{1b}[0m");
    }
}
