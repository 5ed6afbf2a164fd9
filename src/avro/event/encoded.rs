//! An order as it stands in its event: encoded where it was mapped, long before it is decided whether, why and as which
//! revision it is published. So a page that waits takes no more memory than its events, and the lane copies bytes.

use rust_decimal::Decimal;

use super::{ContentHash, EventError, Origin};
use crate::avro::binary::Writer;
use crate::order::amount::Amount;
use crate::order::ids::OrderId;
use crate::order::privacy::Personal;
use crate::order::{Buyer, DateText, Line, Order};

/// An order's part of its event, and what has to be known of it without decoding that.
#[derive(Clone)]
pub struct EncodedOrder {
    pub id: OrderId,
    pub content_hash: ContentHash,
    /// When it was placed, in milliseconds since 1970 UTC, if known.
    pub created_at: Option<i64>,
    pub total: Option<Amount>,
    pub currency: String,
    /// The event's fields behind its reason.
    pub(super) fields: Vec<u8>,
    /// The same without personal data, if there is a topic for it.
    pub(super) masked: Option<Vec<u8>>,
}

/// Who sees what of the buyers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readers {
    /// Those of the orders topic.
    pub personal: Personal,
    /// Whether there is a second topic for those who see nothing of them.
    pub masked_topic: bool,
}

impl EncodedOrder {
    /// Encodes an order of this read. The content hash is that of the whole order, whoever reads it: another setting is no
    /// change of the order.
    ///
    /// # Errors
    /// [`EventError`], never for an order that came through the mapping.
    pub fn of(origin: &Origin, order: &Order, readers: Readers) -> Result<Self, EventError> {
        let content_hash = ContentHash::of(order);
        let fields = |personal| -> Result<Vec<u8>, EventError> {
            let mut datum = Writer::with_capacity(1024);
            origin.read_id.with_text(|text| datum.text(text));
            datum.number(origin.read_at.as_millisecond());
            content_hash.with_text(|text| datum.text(text));
            // guard: who may not see a buyer does not
            write_order(&mut datum, &order.for_readers(personal))?;
            Ok(datum.into_message())
        };
        let created_at = order.created_at.as_ref().and_then(|date| date.epoch_millis);
        let masked = readers.masked_topic.then(|| fields(Personal::None)).transpose()?;
        Ok(Self {
            id: order.id.clone(),
            content_hash,
            created_at,
            total: amount("total", order.total)?,
            currency: order.currency.clone(),
            fields: fields(readers.personal)?,
            masked,
        })
    }
}

/// Shows only what identifies the order.
impl std::fmt::Debug for EncodedOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncodedOrder({})", self.id)
    }
}

/// Writes the fields in the schema's order. Destructuring names each field, so that the compiler reports a forgotten
/// one.
fn write_order(datum: &mut Writer, order: &Order) -> Result<(), EventError> {
    let Order {
        id: _,
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
    let Buyer { name, email, mobile, document, address, city, region, postal_code, extra: more } = buyer;
    datum.text(currency);
    datum.texts([status, payment_status, payment_method]);
    for date in [created_at, updated_at] {
        datum.optional(date.as_ref().and_then(|date| date.epoch_millis), Writer::number);
        datum.optional(date.as_ref(), |datum, DateText { raw, .. }| datum.text(raw));
    }
    for (name, amount) in
        [("total", total), ("subtotal", subtotal), ("shipping", shipping), ("discount", discount), ("tax", tax)]
    {
        write_amount(datum, name, *amount)?;
    }
    datum.texts([name, email, mobile, document, address, city, region, postal_code, more]);
    datum.list(lines, write_line)?;
    datum.texts([extra]);
    Ok(())
}

fn write_line(datum: &mut Writer, line: &Line) -> Result<(), EventError> {
    let Line { code, name, quantity, unit_price, unit_price_before, extra } = line;
    datum.texts([code, name]);
    write_amount(datum, "lines.quantity", *quantity)?;
    write_amount(datum, "lines.unit_price", *unit_price)?;
    write_amount(datum, "lines.unit_price_before", *unit_price_before)?;
    datum.texts([extra]);
    Ok(())
}

fn write_amount(datum: &mut Writer, field: &'static str, value: Option<Decimal>) -> Result<(), EventError> {
    datum.optional(amount(field, value)?, |datum, amount| amount.with_bytes(|bytes| datum.bytes(bytes)));
    Ok(())
}

fn amount(field: &'static str, value: Option<Decimal>) -> Result<Option<Amount>, EventError> {
    value.map(Amount::try_from).transpose().map_err(|error| EventError::Amount { field, error })
}
