//! An order as an event: the record that goes out, the hash of its content, and the headers around it. Pure.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::amount::{Amount, AmountError};
use crate::country::Country;
use crate::datum::Datum;
use crate::framing::Frame;
use crate::ids::{ReadId, StoreName};
use crate::order::{Buyer, DateText, DeadLetter, Line, Order};

/// Names and values of a message's headers.
pub type Headers = Vec<(&'static str, String)>;

/// Why an event was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Reason {
    /// Handed over as a new order.
    Drained,
    /// Found in the list of IDs, never handed over to us.
    Reconciled,
    /// Handed over again, because the seller asked for it.
    Resynced,
    /// Its content has changed.
    Updated,
    /// An operator asked for it.
    Republished,
    /// A reason that a later version added; never written.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Reason {
    /// Those that are ever written.
    pub const WRITTEN: [Self; 5] = [Self::Drained, Self::Reconciled, Self::Resynced, Self::Updated, Self::Republished];

    /// The symbol in the schema.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Drained => "DRAINED",
            Self::Reconciled => "RECONCILED",
            Self::Resynced => "RESYNCED",
            Self::Updated => "UPDATED",
            Self::Republished => "REPUBLISHED",
        }
    }

    /// The symbol's place in the schema.
    pub(crate) fn symbol(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Drained => 1,
            Self::Reconciled => 2,
            Self::Resynced => 3,
            Self::Updated => 4,
            Self::Republished => 5,
        }
    }
}

/// Which event of its order this is, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Revision(i32);

impl Revision {
    /// That of an order's first event.
    pub const FIRST: Self = Self(1);

    /// That of the event after this one; none after 2³¹ − 1.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl TryFrom<i32> for Revision {
    type Error = &'static str;

    fn try_from(number: i32) -> Result<Self, Self::Error> {
        if number >= 1 { Ok(Self(number)) } else { Err("a revision is 1 or more") }
    }
}

impl From<Revision> for i32 {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells one content of an order from another: XXH3-128, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(u128);

/// A text that is no content hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a content hash has 32 hexadecimal digits")]
pub struct ContentHashError;

impl ContentHash {
    /// Of bytes as they are, for what could not be mapped.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    /// The upper 64 of its 128 bits, for a comparison in memory.
    #[must_use]
    pub fn first_half(self) -> u64 {
        u64::try_from(self.0 >> 64).expect("128 bits less 64 are 64")
    }

    /// Of what the marketplace said about the order. How it was read, when and how often has no part in it, nor has the
    /// way in which a number is written; the order of the unknown fields has.
    #[must_use]
    pub fn of(order: &Order) -> Self {
        // Named one by one, so that a new field of an order can't be forgotten here.
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
        let raw = |date: &'_ Option<DateText>| date.as_ref().map(|date| date.raw.clone());
        let mut content = Content(Vec::with_capacity(1024));
        content.text(Some(id.as_str()));
        content.text(Some(currency));
        content.texts([status, payment_status, payment_method, &raw(created_at), &raw(updated_at), extra]);
        content.amounts([total, subtotal, shipping, discount, tax]);
        content.texts([name, email, mobile, document, address, city, region, postal_code, buyer_extra]);
        for Line { code, name, quantity, unit_price, unit_price_before, extra } in lines {
            content.texts([code, name, extra]);
            content.amounts([quantity, unit_price, unit_price_before]);
        }
        Self::of_bytes(&content.0)
    }
}

/// Values one after the other, each with its length before it, so that no two orders run together to the same bytes.
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

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
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
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(ContentHashError)
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

/// Why an order could not become an event. Values are not told: they may be personal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventError {
    /// An amount that would be rounded or does not fit; the mapping lets none through.
    #[error("`{field}` can't be published exactly: {error}")]
    Amount {
        /// Its name in the event.
        field: &'static str,
        /// What is wrong with it.
        error: AmountError,
    },
}

