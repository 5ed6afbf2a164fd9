//! Builds an event from an order: the message, the hash of its content, and the headers. Pure.

mod content_hash;
mod encoded;
mod reason;
mod record;
mod revision;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::Timestamp;
use thiserror::Error;
use uuid::fmt::Simple;
use xxhash_rust::xxh3::xxh3_64;

use crate::avro::binary::Writer;
use crate::avro::framing::Frame;
use crate::order::DeadLetter;
use crate::order::amount::AmountError;
use crate::order::country::Country;
use crate::order::ids::{ReadId, StoreName};

pub use content_hash::{ContentHash, ContentHashError};
pub use encoded::{EncodedOrder, Readers};
pub use reason::Reason;
pub use record::{EventBuyer, EventLine, OrderEvent};
pub use revision::Revision;

/// Names and values of a message's headers.
pub type Headers<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// Why an order could not become an event. The error omits values, which may be personal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventError {
    /// An amount would be rounded or does not fit. The mapping never produces such an amount.
    #[error("`{field}` can't be published exactly: {error}")]
    Amount {
        /// The field's name in the event.
        field: &'static str,
        /// Why the amount does not fit.
        error: AmountError,
    },
}

/// A read: what the events of its orders have in common.
#[derive(Debug)]
pub struct Origin {
    pub store: StoreName,
    country: Country,
    pub read_id: ReadId,
    pub read_at: Timestamp,
    /// The values of the headers that are the same for all of its orders.
    ce_source: String,
    ce_time: String,
}

impl Origin {
    #[must_use]
    pub fn new(store: StoreName, country: Country, read_id: ReadId, read_at: Timestamp) -> Self {
        let (ce_source, ce_time) = (format!("/imotriz/{country}/{store}"), read_at.to_string());
        Self { store, country, read_id, read_at, ce_source, ce_time }
    }
}

/// An order and the circumstances of its publication.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The read that returned the order.
    pub origin: &'a Origin,
    /// The number of this event among the order's events.
    pub revision: Revision,
    pub reason: Reason,
    pub order: &'a EncodedOrder,
}

impl<'a> Event<'a> {
    /// Encodes the event as a message value.
    #[must_use]
    pub fn to_message(&self, frame: Frame) -> Vec<u8> {
        self.message(frame, &self.order.fields)
    }

    /// The same without personal data, if there is a topic for it.
    #[must_use]
    pub fn to_masked_message(&self, frame: Frame) -> Option<Vec<u8>> {
        self.order.masked.as_ref().map(|fields| self.message(frame, fields))
    }

    fn message(&self, frame: Frame, fields: &[u8]) -> Vec<u8> {
        let Self { origin, revision, reason, order } = *self;
        // In the schema's order.
        let mut datum = Writer::framed(frame, fields.len() + 256);
        datum.text(origin.store.as_str());
        datum.text(origin.country.code());
        datum.text(order.id.as_str());
        datum.number(i32::from(revision));
        datum.number(reason.symbol());
        datum.written(fields);
        datum.into_message()
    }

    /// CloudEvents 1.0 in binary mode, the W3C trace context, and the reason. A consumer can drop duplicates by `ce_id`
    /// alone. Orders of one read share a trace.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        let Self { origin, order, reason, revision } = *self;
        let mut id = String::with_capacity(64);
        id.extend([origin.store.as_str(), "/", order.id.as_str(), "/", &revision.to_string()]);
        // A span ID of zeros is invalid.
        let traceparent = traceparent(origin.read_id, xxh3_64(id.as_bytes()).max(1));
        vec![
            ("ce_specversion", "1.0".into()),
            ("ce_id", id.into()),
            ("ce_source", origin.ce_source.as_str().into()),
            ("ce_type", reason.event_type().into()),
            ("ce_time", origin.ce_time.as_str().into()),
            ("ce_subject", order.id.as_str().into()),
            ("content-type", "application/avro".into()),
            ("traceparent", traceparent.into()),
            ("imotriz-reason", reason.as_str().into()),
        ]
    }
}

/// A trace context of W3C. Flag 01 leaves the decision to record the trace to the consumer's own sampler.
fn traceparent(read_id: ReadId, span: u64) -> String {
    let mut text = String::with_capacity(55);
    text.push_str("00-");
    text.push_str(read_id.as_uuid().simple().encode_lower(&mut [0; Simple::LENGTH]));
    text.push('-');
    text.extend((0..16).rev().map(|digit| char::from(b"0123456789abcdef"[(span >> (4 * digit)) as usize & 0xf])));
    text.push_str("-01");
    text
}

/// Headers of a dead letter: the record's origin, the fault, and the program version that found it.
#[must_use]
pub fn dead_letter_headers<'a>(letter: &'a DeadLetter, origin: &'a Origin, time: Timestamp) -> Headers<'a> {
    vec![
        ("imotriz.error.reason", letter.reason.as_str().into()),
        ("imotriz.error.pointer", letter.pointer.as_str().into()),
        ("imotriz.error.store", origin.store.as_str().into()),
        ("imotriz.error.read_id", origin.read_id.to_string().into()),
        ("imotriz.error.time", time.to_string().into()),
        ("imotriz.error.version", env!("CARGO_PKG_VERSION").into()),
    ]
}
