//! Parsers of single values. Each accepts text, since the environment has nothing else.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize as _};
use tracing_subscriber::filter::{LevelFilter, Targets};
use url::{Host, Url};

/// Parses a value from text.
pub(super) fn text<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.trim().parse().map_err(D::Error::custom)
}

/// Parses an address of this machine with a port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let reason = |_| {
        D::Error::custom(format!(
            "`{text}` is no address with a port: write one in digits, such as 127.0.0.1:9464 or 0.0.0.0:9464"
        ))
    };
    text.trim().parse().map_err(reason)
}

/// Parses a list, or the text of one with commas.
pub(super) fn list<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of texts, or one text with commas")]
    enum Written {
        List(Vec<String>),
        Text(String),
    }
    let texts = match Written::deserialize(deserializer)? {
        Written::List(texts) => texts,
        Written::Text(text) => text.split(',').map(str::to_owned).collect(),
    };
    let texts = texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    texts.map(|text| text.parse().map_err(D::Error::custom)).collect()
}

/// Parses a number of at least one.
pub(super) fn positive<'de, D: Deserializer<'de>, T: Deserialize<'de> + PartialOrd + From<u8>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = T::deserialize(deserializer)?;
    if number < T::from(1) { Err(D::Error::custom("must be at least 1")) } else { Ok(number) }
}

/// Like [`positive`], for a setting that may be absent.
pub(super) fn some_positive<'de, D: Deserializer<'de>, T: Deserialize<'de> + PartialOrd + From<u8>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    positive(deserializer).map(Some)
}

/// Parses an http or https URL without user, query and fragment: secrets have their own settings, which are never
/// shown.
pub(super) fn http_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    let url = Url::parse(text.trim()).map_err(|error| D::Error::custom(format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(D::Error::custom("must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(D::Error::custom("must have neither a user, nor a password, nor anything after `?` or `#`"));
    }
    Ok(url)
}

/// Like [`http_url`], for a setting that may be absent.
pub(super) fn optional_http_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    http_url(deserializer).map(Some)
}

/// Whether the URL can only lead to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Durations such as `30s`, `250ms`, `1h30m`, `90d`. A day has 24 hours; zero is rejected.
pub(super) mod duration {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format(*value))
    }

    /// Parses an optional setting.
    pub(in super::super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        deserialize(from).map(Some)
    }

    pub(in super::super) fn serialize_optional<S: serde::Serializer>(
        value: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(format).serialize(to)
    }

    pub(super) fn parse(text: &str) -> Result<Duration, String> {
        let reason = || format!("`{text}` is no duration: write a number and a unit, such as 250ms, 30s, 10m or 90d");
        let span: Span = text.trim().parse().map_err(|_| reason())?;
        let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| reason())?;
        let duration = Duration::try_from(signed).map_err(|_| reason())?;
        if duration.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(duration) }
    }

    /// The shortest spelling that `parse` reads as the same duration.
    pub(super) fn format(value: Duration) -> String {
        const UNITS: [(&str, u128); 7] = [
            ("d", 86_400_000_000_000),
            ("h", 3_600_000_000_000),
            ("m", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
            ("ns", 1),
        ];
        let mut rest = value.as_nanos();
        let mut text = String::new();
        for (unit, size) in UNITS {
            if rest >= size {
                text.push_str(&format!("{}{unit}", rest / size));
                rest %= size;
            }
        }
        text
    }
}

/// Sizes such as `256KiB` and `8MiB`, in bytes; zero is rejected.
pub(super) mod size {
    use super::*;

    const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format(*value))
    }

    /// Parses an optional setting.
    pub(in super::super) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        deserialize(from).map(Some)
    }

    pub(super) fn parse(text: &str) -> Result<u64, String> {
        UNITS
            .into_iter()
            .find_map(|(unit, size)| Some((text.trim().strip_suffix(unit)?, size)))
            .and_then(|(number, size)| number.trim_end().parse::<u64>().ok()?.checked_mul(size))
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| format!("`{text}` is no size: write a number and a unit (B, KiB, MiB, GiB), such as 256KiB"))
    }

    pub(super) fn format(bytes: u64) -> String {
        let (unit, size) = UNITS.into_iter().find(|(_, size)| bytes.is_multiple_of(*size)).unwrap_or(("B", 1));
        format!("{}{unit}", bytes / size)
    }
}

/// Filters of the log, as `RUST_LOG` has them.
pub(super) mod log_filter {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Targets, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    pub(in super::super) fn serialize<S: serde::Serializer>(value: &Targets, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(super) fn parse(text: &str) -> Result<Targets, String> {
        // The parser takes a misspelt level for the name of a part, and then nothing else is logged.
        let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        let mut levels = text.split(',').map(|part| part.rsplit('=').next().unwrap_or_default().trim());
        if let Some(wrong) = levels.find(|level| !is_level(level)) {
            return Err(format!(
                "`{wrong}` is no level: write one of error, warn, info, debug, trace and off, and others for single \
                 parts behind commas, such as info,imotriz_kafka::kafka=debug"
            ));
        }
        text.parse().map_err(|error| format!("is no filter: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["250ms", "30s", "10m", "1h30m", "90d", "1d2h3m4s5ms"] {
            assert_eq!(duration::format(duration::parse(text).unwrap()), text);
        }
        assert_eq!(duration::parse("90d").unwrap().as_secs(), 90 * 86_400);
        assert_eq!(duration::parse(" 1 hour 30 minutes ").unwrap().as_secs(), 5_400);
        for text in ["", "30", "-5s", "0s", "1 month", "soon"] {
            assert!(duration::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_log_filter_is_read_and_a_misspelt_level_refused() {
        for text in ["info", "off", "warn,rdkafka=off", "imotriz_kafka::kafka=debug,info"] {
            let filter = log_filter::parse(text).unwrap();
            assert_eq!(log_filter::parse(&filter.to_string()).unwrap(), filter, "{text}");
        }
        for text in ["", "warning", "verbose", "info,kafka", "kafka=", "info,,warn"] {
            assert!(log_filter::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_size_is_written_as_it_is_read() {
        for text in ["256KiB", "8MiB", "3GiB", "1000B"] {
            assert_eq!(size::format(size::parse(text).unwrap()), text);
        }
        assert_eq!(size::parse("8 MiB").unwrap(), 8_388_608);
        for text in ["", "8", "8MB", "-1B", "0B", "KiB", "99999999999GiB"] {
            assert!(size::parse(text).is_err(), "{text:?}");
        }
    }
}
