//! Identifiers that travel through the whole program. They are parsed once at the edge; no bare `String` travels past
//! it.

mod list;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;
use uuid::fmt::Hyphenated;
use uuid::{NoContext, Uuid};

use crate::platform::clock;

pub use list::{Listed, OrderIds};

/// Why a text is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The text is empty after trimming.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// The text is longer than the limit, in bytes.
    #[error("the {0} is longer than {1} bytes")]
    TooLong(&'static str, usize),
    /// The text has a character that would make keys or file names ambiguous.
    #[error("the {0} has a character that is not allowed: {1:?}")]
    Character(&'static str, char),
    /// The number has a fraction, or is a float so large that it stands for several integers.
    #[error("the {0} is a number that is not a whole one, or a float beyond 2^53, where it is no longer exact")]
    NotWhole(&'static str),
    /// The text does not have the form `store/order ID`.
    #[error("an order key reads `store/order ID`")]
    NoSlash,
    /// The text is not a UUID.
    #[error("a read ID is a UUID")]
    NotAUuid,
}

/// The marketplace's ID of an order, as text: trimmed, at most 128 bytes, without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(Arc<str>);

impl OrderId {
    const MAX: usize = 128;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Converts a JSON number to an ID. A float becomes the integer of the same value, so that an order has one key
    /// whether PHP writes `9000001`, `9000001.0` or `9.000001E+6`. An integer keeps its text.
    ///
    /// # Errors
    /// The number has a fraction, or is a float beyond 2^53, where several IDs share one float.
    pub fn from_number(number: &str) -> Result<Self, IdError> {
        if !number.contains(['.', 'e', 'E']) {
            return number.parse();
        }
        let (sign, magnitude) = number.strip_prefix('-').map_or(("", number), |magnitude| ("-", magnitude));
        let whole = whole(magnitude).ok_or(IdError::NotWhole("order ID"))?;
        Ok(Self(format!("{sign}{whole}").into()))
    }
}

/// The value of an unsigned JSON number, if it is an integer that a float holds exactly.
fn whole(number: &str) -> Option<u64> {
    /// Above this, some integers have no float of their own.
    const EXACT: u64 = 1 << 53;
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [before, after].concat();
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // The number of digits before the decimal point.
    let point = i64::try_from(before.len()).ok()?.checked_add(exponent.parse().ok()?)?;
    let zeros = usize::try_from(point).ok()?.checked_sub(significant.len())?;
    let significant = significant.parse::<u64>().ok()?;
    let value = significant.checked_mul(10_u64.checked_pow(u32::try_from(zeros).ok()?)?)?;
    // guard: an ID is not one of several
    (value < EXACT).then_some(value)
}

impl FromStr for OrderId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(IdError::Empty("order ID"));
        }
        if text.len() > Self::MAX {
            return Err(IdError::TooLong("order ID", Self::MAX));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(IdError::Character("order ID", c)),
            None => Ok(Self(text.into())),
        }
    }
}

/// A store's name in the settings: lower-case letters, digits, `-` and `_`, at most 63 bytes. Such a name is valid in a
/// file name, a Kafka key and an environment variable alike.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreName(Arc<str>);

impl StoreName {
    const MAX: usize = 63;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StoreName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty("store name"));
        }
        if text.len() > Self::MAX {
            return Err(IdError::TooLong("store name", Self::MAX));
        }
        match text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')) {
            Some(c) => Err(IdError::Character("store name", c)),
            None => Ok(Self(text.into())),
        }
    }
}

/// An order of a store: the key of the tracking topic. Only this type renders that key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey {
    pub store: StoreName,
    pub id: OrderId,
}

impl OrderKey {
    /// The key's text, from its parts.
    #[must_use]
    pub fn text(store: &StoreName, id: &OrderId) -> String {
        [store.as_str(), "/", id.as_str()].concat()
    }
}

impl fmt::Display for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::text(&self.store, &self.id))
    }
}

impl FromStr for OrderKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (store, id) = text.split_once('/').ok_or(IdError::NoSlash)?;
        Ok(Self { store: store.parse()?, id: id.parse()? })
    }
}

/// Identifies one destructive read, or one pass of the reconciler. It is a UUID of version 7, so sorting by it sorts by
/// time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadId(Uuid);

