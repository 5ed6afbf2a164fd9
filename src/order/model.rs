//! An order as this program understands it: amounts are exact, and nothing from the record is dropped.

use rust_decimal::Decimal;

use crate::order::ids::OrderId;

/// A date as the marketplace wrote it, and the instant that it names if it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateText {
    /// The marketplace's text, unchanged.
    pub raw: String,
    /// Milliseconds since 1970 UTC. A text without a zone is read in the country's zone.
    pub epoch_millis: Option<i64>,
}

impl DateText {
    pub(crate) fn as_written(&self) -> &str {
        &self.raw
    }
}

/// One order of a store. A missing value is `None`; a record with a value that can't be understood never becomes an
/// `Order`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    /// State of the order in the marketplace's words.
    pub status: Option<String>,
    /// State of the payment in the marketplace's words.
    pub payment_status: Option<String>,
    pub payment_method: Option<String>,
    /// ISO 4217: the record's currency, or else the country's.
    pub currency: String,
    pub created_at: Option<DateText>,
    pub updated_at: Option<DateText>,
    /// What the buyer pays.
    pub total: Option<Decimal>,
    /// Sum of the lines before shipping, discounts and taxes.
    pub subtotal: Option<Decimal>,
    pub shipping: Option<Decimal>,
    pub discount: Option<Decimal>,
    /// Taxes, if the record lists them separately.
    pub tax: Option<Decimal>,
    pub buyer: Buyer,
    pub lines: Vec<Line>,
    /// The fields of the record that have no field here, as the text of a JSON object.
    pub extra: Option<String>,
}

/// The buyer: personal data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buyer {
    pub name: Option<String>,
    pub email: Option<String>,
    pub mobile: Option<String>,
    /// National or tax identity document.
    pub document: Option<String>,
    pub address: Option<String>,
    pub city: Option<String>,
    /// Department, state or province.
    pub region: Option<String>,
    pub postal_code: Option<String>,
    /// The fields of the buyer that have no field here, as the text of a JSON object.
    pub extra: Option<String>,
}

/// One line of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// The seller's product code.
    pub code: Option<String>,
    pub name: Option<String>,
    pub quantity: Option<Decimal>,
    pub unit_price: Option<Decimal>,
    pub unit_price_before: Option<Decimal>,
    /// The fields of the product that have no field here, as the text of a JSON object.
    pub extra: Option<String>,
}

impl Order {
    /// Scale of every amount and quantity in an event.
    pub const SCALE: u32 = 4;
    /// Precision of every amount and quantity in an event: unscaled values are below 10^18.
    pub const PRECISION: u32 = 18;
}

/// A record that could not be mapped, for the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The ID, if it could be read.
    pub id: Option<OrderId>,
    /// The record as it came. It is JSON unless the record has bytes that JSON can't hold.
    pub json: Vec<u8>,
    /// What is wrong, without the offending value, which may be personal.
    pub reason: String,
    /// JSON pointer to the offending value, relative to the record.
    pub pointer: String,
}
