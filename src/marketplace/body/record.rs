//! A record of an answer: JSON, or bytes that JSON can't hold.

use std::ops::Range;
use std::str;

use serde_json::value::RawValue;

use super::Page;
use super::document::readable;
use crate::order::country::Country;
use crate::order::ids::OrderId;
use crate::order::json::Raw;
use crate::order::mapping::Mapping;
use crate::order::{DeadLetter, Order};

/// One unmapped record.
#[derive(Clone, Copy)]
pub struct Record<'a>(Content<'a>);

#[derive(Clone, Copy)]
enum Content<'a> {
    Json(Raw<'a>),
    /// Bytes that are not UTF-8, or that have an unescaped control character. Nobody can tell which text was meant.
    Broken(&'a [u8]),
}

impl<'a> From<&'a RawValue> for Record<'a> {
    fn from(json: &'a RawValue) -> Self {
        Self(Content::Json(json.into()))
    }
}

impl<'a> Record<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        let json: Result<&RawValue, _> = serde_json::from_slice(bytes);
        json.map_or(Self(Content::Broken(bytes)), Self::from)
    }

    /// The JSON text; empty for a broken record.
    pub(super) fn text(&self) -> &'a str {
        match self.0 {
            Content::Json(json) => json.get(),
            Content::Broken(_) => "",
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(self.0, Content::Broken(_))
    }

    /// The original bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        match self.0 {
            Content::Json(json) => json.get().as_bytes(),
            Content::Broken(bytes) => bytes,
        }
    }

    /// Maps the record to an order.
    ///
    /// # Errors
    /// Returns the record as a dead letter, with the reason: see [`Mapping::order`]. A broken record always becomes
    /// one, with its ID if that can be read.
    pub fn order(self, mapping: &Mapping, country: Country) -> Result<Order, DeadLetter> {
        match self.0 {
            Content::Json(json) => mapping.order_of(country, json),
            Content::Broken(bytes) => Err(DeadLetter {
                id: id(bytes, mapping, country),
                json: bytes.to_vec(),
                reason: why(bytes),
                pointer: String::new(),
            }),
        }
    }
}

/// Where the records of a page are in its body, so that whoever maps them need not parse the page again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordPlaces(Vec<Place>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    bytes: Range<usize>,
    json: bool,
}

impl RecordPlaces {
    /// `body`: what `page` was parsed from.
    pub(super) fn of(page: &Page<'_>, body: &[u8]) -> Self {
        let place = |record: &Record<'_>| {
            let start = record.bytes().as_ptr().addr() - body.as_ptr().addr();
            Place { bytes: start..start + record.bytes().len(), json: !record.is_broken() }
        };
        Self(page.records.iter().map(place).collect())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The records. `body` must be the one in which they were found.
    pub fn records<'a>(&self, body: &'a [u8]) -> impl Iterator<Item = Record<'a>> {
        self.0.iter().map(|Place { bytes, json }| {
            let bytes = &body[bytes.clone()];
            let text = json.then(|| str::from_utf8(bytes).expect("a parser has read it from this body"));
            Record(text.map_or(Content::Broken(bytes), |text| Content::Json(Raw::parsed_before(text))))
        })
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
