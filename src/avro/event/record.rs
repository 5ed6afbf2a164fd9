//! The record of the orders topic, and its encoding.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{EventError, Reason, Revision};
use crate::avro::binary::Writer;
use crate::order::amount::Amount;
use crate::order::{Buyer, Line};

/// The record of the orders topic, field for field as in `schemas/order_event.avsc`, which documents the fields. `T` is
/// borrowed text for writing and owned text for reading.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEvent<T = String> {
    pub store: T,
    #[serde(default)]
    pub country: T,
    pub order_id: T,
    pub revision: Revision,
    #[serde(default)]
    pub reason: Reason,
    #[serde(default)]
    pub read_id: T,
    pub read_at: i64,
    #[serde(default)]
    pub content_hash: T,
    #[serde(default)]
    pub currency: T,
    pub status: Option<T>,
    pub payment_status: Option<T>,
    pub payment_method: Option<T>,
    pub created_at: Option<i64>,
    pub created_at_raw: Option<T>,
    pub updated_at: Option<i64>,
    pub updated_at_raw: Option<T>,
    pub total: Option<Amount>,
    pub subtotal: Option<Amount>,
    pub shipping: Option<Amount>,
    pub discount: Option<Amount>,
    pub tax: Option<Amount>,
    #[serde(default)]
    pub buyer: EventBuyer<T>,
    #[serde(default = "Vec::new")]
    pub lines: Vec<EventLine<T>>,
    pub extra: Option<T>,
}

/// The event's record `Buyer`: personal data.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Buyer")]
pub struct EventBuyer<T = String> {
    pub name: Option<T>,
    pub email: Option<T>,
    pub mobile: Option<T>,
    pub document: Option<T>,
    pub address: Option<T>,
    pub city: Option<T>,
    pub region: Option<T>,
    pub postal_code: Option<T>,
    pub extra: Option<T>,
}

/// The event's record `OrderLine`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "OrderLine")]
pub struct EventLine<T = String> {
    pub code: Option<T>,
    pub name: Option<T>,
    pub quantity: Option<Amount>,
    pub unit_price: Option<Amount>,
    pub unit_price_before: Option<Amount>,
    pub extra: Option<T>,
}

impl<'a> From<&'a Buyer> for EventBuyer<&'a str> {
    fn from(buyer: &'a Buyer) -> Self {
        Self {
            name: buyer.name.as_deref(),
            email: buyer.email.as_deref(),
            mobile: buyer.mobile.as_deref(),
            document: buyer.document.as_deref(),
            address: buyer.address.as_deref(),
            city: buyer.city.as_deref(),
            region: buyer.region.as_deref(),
            postal_code: buyer.postal_code.as_deref(),
            extra: buyer.extra.as_deref(),
        }
    }
}

impl<'a> TryFrom<&'a Line> for EventLine<&'a str> {
    type Error = EventError;

    fn try_from(line: &'a Line) -> Result<Self, EventError> {
        Ok(Self {
            code: line.code.as_deref(),
            name: line.name.as_deref(),
            quantity: amount("lines.quantity", line.quantity)?,
            unit_price: amount("lines.unit_price", line.unit_price)?,
            unit_price_before: amount("lines.unit_price_before", line.unit_price_before)?,
            extra: line.extra.as_deref(),
        })
    }
}

impl OrderEvent<&str> {
    /// Destructuring names each field in the schema's order, so that the compiler reports a forgotten one.
    pub(super) fn write(&self, datum: &mut Writer) {
        let Self {
            store,
            country,
            order_id,
            revision,
            reason,
            read_id,
            read_at,
            content_hash,
            currency,
            status,
            payment_status,
            payment_method,
            created_at,
            created_at_raw,
            updated_at,
            updated_at_raw,
            total,
            subtotal,
            shipping,
            discount,
            tax,
            buyer,
            lines,
            extra,
        } = self;
        datum.text(store);
        datum.text(country);
        datum.text(order_id);
        datum.number(i32::from(*revision));
        datum.number(reason.symbol());
        datum.text(read_id);
        datum.number(*read_at);
        datum.text(content_hash);
        datum.text(currency);
        datum.texts([*status, *payment_status, *payment_method]);
        datum.optional(*created_at, Writer::number);
        datum.texts([*created_at_raw]);
        datum.optional(*updated_at, Writer::number);
        datum.texts([*updated_at_raw]);
        write_amounts(datum, [*total, *subtotal, *shipping, *discount, *tax]);
        let EventBuyer { name, email, mobile, document, address, city, region, postal_code, extra: more } = buyer;
        datum.texts([*name, *email, *mobile, *document, *address, *city, *region, *postal_code, *more]);
        datum.list(lines, |datum, line| {
            let EventLine { code, name, quantity, unit_price, unit_price_before, extra } = line;
            datum.texts([*code, *name]);
            write_amounts(datum, [*quantity, *unit_price, *unit_price_before]);
            datum.texts([*extra]);
        });
        datum.texts([*extra]);
    }
}

fn write_amounts<const N: usize>(datum: &mut Writer, amounts: [Option<Amount>; N]) {
    for amount in amounts {
        datum.optional(amount, |datum, amount| amount.with_bytes(|bytes| datum.bytes(bytes)));
    }
}

/// Shows only what identifies the event: a log must not tell who bought, or for how much.
impl<T: fmt::Display> fmt::Debug for OrderEvent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderEvent({}/{}, revision {}, {})", self.store, self.order_id, self.revision, self.reason.as_str())
    }
}

pub(super) fn amount(field: &'static str, value: Option<Decimal>) -> Result<Option<Amount>, EventError> {
    value.map(Amount::try_from).transpose().map_err(|error| EventError::Amount { field, error })
}
