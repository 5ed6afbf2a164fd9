//! An order as this program understands it: exact amounts, and nothing of what came dropped.

use rust_decimal::Decimal;

use crate::order::ids::OrderId;

/// A date as it came, and the instant that it names where it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateText {
    /// The text of the marketplace, untouched.
    pub raw: String,
    /// Milliseconds since 1970 UTC; a text without a zone is read in the country's.
    pub epoch_millis: Option<i64>,
}

/// One order of a store. A value that is missing is `None`; one that is there and can't be understood never gets here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The marketplace's ID.
    pub id: OrderId,
    /// State of the order in the marketplace's words.
    pub status: Option<String>,
    /// State of the payment in the marketplace's words.
    pub payment_status: Option<String>,
    /// How it was or will be paid.
    pub payment_method: Option<String>,
    /// ISO 4217: the record's, else the country's.
    pub currency: String,
    /// When the order was placed.
    pub created_at: Option<DateText>,
    /// When the order was last changed.
    pub updated_at: Option<DateText>,
    /// What the buyer pays.
    pub total: Option<Decimal>,
    /// Sum of the lines before shipping, discounts and taxes.
    pub subtotal: Option<Decimal>,
    /// What is charged for the delivery.
    pub shipping: Option<Decimal>,
    /// What is taken off.
    pub discount: Option<Decimal>,
    /// Taxes, where they are told apart.
    pub tax: Option<Decimal>,
    /// Who bought.
    pub buyer: Buyer,
    /// What was bought.
    pub lines: Vec<Line>,
    /// What came in the record and has no field here, as the text of a JSON object.
    pub extra: Option<String>,
}

/// Who bought: personal data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buyer {
    /// Full name.
    pub name: Option<String>,
    /// Address for electronic mail.
    pub email: Option<String>,
    /// Telephone.
    pub mobile: Option<String>,
    /// National or tax identity document.
    pub document: Option<String>,
    /// Street address.
    pub address: Option<String>,
    /// City or municipality.
    pub city: Option<String>,
    /// Department, state or province.
    pub region: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// What came in `buyer` and has no field here, as the text of a JSON object.
    pub extra: Option<String>,
}

/// One line of an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// The seller's code of the product.
    pub code: Option<String>,
    /// Name of the product.
    pub name: Option<String>,
    /// How many.
    pub quantity: Option<Decimal>,
    /// Price of one.
    pub unit_price: Option<Decimal>,
    /// Price of one before a discount.
    pub unit_price_before: Option<Decimal>,
    /// What came in the product and has no field here, as the text of a JSON object.
    pub extra: Option<String>,
}

impl Order {
    /// Scale of every amount and quantity in an event.
    pub const SCALE: u32 = 4;
    /// Precision of every amount and quantity in an event: an unscaled value below 10^18.
    pub const PRECISION: u32 = 18;
}

/// A record that could not be mapped, on its way to the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The ID, where one could be read.
    pub id: Option<OrderId>,
    /// The record as it came: JSON, but for bytes that JSON can't hold.
    pub json: Vec<u8>,
    /// What is wrong, in a sentence without the offending value: it may be personal.
    pub reason: String,
    /// JSON pointer, inside the record, of what is wrong.
    pub pointer: String,
}
