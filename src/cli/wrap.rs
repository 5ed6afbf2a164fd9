//! Wraps text between words at the terminal's width.

use comfy_table::Table;

/// The least width that is assumed, so that words have room.
const NARROWEST: usize = 40;

/// The columns of the terminal. None if there is no terminal, or if it does not tell.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    Table::new().width().map(usize::from)
}

/// The width at which text is wrapped. Without a terminal, lines are not wrapped.
#[must_use]
pub fn columns() -> usize {
    terminal_width().map_or(usize::MAX, |width| width.max(NARROWEST))
}

/// Wraps text that stands behind `margin` columns of something else, and indents its further lines by that much.
#[must_use]
pub fn hanging(text: &str, margin: usize) -> String {
    wrapped(text, columns().saturating_sub(margin)).join(&format!("\n{}", " ".repeat(margin)))
}

/// Splits text between words into lines of at most `width` characters. A longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count().saturating_add(1 + word.chars().count()) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_no_word_is_lost() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensibilities no", 5), ["incomprehensibilities", "no"]);
        assert!(wrapped("", 5).is_empty());
        assert_eq!(wrapped("a b c", usize::MAX), ["a b c"]);
    }
}