impl ReadId {
    /// Generates an ID from the clock and the operating system's random numbers. If the clock was set back, the ID's
    /// time goes back with it.
    #[must_use]
    pub fn fresh() -> Self {
        let (now, random) = (clock::now(), NoContext);
        let (seconds, nanos) = (now.as_second().unsigned_abs(), now.subsec_nanosecond().unsigned_abs());
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(random, seconds, nanos)))
    }

    /// The bits that [`ReadIds`] marks.
    fn mark(self) -> u64 {
        let (time, random) = self.0.as_u64_pair();
        (time & ReadIds::TIME_BITS) << 14 | (random & ReadIds::RANDOM_BITS) >> 48
    }

    /// When the ID was generated, in milliseconds since 1970. `None` if the UUID carries no time: an ID from elsewhere
    /// may not.
    #[must_use]
    pub fn millis(self) -> Option<i64> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        i64::try_from(seconds).ok()?.checked_mul(1000)?.checked_add(i64::from(nanos / 1_000_000))
    }

    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }

    /// Calls `f` with the text, which needs no memory of its own.
    pub(crate) fn with_text<R>(self, f: impl FnOnce(&str) -> R) -> R {
        f(self.0.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH]))
    }
}

/// Generates the IDs of the reads of one spool. 26 of their random bits are the same, so that an instance recognises in
/// the tracking topic what reads of its own spool brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadIds(u64);

impl ReadIds {
    const TIME_BITS: u64 = 0xfff;
    const RANDOM_BITS: u64 = 0x3fff << 48;

    /// Those that share the random bits of this ID.
    #[must_use]
    pub fn like(id: ReadId) -> Self {
        Self(id.mark())
    }

    #[must_use]
    pub fn fresh(self) -> ReadId {
        let (time, random) = ReadId::fresh().0.as_u64_pair();
        let time = time & !Self::TIME_BITS | self.0 >> 14;
        let random = random & !Self::RANDOM_BITS | self.0 << 48 & Self::RANDOM_BITS;
        ReadId(Uuid::from_u64_pair(time, random))
    }

    /// Whether the ID is one of these.
    #[must_use]
    pub fn made(self, id: ReadId) -> bool {
        id.mark() == self.0
    }
}

impl FromStr for ReadId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse().map(Self).map_err(|_| IdError::NotAUuid)
    }
}

macro_rules! shown_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

shown_as_text!(OrderId, StoreName, ReadId);

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_loses_the_blanks_around_it_and_keeps_the_rest() {
        assert_eq!("  000123 ".parse::<OrderId>().unwrap().as_str(), "000123");
        assert_eq!(" ".parse::<OrderId>(), Err(IdError::Empty("order ID")));
        assert_eq!("1\n2".parse::<OrderId>(), Err(IdError::Character("order ID", '\n')));
        assert!("x".repeat(129).parse::<OrderId>().is_err());
    }

    #[test]
    fn the_reads_of_a_spool_are_told_from_others_and_stay_unique_and_in_time() {
        let first = ReadId::fresh();
        let ids = ReadIds::like(first);
        assert!(
            ids.made(first) && !ids.made(ReadIds(ids.0 ^ 1).fresh()) && !ids.made(ReadIds(ids.0 ^ 1 << 25).fresh())
        );
        let many: std::collections::HashSet<ReadId> = (0..1000).map(|_| ids.fresh()).collect();
        assert_eq!(many.len(), 1000);
        assert!(many.iter().all(|id| ids.made(*id) && id.millis() >= first.millis()));
        assert_eq!(ids.fresh().as_uuid().get_version_num(), 7);
    }

    #[test]
    fn an_order_id_that_came_as_a_float_is_the_whole_number_of_its_value() {
        let id = |number| OrderId::from_number(number).map(|id| id.to_string());
        for number in [
            "9000001",
            "9000001.0",
            "9000001.000",
            "9.000001e6",
            "9.000001E+6",
            "90000010e-1",
            "0.9000001e7",
            "9000001e0",
        ] {
            assert_eq!(id(number).as_deref(), Ok("9000001"), "{number}");
        }
        for (number, expected) in [
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("-7", "-7"),
            ("-7.0", "-7"),
            ("7e2", "700"),
            ("0.0", "0"),
            ("0e99999999999999999999", "0"),
            ("9007199254740991.0", "9007199254740991"),
        ] {
            assert_eq!(id(number).as_deref(), Ok(expected), "{number}");
        }
        for number in [
            "9000001.5",
            "9000001.00000000000000000000000000000001",
            "9e-1",
            "7e-99999999999999999999",
            "7e99999999999999999999",
            "7e9223372036854775807",
            "9007199254740992.0",
            "9.2233720368547758E+18",
            "1e40",
        ] {
            assert_eq!(id(number), Err(IdError::NotWhole("order ID")), "{number}");
        }
    }

    #[test]
    fn a_key_survives_the_way_to_text_and_back_even_with_a_slash_in_the_id() {
        let key = OrderKey { store: "bogota".parse().unwrap(), id: "A/7".parse().unwrap() };
        assert_eq!(key.to_string(), "bogota/A/7");
        assert_eq!(key.to_string().parse::<OrderKey>().unwrap(), key);
    }

    #[test]
    fn a_store_name_that_could_leave_its_folder_is_refused() {
        for bad in ["", "../x", "a.b", "Bogota", "a/b"] {
            assert!(bad.parse::<StoreName>().is_err(), "{bad:?}");
        }
    }
}
