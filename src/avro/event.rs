//! Builds an event from an order: the record, the hash of its content, and the headers. Pure.

mod content_hash;
mod reason;
mod record;
mod revision;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::avro::binary::Writer;
use crate::avro::framing::Frame;
use crate::order::amount::AmountError;
use crate::order::country::Country;
use crate::order::ids::{ReadId, StoreName};
use crate::order::{DateText, DeadLetter, Order};

pub use content_hash::{ContentHash, ContentHashError};
pub use reason::Reason;
use record::amount;
pub use record::{EventBuyer, EventLine, OrderEvent};
pub use revision::Revision;

/// Names and values of a message's headers.
pub type Headers = Vec<(&'static str, String)>;

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

/// An order and the circumstances of its publication.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub store: &'a StoreName,
    pub country: Country,
    /// The number of this event among the order's events.
    pub revision: Revision,
    pub reason: Reason,
    /// The read that returned the order.
    pub read_id: ReadId,
    pub read_at: Timestamp,
    pub order: &'a Order,
    /// [`ContentHash::of`] the order. The caller needs it for the tracking record too.
    pub content_hash: ContentHash,
}

impl Event<'_> {
    /// Encodes the event as a message value.
    ///
    /// # Errors
    /// [`EventError`], never for an order that came through the mapping.
    pub fn to_message(&self, frame: Frame) -> Result<Vec<u8>, EventError> {
        let read_id = self.read_id.to_string();
        let content_hash = self.content_hash.to_string();
        let mut datum = Writer::framed(frame);
        self.record(&read_id, &content_hash)?.write(&mut datum);
        Ok(datum.into_message())
    }

    fn record<'b>(&'b self, read_id: &'b str, content_hash: &'b str) -> Result<OrderEvent<&'b str>, EventError> {
        let order = self.order;
        let millis = |date: &Option<DateText>| date.as_ref().and_then(|date| date.epoch_millis);
        Ok(OrderEvent {
            store: self.store.as_str(),
            country: self.country.code(),
            order_id: order.id.as_str(),
            revision: self.revision,
            reason: self.reason,
            read_id,
            read_at: self.read_at.as_millisecond(),
            content_hash,
            currency: &order.currency,
            status: order.status.as_deref(),
            payment_status: order.payment_status.as_deref(),
            payment_method: order.payment_method.as_deref(),
            created_at: millis(&order.created_at),
            created_at_raw: order.created_at.as_ref().map(|date| date.raw.as_str()),
            updated_at: millis(&order.updated_at),
            updated_at_raw: order.updated_at.as_ref().map(|date| date.raw.as_str()),
            total: amount("total", order.total)?,
            subtotal: amount("subtotal", order.subtotal)?,
            shipping: amount("shipping", order.shipping)?,
            discount: amount("discount", order.discount)?,
            tax: amount("tax", order.tax)?,
            buyer: EventBuyer::from(&order.buyer),
            lines: order.lines.iter().map(EventLine::try_from).collect::<Result<_, _>>()?,
            extra: order.extra.as_deref(),
        })
    }

    /// CloudEvents 1.0 in binary mode, the W3C trace context, and the reason. A consumer can drop duplicates by `ce_id`
    /// alone. Orders of one read share a trace.
    #[must_use]
    pub fn headers(&self) -> Headers {
        let (store, order_id, reason) = (self.store, &self.order.id, self.reason.as_str());
        let id = format!("{store}/{order_id}/{}", self.revision);
        // A span ID of zeros is invalid. Flag 01 leaves the decision to record the trace to the consumer's own sampler.
        let span = xxh3_64(id.as_bytes()).max(1);
        let traceparent = format!("00-{}-{span:016x}-01", self.read_id.as_uuid().simple());
        vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", id),
            ("ce_source", format!("/imotriz/{}/{store}", self.country)),
            ("ce_type", format!("com.imotriz.order.v1.{}", reason.to_ascii_lowercase())),
            ("ce_time", self.read_at.to_string()),
            ("ce_subject", order_id.to_string()),
            ("content-type", "application/avro".to_owned()),
            ("traceparent", traceparent),
            ("imotriz-reason", reason.to_owned()),
        ]
    }
}

/// Headers of a dead letter: the record's origin, the fault, and the program version that found it.
#[must_use]
pub fn dead_letter_headers(letter: &DeadLetter, store: &StoreName, read_id: ReadId, time: Timestamp) -> Headers {
    vec![
        ("imotriz.error.reason", letter.reason.clone()),
        ("imotriz.error.pointer", letter.pointer.clone()),
        ("imotriz.error.store", store.to_string()),
        ("imotriz.error.read_id", read_id.to_string()),
        ("imotriz.error.time", time.to_string()),
        ("imotriz.error.version", env!("CARGO_PKG_VERSION").to_owned()),
    ]
}
