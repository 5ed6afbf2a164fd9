//! A time on the command line: `beginning`, a date, a time, or how long ago.

use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use thiserror::Error;

use crate::platform::clock;

/// The text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected how long ago (90s, 15m, 2h, 7d), a date (2026-11-24, in UTC), or a time (2026-11-24T10:00:00-05:00)")]
pub struct TimeArgumentError;

/// A time, in UTC if the text names no zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeArgument(pub Timestamp);

impl FromStr for TimeArgument {
    type Err = TimeArgumentError;

    fn from_str(text: &str) -> Result<Self, TimeArgumentError> {
        let text = text.trim();
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self(time));
        }
        if let Ok(date) = text.parse::<Date>() {
            return TimeZone::UTC
                .to_timestamp(date.to_datetime(Time::midnight()))
                .map(Self)
                .map_err(|_| TimeArgumentError);
        }
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: i64 = number.parse().map_err(|_| TimeArgumentError)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(TimeArgumentError),
        };
        let ago = number.checked_mul(seconds).and_then(|seconds| Span::new().try_seconds(seconds).ok());
        ago.and_then(|ago| clock::now().checked_sub(ago).ok()).map(Self).ok_or(TimeArgumentError)
    }
}

/// Where a scan begins: `beginning`, or a [`TimeArgument`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartArgument {
    /// At the oldest record that the topic still has.
    Beginning,
    Time(TimeArgument),
}

impl FromStr for StartArgument {
    type Err = TimeArgumentError;

    fn from_str(text: &str) -> Result<Self, TimeArgumentError> {
        if text == "beginning" { Ok(Self::Beginning) } else { text.parse().map(Self::Time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Timestamp, TimeArgumentError> {
        text.parse::<TimeArgument>().map(|moment| moment.0)
    }

    #[test]
    fn a_time_is_given_in_three_ways() {
        let noon: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        assert_eq!(parsed("2026-11-24T07:00:00-05:00"), Ok(noon));
        assert_eq!(parsed("2026-11-24"), Ok("2026-11-24T00:00:00Z".parse().unwrap()));
        let ago = clock::now().duration_since(parsed("2h").unwrap());
        assert!((7199..=7201).contains(&ago.as_secs()));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "5", "h", "-2h", "3w", "99999999999999999d", "2026-13-01", "ñ"] {
            assert_eq!(parsed(text), Err(TimeArgumentError), "{text}");
        }
    }
}