/// An order, and the occasion on which it is published.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The store that sold.
    pub store: &'a StoreName,
    /// The country in which it sells.
    pub country: Country,
    /// Which event of the order this is.
    pub revision: Revision,
    /// Why it is published.
    pub reason: Reason,
    /// The read that brought the order.
    pub read_id: ReadId,
    /// When the order was read.
    pub read_at: Timestamp,
    /// The order.
    pub order: &'a Order,
    /// [`ContentHash::of`] the order: the caller has it for the tracking record as well.
    pub content_hash: ContentHash,
}

impl Event<'_> {
    /// The event as a message's value.
    ///
    /// # Errors
    /// [`EventError`], never for an order that came through the mapping.
    pub fn to_message(&self, frame: Frame) -> Result<Vec<u8>, EventError> {
        let read_id = self.read_id.to_string();
        let content_hash = self.content_hash.to_string();
        let mut datum = Datum::framed(frame);
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

    /// CloudEvents 1.0 in binary mode, the W3C trace context, and the reason. A consumer can drop doubles by `ce_id`
    /// alone. Orders of one read share a trace.
    #[must_use]
    pub fn headers(&self) -> Headers {
        let (store, order_id, reason) = (self.store, &self.order.id, self.reason.as_str());
        let id = format!("{store}/{order_id}/{}", self.revision);
        // A span of zeros is not valid. Flag 01 leaves it to the consumer's own sampler whether to record the trace.
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

/// Headers of a record that could not be mapped: where it came from, what is wrong, and which version found it so.
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

fn amount(field: &'static str, value: Option<Decimal>) -> Result<Option<Amount>, EventError> {
    value.map(Amount::try_from).transpose().map_err(|error| EventError::Amount { field, error })
}

/// The record of the orders topic, field for field as in `schemas/order_event.avsc`, which documents them. Written with
/// borrowed text, read with text of its own.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the schema is where the fields are documented")]
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
#[expect(missing_docs, reason = "the schema is where the fields are documented")]
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
#[expect(missing_docs, reason = "the schema is where the fields are documented")]
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
    /// Each field is named, in the order of the schema, so that none can be forgotten.
    fn write(&self, datum: &mut Datum) {
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
        datum.optional(*created_at, Datum::number);
        datum.texts([*created_at_raw]);
        datum.optional(*updated_at, Datum::number);
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

fn write_amounts<const N: usize>(datum: &mut Datum, amounts: [Option<Amount>; N]) {
    for amount in amounts {
        datum.optional(amount, |datum, amount| amount.with_bytes(|bytes| datum.bytes(bytes)));
    }
}

/// Only what identifies the event: one in a log must not tell who bought, or for how much.
impl<T: fmt::Display> fmt::Debug for OrderEvent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderEvent({}/{}, revision {}, {})", self.store, self.order_id, self.revision, self.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::writer::datum::GenericDatumWriter;
    use proptest::prelude::*;

    use super::*;
    use crate::contract::{ContractError, ORDER_EVENT};

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn decimal(value: &str) -> Option<Decimal> {
        Some(value.parse().unwrap())
    }

    fn full_order() -> Order {
        let date = |raw: &str, epoch_millis| Some(DateText { raw: raw.to_owned(), epoch_millis });
        Order {
            id: "000123".parse().unwrap(),
            status: text("aprobada"),
            payment_status: text("pagada"),
            payment_method: text("PSE"),
            currency: "COP".to_owned(),
            created_at: date("2025-11-24 10:00:00", Some(1_763_996_400_000)),
            updated_at: date("ayer", None),
            total: decimal("129900.00"),
            subtotal: decimal("119900.5"),
            shipping: decimal("10000"),
            discount: decimal("-0.0001"),
            tax: decimal("99999999999999.9999"),
            buyer: Buyer {
                name: text("Ana Pérez"),
                email: text("ana@example.com"),
                mobile: text("3001234567"),
                document: text("CC 1"),
                address: text("Calle 1 # 2-3"),
                city: text("Bogotá"),
                region: text("Cundinamarca"),
                postal_code: text("110111"),
                extra: text(r#"{"a":1}"#),
            },
            lines: vec![
                Line {
                    code: text("P-1"),
                    name: text("Filtro"),
                    quantity: decimal("2"),
                    unit_price: decimal("59950.25"),
                    unit_price_before: decimal("70000"),
                    extra: text("{}"),
                },
                Line::default(),
            ],
            extra: text(r#"{"x":null}"#),
        }
    }

    fn bare_order() -> Order {
        Order {
            id: "1".parse().unwrap(),
            status: None,
            payment_status: None,
            payment_method: None,
            currency: "MXN".to_owned(),
            created_at: None,
            updated_at: None,
            total: None,
            subtotal: None,
            shipping: None,
            discount: None,
            tax: None,
            buyer: Buyer::default(),
            lines: Vec::new(),
            extra: None,
        }
    }

    fn with_event<R>(order: &Order, f: impl FnOnce(&Event) -> R) -> R {
        f(&Event {
            store: &"bogota".parse().unwrap(),
            country: Country::Co,
            revision: Revision::FIRST,
            reason: Reason::Drained,
            read_id: "0192f0c1-2345-7000-8000-000000000001".parse().unwrap(),
            read_at: "2025-11-24T15:00:01.5Z".parse().unwrap(),
            order,
            content_hash: ContentHash::of(order),
        })
    }

    fn message(order: &Order) -> Vec<u8> {
        with_event(order, |event| event.to_message(ORDER_EVENT.frame()).unwrap())
    }

    fn read(message: &[u8]) -> Result<OrderEvent, ContractError> {
        ORDER_EVENT.read(ORDER_EVENT.schema(), Frame::split(message).unwrap().1)
    }

    #[test]
    fn a_full_order_survives_the_way_to_a_message_and_back() {
        let order = full_order();
        let event = read(&message(&order)).unwrap();
        assert_eq!((event.store.as_str(), event.country.as_str(), event.order_id.as_str()), ("bogota", "CO", "000123"));
        assert_eq!((event.revision, event.reason), (Revision::FIRST, Reason::Drained));
        assert_eq!(event.read_id, "0192f0c1-2345-7000-8000-000000000001");
        assert_eq!(event.read_at, 1_763_996_401_500);
        assert_eq!(event.content_hash, ContentHash::of(&order).to_string());
        let DateText { raw, epoch_millis } = order.created_at.unwrap();
        assert_eq!((event.created_at, event.created_at_raw), (epoch_millis, Some(raw)));
        assert_eq!((event.updated_at, event.updated_at_raw), (None, text("ayer")));
        let amounts = [event.total, event.subtotal, event.shipping, event.discount, event.tax];
        assert_eq!(
            amounts.map(|amount| amount.map(Decimal::from)),
            [order.total, order.subtotal, order.shipping, order.discount, order.tax]
        );
        assert_eq!((event.status, event.currency, event.extra), (order.status, order.currency, order.extra));
        assert_eq!((event.payment_status, event.payment_method), (order.payment_status, order.payment_method));
        let buyer = event.buyer;
        let texts = [buyer.name, buyer.email, buyer.mobile, buyer.document, buyer.address, buyer.city, buyer.region];
        let buyer_of = order.buyer;
        let Buyer { name, email, mobile, document, address, city, region, postal_code, extra } = buyer_of;
        assert_eq!(texts, [name, email, mobile, document, address, city, region]);
        assert_eq!((buyer.postal_code, buyer.extra), (postal_code, extra));
        assert_eq!(event.lines.len(), 2);
        let (read, line) = (&event.lines[0], &order.lines[0]);
        assert_eq!((&read.code, &read.name, &read.extra), (&line.code, &line.name, &line.extra));
        assert_eq!(
            [read.quantity, read.unit_price, read.unit_price_before].map(|amount| amount.map(Decimal::from)),
            [line.quantity, line.unit_price, line.unit_price_before]
        );
    }

    #[test]
    fn an_order_of_which_nothing_but_the_id_is_known_survives_too() {
        let event = read(&message(&bare_order())).unwrap();
        assert_eq!((event.order_id.as_str(), event.currency.as_str()), ("1", "MXN"));
        assert!(event.total.is_none() && event.created_at.is_none() && event.lines.is_empty());
        assert!(event.buyer == EventBuyer::default());
    }

    /// What is written, and what the library writes of the same event by the schema.
    fn both_ways(event: &Event<'_>) -> (Vec<u8>, Vec<u8>) {
        let (read_id, content_hash) = (event.read_id.to_string(), event.content_hash.to_string());
        let record = event.record(&read_id, &content_hash).unwrap();
        let writer = GenericDatumWriter::builder(ORDER_EVENT.schema()).build().unwrap();
        let message = event.to_message(ORDER_EVENT.frame()).unwrap();
        (Frame::split(&message).unwrap().1.to_vec(), writer.write_ser_to_vec(&record).unwrap())
    }

    #[test]
    fn what_is_written_is_what_the_library_writes_by_the_schema() {
        use Reason::{Drained, Reconciled, Republished, Resynced, Unknown, Updated};
        for order in [full_order(), bare_order()] {
            for reason in [Unknown, Drained, Reconciled, Resynced, Updated, Republished] {
                let (ours, theirs) = with_event(&order, |event| both_ways(&Event { reason, ..*event }));
                assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn an_amount_that_would_be_rounded_is_an_error_that_names_the_field() {
        let mut order = full_order();
        order.lines[1].unit_price = decimal("0.00001");
        let error = with_event(&order, |event| event.to_message(ORDER_EVENT.frame()).unwrap_err());
        assert_eq!(
            error.to_string(),
            "`lines.unit_price` can't be published exactly: it has more than 4 decimal places"
        );
    }

    #[test]
    fn the_content_hash_never_changes_by_accident() {
        assert_eq!(ContentHash::of(&full_order()).to_string(), "8dd050fa3cbbefbf94e98ead78a775c4");
        assert_eq!(ContentHash::of(&bare_order()).to_string(), "327f5556879493b2f0394a626ef975c9");
    }

    #[test]
    fn the_content_hash_sees_every_change_but_how_a_number_is_written() {
        let hash = |change: fn(&mut Order)| {
            let mut order = full_order();
            change(&mut order);
            ContentHash::of(&order)
        };
        let same = hash(|_| ());
        assert_eq!(same, hash(|order| order.total = decimal("129900")));
        assert_eq!(hash(|order| order.tax = decimal("0")), hash(|order| order.tax = decimal("-0.00")));
        let changes: [fn(&mut Order); 6] = [
            |order| order.status = None,
            |order| order.total = decimal("129900.01"),
            |order| order.buyer.extra = None,
            |order| order.lines.truncate(1),
            |order| order.lines.swap(0, 1),
            |order| std::mem::swap(&mut order.status, &mut order.payment_status),
        ];
        assert!(changes.into_iter().all(|change| hash(change) != same));
    }

    #[test]
    fn the_headers_are_cloud_events_and_the_same_at_every_attempt() {
        let order = full_order();
        let headers = with_event(&order, |event| event.headers());
        assert_eq!(headers, with_event(&order, |event| event.headers()));
        let expected = [
            ("ce_specversion", "1.0"),
            ("ce_id", "bogota/000123/1"),
            ("ce_source", "/imotriz/CO/bogota"),
            ("ce_type", "com.imotriz.order.v1.drained"),
            ("ce_time", "2025-11-24T15:00:01.5Z"),
            ("ce_subject", "000123"),
            ("content-type", "application/avro"),
            ("traceparent", "00-0192f0c1234570008000000000000001-b46de0f9d44bca3b-01"),
            ("imotriz-reason", "DRAINED"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn a_dead_letter_says_where_it_came_from_and_what_is_wrong() {
        let letter = DeadLetter {
            id: None,
            json: "{}".to_owned(),
            reason: "the ID is missing".to_owned(),
            pointer: "/order/id".to_owned(),
        };
        let time = "2025-11-24T15:00:01Z".parse().unwrap();
        let read_id = "0192f0c1-2345-7000-8000-000000000001".parse().unwrap();
        let headers = dead_letter_headers(&letter, &"bogota".parse().unwrap(), read_id, time);
        let values: Vec<&str> = headers.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(
            values,
            [
                "the ID is missing",
                "/order/id",
                "bogota",
                "0192f0c1-2345-7000-8000-000000000001",
                "2025-11-24T15:00:01Z",
                env!("CARGO_PKG_VERSION"),
            ]
        );
    }

    #[test]
    fn an_event_in_a_log_tells_nothing_personal() {
        assert_eq!(
            format!("{:?}", read(&message(&full_order())).unwrap()),
            "OrderEvent(bogota/000123, revision 1, DRAINED)"
        );
    }

    #[test]
    fn a_revision_counts_from_one() {
        assert!(Revision::try_from(0).is_err());
        assert_eq!(Revision::FIRST.next(), Revision::try_from(2).ok());
        assert_eq!(Revision::try_from(i32::MAX).unwrap().next(), None);
    }

    #[test]
    fn an_event_of_a_later_version_keeps_what_this_one_knows() {
        let later = ORDER_EVENT
            .text()
            .replace(
                r#"{"name":"email""#,
                r#"{"name":"notes","type":{"type":"array","items":"int"},"default":[]},{"name":"email""#,
            )
            .replace(r#""DRAINED","#, r#""IMPORTED","DRAINED","#);
        let later = apache_avro::Schema::parse_str(&later).unwrap();
        ORDER_EVENT.check_writer(&later).unwrap();
        let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&later).build().unwrap();
        let ours = read(&message(&full_order())).unwrap();
        let datum = writer.write_ser_to_vec(&ours).unwrap();
        assert_eq!(ORDER_EVENT.read(&later, &datum), Ok(ours));
    }

    proptest! {
        #[test]
        fn whatever_a_field_holds_it_is_written_as_the_library_writes_it(
            texts: [Option<String>; 4],
            amounts in prop::array::uniform4(prop::option::of(-10_i64.pow(18) + 1..10_i64.pow(18))),
            small in prop::option::of(-70_000_i64..70_000),
            millis: Option<i64>,
            revision: i32,
            lines in 0_usize..130,
        ) {
            let decimal = |unscaled| Decimal::new(unscaled, Order::SCALE);
            let [status, email, code, extra] = texts;
            let [total, tax, quantity, unit_price] = amounts.map(|amount| amount.map(decimal));
            let line = Line { code, quantity, unit_price, unit_price_before: small.map(decimal), ..Line::default() };
            let date = DateText { raw: "ayer".to_owned(), epoch_millis: millis };
            let buyer = Buyer { email, ..Buyer::default() };
            let lines = vec![line; lines];
            let order = Order { status, total, tax, extra, created_at: Some(date), buyer, lines, ..bare_order() };
            let revision = Revision::try_from(revision).unwrap_or(Revision::FIRST);
            let (ours, theirs) = with_event(&order, |event| both_ways(&Event { revision, ..*event }));
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn no_bytes_make_reading_panic(datum in any::<Vec<u8>>()) {
            ORDER_EVENT.read::<OrderEvent>(ORDER_EVENT.schema(), &datum).ok();
        }

        #[test]
        fn no_damage_makes_reading_panic(damage in prop::collection::vec((0_usize..1000, any::<u8>()), 1..4)) {
            let mut message = message(&full_order());
            for (at, byte) in damage {
                let at = 10 + at % (message.len() - 10);
                message[at] = byte;
            }
            read(&message).ok();
        }

        #[test]
        fn a_content_hash_survives_the_way_to_text_and_back(bytes in any::<Vec<u8>>()) {
            let hash = ContentHash::of_bytes(&bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        }
    }
}
