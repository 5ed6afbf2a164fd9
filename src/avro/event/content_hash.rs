//! The hash by which two versions of an order's content are compared.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;
use uuid::fmt::Simple;
use xxhash_rust::xxh3::xxh3_128;

use crate::order::{Buyer, DateText, Line, Order};

/// Hash of an order's content: XXH3-128, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(u128);

/// The text is not a content hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a content hash has 32 hexadecimal digits")]
pub struct ContentHashError;

impl ContentHash {
    /// Hashes raw bytes, for a record that could not be mapped.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    /// The upper 64 of the 128 bits, for comparisons in memory.
    #[must_use]
    pub fn first_half(self) -> u64 {
        u64::try_from(self.0 >> 64).expect("128 bits less 64 are 64")
    }

    /// Hashes the marketplace's data of an order. When, how and how often it was read does not count, nor does the
    /// spelling of numbers. The order of the unknown fields does count.
    #[must_use]
    pub fn of(order: &Order) -> Self {
        // Destructuring names each field, so that the compiler reports a new one.
        let Order {
            id,
            status,
            payment_status,
            payment_method,
            currency,
            created_at,
            updated_at,
            total,
            subtotal,
            shipping,
            discount,
            tax,
            buyer,
            lines,
            extra,
        } = order;
        let Buyer { name, email, mobile, document, address, city, region, postal_code, extra: buyer_extra } = buyer;
        let mut content = Content(Vec::with_capacity(2048));
        content.text(Some(id.as_str()));
        content.text(Some(currency));
        content.texts([status, payment_status, payment_method]);
        content.text(created_at.as_ref().map(DateText::as_written));
        content.text(updated_at.as_ref().map(DateText::as_written));
        content.texts([extra]);
        content.amounts([total, subtotal, shipping, discount, tax]);
        content.texts([name, email, mobile, document, address, city, region, postal_code, buyer_extra]);
        for Line { code, name, quantity, unit_price, unit_price_before, extra } in lines {
            content.texts([code, name, extra]);
            content.amounts([quantity, unit_price, unit_price_before]);
        }
        Self::of_bytes(&content.0)
    }
}

/// Each value is preceded by its length, so that different orders never produce the same bytes.
struct Content(Vec<u8>);

impl Content {
    fn text(&mut self, text: Option<&str>) {
        match text {
            None => self.0.push(0),
            Some(text) => {
                self.0.push(1);
                self.0.extend((text.len() as u64).to_le_bytes());
                self.0.extend(text.as_bytes());
            }
        }
    }

    fn texts<const N: usize>(&mut self, texts: [&Option<String>; N]) {
        texts.into_iter().for_each(|text| self.text(text.as_deref()));
    }

    fn amounts<const N: usize>(&mut self, amounts: [&Option<Decimal>; N]) {
        for amount in amounts {
            match amount.map(|amount| amount.normalize()) {
                None => self.0.push(0),
                Some(amount) => {
                    self.0.push(1);
                    self.0.extend(amount.serialize());
                }
            }
        }
    }
}

impl ContentHash {
    /// Calls `f` with the text, which needs no memory of its own.
    pub(crate) fn with_text<R>(self, f: impl FnOnce(&str) -> R) -> R {
        // Its digits are those of a UUID without hyphens, whose encoder is several times as fast as that of a number.
        f(Uuid::from_u128(self.0).simple().encode_lower(&mut [0; Simple::LENGTH]))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = ContentHashError;

    fn from_str(text: &str) -> Result<Self, ContentHashError> {
        // A UUID without hyphens has 32 hexadecimal digits too, and its parser is ten times as fast as that of a
        // number. There may be a million hashes to parse at a start.
        let digits = (text.len() == 32).then(|| Uuid::try_parse(text).ok()).flatten();
        digits.map(|digits| Self(digits.as_u128())).ok_or(ContentHashError)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
