//! An event as a row for people. The buyer's name is masked: more people see a screen than a topic.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use crate::avro::event::{EventLine, OrderEvent};
use crate::order::amount::Amount;
use crate::order::country::Country;
use crate::platform::text::grouped;

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
        event.total.map(|total| format!("{} {}", event.currency, money(total))).unwrap_or_default(),
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

/// Keeps all digits, at least two decimals, and groups the thousands.
pub(super) fn money(amount: Amount) -> String {
    let mut value = Decimal::from(amount);
    value.rescale(value.scale().max(2));
    let text = value.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "00"));
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{}.{fraction}", grouped(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_with_every_digit_it_has() {
        for (value, text) in [
            ("0", "0.00"),
            ("129900", "129,900.00"),
            ("-1234.5", "-1,234.50"),
            ("0.1234", "0.1234"),
            ("99999999999999.9999", "99,999,999,999,999.9999"),
        ] {
            let value: Decimal = value.parse().unwrap();
            assert_eq!(money(Amount::try_from(value).unwrap()), text);
        }
    }

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
