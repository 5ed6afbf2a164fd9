//! An event as a row for people. The buyer's name is masked: more people see a screen than a topic.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::avro::event::{EventLine, OrderEvent};
use crate::order::country::Country;

/// The columns, from left to right.
pub const COLUMNS: [&str; 7] = ["placed", "order", "rev", "reason", "buyer", "products", "total"];
/// The columns of numbers, which are right-aligned.
pub const NUMBERS: [usize; 3] = [1, 2, 6];
/// The column of the reason for publication.
pub const REASON: usize = 3;
/// The column that is cut or hidden where there is little room.
pub const WIDEST: usize = 5;

/// The event's cells, in the order of [`COLUMNS`].
#[must_use]
pub fn cells(event: &OrderEvent) -> [String; 7] {
    [
        placed(event).unwrap_or_default(),
        event.order_id.clone(),
        event.revision.to_string(),
        event.reason.as_str().to_lowercase(),
        event.buyer.name.as_deref().map(masked).unwrap_or_default(),
        products(&event.lines),
        event.total.map(|total| format!("{} {}", event.currency, total.grouped())).unwrap_or_default(),
    ]
}

/// Shows the local time of the store's country.
fn placed(event: &OrderEvent) -> Option<String> {
    let time = Timestamp::from_millisecond(event.created_at?).ok()?;
    let zone = event.country.parse::<Country>().ok().and_then(|country| TimeZone::get(country.time_zone()).ok());
    Some(time.to_zoned_datetime(zone.unwrap_or(TimeZone::UTC)).strftime("%d %b %H:%M").to_string())
}

/// Keeps the first letter of each word, followed by always three bullets: not even the name's length can be told.
#[must_use]
pub fn masked(name: &str) -> String {
    let letters = name.split_whitespace().filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
    letters.map(|letter| format!("{letter}•••")).collect::<Vec<_>>().join(" ")
}

pub(super) fn products(lines: &[EventLine]) -> String {
    let Some(first) = lines.first() else { return String::new() };
    let name = shortened(first.name.as_deref().or(first.code.as_deref()).unwrap_or("?"));
    let quantity = first.quantity.map(|quantity| format!("{quantity} × ")).unwrap_or_default();
    match lines.len() - 1 {
        0 => format!("{quantity}{name}"),
        more => format!("{quantity}{name} +{more}"),
    }
}

/// Drops control characters. An order's text comes from strangers, and could move the cursor or change colours.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Cuts the name to 28 characters.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(28) {
        None => name.to_owned(),
        Some(_) => format!("{}…", name.chars().take(27).collect::<String>().trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shortened("Batería de gel YTX7L-BS 12 V"), "Batería de gel YTX7L-BS 12 V");
        assert_eq!(shortened("Batería de gel YTX7L-BS 12 V."), "Batería de gel YTX7L-BS 12…");
    }

    #[test]
    fn a_masked_name_tells_initials_and_no_lengths() {
        assert_eq!(masked("María José 🏍️  Peña"), "M••• J••• P•••");
        assert_eq!(masked("Ñ"), "Ñ•••");
        assert_eq!(masked(""), "");
    }
}
