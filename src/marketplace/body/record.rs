//! A record of an answer: JSON, or bytes that JSON can't hold.

use serde_json::value::RawValue;

use super::document::readable;
use crate::order::country::Country;
use crate::order::ids::OrderId;
use crate::order::mapping::Mapping;
use crate::order::{DeadLetter, Order};

/// One unparsed record.
#[derive(Clone, Copy)]
pub enum Record<'a> {
    Json(&'a RawValue),
    /// Bytes that are not UTF-8, or that have an unescaped control character. Nobody can tell which text was meant.
    Broken(&'a [u8]),
}

impl<'a> Record<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        serde_json::from_slice(bytes).map_or(Self::Broken(bytes), Self::Json)
    }

    /// The JSON text; empty for a broken record.
    pub(super) fn text(&self) -> &'a str {
        match self {
            Self::Json(json) => json.get(),
            Self::Broken(_) => "",
        }
    }

    /// The original bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::Json(json) => json.get().as_bytes(),
            Self::Broken(bytes) => bytes,
        }
    }

    /// Maps the record to an order.
    ///
    /// # Errors
    /// Returns the record as a dead letter, with the reason: see [`Mapping::order`]. A broken record always becomes
    /// one, with its ID if that can be read.
    pub fn order(self, mapping: &Mapping, country: Country) -> Result<Order, DeadLetter> {
        match self {
            Self::Json(json) => mapping.order(country, json),
            Self::Broken(bytes) => Err(DeadLetter {
                id: id(bytes, mapping, country),
                json: bytes.to_vec(),
                reason: why(bytes),
                pointer: String::new(),
            }),
        }
    }
}

/// The ID of a broken record. It is read with two different placeholders for the broken bytes: only an ID that is the
/// same both times contains none of them.
fn id(bytes: &[u8], mapping: &Mapping, country: Country) -> Option<OrderId> {
    let with = |placeholder| {
        let text = readable(bytes, placeholder);
        match mapping.order(country, serde_json::from_str(&text).ok()?) {
            Ok(order) => Some(order.id),
            Err(letter) => letter.id,
        }
    };
    with(b'?')
        // guard: a broken byte is part of no ID
        .filter(|id| with(b'!').as_ref() == Some(id))
}

fn why(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Err(error) => format!("the record is not UTF-8 (byte {})", error.valid_up_to()),
        Ok(_) => "the record has a control character that is not escaped, which JSON does not allow".to_owned(),
    }
}
