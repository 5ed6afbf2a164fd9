//! Pieces of HTML.

use std::fmt::{self, Display, Write as _};

use jiff::Timestamp;

use crate::operate::admin::advice::Language;
use crate::order::amount::Amount;
use crate::platform::text::count;

/// Text, escaped for HTML.
pub(super) struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A sentence, in which what stands between backquotes is code.
pub(super) struct Sentence<'a>(pub &'a str);

impl Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.split('`').enumerate() {
            let part = Escaped(part);
            if index % 2 == 1 { write!(f, "<code>{part}</code>")? } else { part.fmt(f)? }
        }
        Ok(())
    }
}

/// A point in time. The script tells how long ago it was.
pub(super) struct When(pub Option<Timestamp>);

impl Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("–"),
            Some(at) => write!(
                f,
                "<time datetime=\"{}\">{}</time>",
                at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                at.strftime("%Y-%m-%d %H:%M:%S UTC")
            ),
        }
    }
}

/// A number in the way of a language.
pub(super) fn number(language: Language, number: u64) -> String {
    grouped(language, count(number))
}

/// An amount with all its digits, in the way of a language.
pub(super) fn money(language: Language, currency: &str, amount: Amount) -> String {
    format!("{currency} {}", grouped(language, amount.grouped()))
}

fn grouped(language: Language, digits: String) -> String {
    match language {
        Language::English => digits,
        // A point in Colombia, a comma in Mexico: a narrow space is understood in both.
        Language::Spanish => digits.replace(',', "\u{202f}"),
    }
}

/// A number that is highlighted unless it is 0.
pub(super) fn alarming(language: Language, value: u64) -> String {
    let text = number(language, value);
    if value == 0 { text } else { format!("<span class=bad>{text}</span>") }
}

/// A chart of bars with its caption.
pub(super) fn chart(caption: &str, values: &[u64], steps: usize) -> String {
    let most = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    let first = steps.saturating_sub(values.len());
    let mut chart = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {steps} 30\" preserveAspectRatio=none role=img \
         aria-label=\"{}\"><line x1=0 y1=30 x2={steps} y2=30 />",
        Escaped(caption),
        Escaped(caption)
    );
    for (index, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let height = (*value as f64 / most * 29.0).max(1.0);
        let (x, y) = (first + index, 30.0 - height);
        // Writing to a `String` can't fail.
        write!(chart, "<rect x={x} y={y:.1} width=.8 height={height:.1} />").unwrap_or_default();
    }
    chart + "</svg></figure>"
}
