//! Dates. The text is kept as it came; the instant is read from it only where no guess is needed.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::order::DateText;
use crate::order::country::Country;

/// Dates before this are placeholders for "none": MySQL's `0000-00-00`, PHP's `-0001-11-30` and 1970, the year 1900 of
/// spreadsheets, the year 1 of others. No order is that old, and some consumers can't even represent the year 0.
const EARLIEST: Timestamp = Timestamp::constant(946_684_800, 0);

/// Parses a date as text. Without a zone it is in the country's zone; without a time it is midnight.
///
/// There is no instant for MySQL's `0000-00-00 00:00:00`, for text that can't be parsed, for a date before 2000, or for
/// one after 9999-12-30T22:00 UTC, where [`Timestamp`] ends.
pub(super) fn from_text(raw: &str, country: Country) -> DateText {
    let text = raw.trim();
    // The parser of civil dates ignores a zone, so a text with a zone must not reach it.
    let has_no_zone = text.bytes().all(|c| c.is_ascii_digit() || b"-:. Tt".contains(&c))
        && text.bytes().filter(|c| *c == b'-').count() == 2;
    let instant = if has_no_zone {
        text.parse::<DateTime>().ok().and_then(|date| zone(country).to_timestamp(date).ok())
    } else {
        text.parse::<Timestamp>().ok()
    };
    dated(raw, instant)
}

/// Parses Unix time in seconds as JSON writes it, within the same bounds.
pub(super) fn from_number(raw: &str) -> DateText {
    let seconds = raw.parse::<Decimal>().or_else(|_| Decimal::from_scientific(raw)).ok();
    let millis = seconds.and_then(|seconds| seconds.checked_mul(Decimal::ONE_THOUSAND)).and_then(|ms| ms.to_i64());
    // A number beyond the year 9999 was not meant as seconds.
    dated(raw, millis.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}

fn dated(raw: &str, instant: Option<Timestamp>) -> DateText {
    // guard: a zero date is no date
    let instant = instant.filter(|instant| *instant >= EARLIEST);
    DateText { raw: raw.to_owned(), epoch_millis: instant.map(Timestamp::as_millisecond) }
}

fn zone(country: Country) -> &'static TimeZone {
    static ZONES: LazyLock<[TimeZone; Country::ALL.len()]> = LazyLock::new(|| {
        Country::ALL.map(|country| TimeZone::get(country.time_zone()).expect("the zones are bundled with the program"))
    });
    &ZONES[country as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20 19:03:11 UTC.
    const INSTANT: i64 = 1_795_201_391_000;

    #[test]
    fn dates_are_read_in_their_zone_or_in_the_countrys() {
        for (text, country, expected) in [
            ("2026-11-20 14:03:11", Country::Co, INSTANT),
            ("2026-11-20T14:03:11", Country::Ec, INSTANT),
            ("2026-11-20 13:03:11", Country::Mx, INSTANT),
            ("2026-11-20 13:03:11", Country::Cr, INSTANT),
            (" 2026-11-20 14:03 ", Country::Co, INSTANT - 11_000),
            ("2026-11-20 14:03:11.250", Country::Co, INSTANT + 250),
            ("2026-11-20 14:03:11.250000", Country::Co, INSTANT + 250),
            ("2026-11-20T19:03:11Z", Country::Co, INSTANT),
            ("2026-11-20 19:03:11Z", Country::Mx, INSTANT),
            ("2026-11-20T14:03:11-05:00", Country::Mx, INSTANT),
            ("2026-11-20T14:03:11.250-0500", Country::Mx, INSTANT + 250),
            ("2026-11-20T19:03:11.000000Z", Country::Cr, INSTANT),
            ("2026-11-20", Country::Co, INSTANT - (14 * 3600 + 3 * 60 + 11) * 1000),
            // Daylight saving time, as Mexico had it until 2022.
            ("2022-07-01 00:00:00", Country::Mx, 1_656_651_600_000),
        ] {
            assert_eq!(from_text(text, country), DateText { raw: text.into(), epoch_millis: Some(expected) }, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_and_has_no_instant() {
        for text in [
            "0000-00-00 00:00:00",
            "0000-00-00",
            "0000-01-01 00:00:00",
            "-0001-11-30 00:00:00",
            "-000001-11-30T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01 00:00:00",
            "1900-01-01",
            "1969-12-31 19:00:00",
            "1970-01-01T00:00:00Z",
            "1999-12-31T23:59:59.999Z",
            // In the country's zone this is already the year 10000 in UTC.
            "9999-12-31 23:59:59",
            "9999-12-31T23:59:59-05:00",
            "9999-12-31T23:59:59Z",
            "+010000-01-01T00:00:00Z",
            "-0001-11-30T00:00:00",
            "20/11/2026",
            "11-20-2026",
            "20-11-2026 14:03:11",
            "2026-02-30",
            "2026-11-20 25:00:00",
            "2026-11-20 14:03:11 PM",
            "2026-11-20 02:03:11 p. m.",
            "ayer",
            "1795201391",
            "2026-11-20T14:03:11 America/Nowhere",
            "2026-11-20T14:03:11[America/Nowhere]",
            "2026-11-20T14:03:11+99:00",
            "20 de noviembre de 2026",
            "2026-11",
            "\u{0}",
        ] {
            assert_eq!(from_text(text, Country::Co), DateText { raw: text.into(), epoch_millis: None }, "{text}");
        }
    }

    #[test]
    fn the_first_and_the_last_date_are_within_what_every_consumer_can_hold() {
        for (text, expected) in
            [("2000-01-01T00:00:00Z", 946_684_800_000), ("9999-12-30T22:00:00Z", 253_402_207_200_000)]
        {
            assert_eq!(from_text(text, Country::Co).epoch_millis, Some(expected), "{text}");
            assert_eq!(from_number(&(expected / 1000).to_string()).epoch_millis, Some(expected), "{text}");
        }
    }

    #[test]
    fn numbers_are_unix_seconds() {
        for (text, expected) in [
            ("1795201391", Some(INSTANT)),
            ("1795201391.25", Some(INSTANT + 250)),
            ("1.795201391e9", Some(INSTANT)),
            ("0", None),
            ("-5", None),
            ("-62169984000", None),
            ("1", None),
            ("946684799.999", None),
            ("253402207201", None),
            ("1795201391000", None),
            ("1e400", None),
            ("99999999999999999999999999999999999", None),
        ] {
            assert_eq!(from_number(text), DateText { raw: text.into(), epoch_millis: expected }, "{text}");
        }
    }
}
