//! From a record of the marketplace to an [`Order`]: pure, exact, and with nothing dropped.
//!
//! - A value that is missing (absent, `null`, text of nothing but blanks) is `None`. A value that is there and can't be
//!   understood makes the record a [`DeadLetter`]: whoever books the order must not book a guess.
//! - For each field the pointers of the [`Mapping`] are tried in order until one finds a value. What no pointer took,
//!   a second spelling of the same field among it, is left in `extra`, with its numbers as they were written.
//! - Amounts go from text to decimal, never through a float. Text with a point is read as JSON reads numbers: `"129.900"`
//!   is a hundred and twenty-nine point nine.
//! - Deliberately absent: checks of sense (sums, signs, e-mail addresses), and knowledge of the states of an order.

mod amount;
mod date;
mod places;
mod pointer;
mod tree;

use rust_decimal::Decimal;
use serde_json::value::RawValue;

pub use self::places::{BuyerPlaces, Mapping, OrderPlaces, ProductPlaces};
pub use self::pointer::{Pointer, PointerError, Pointers};
use self::tree::Tree;
use crate::country::Country;
use crate::ids::OrderId;
use crate::json::{self, Entries, Kind};
use crate::order::{Buyer, DateText, DeadLetter, Line, Order};

/// What is wrong, and where as seen from the one who reports it: each level on the way up puts its own step in front.
#[derive(Debug)]
pub(crate) struct Fault {
    reason: &'static str,
    pointer: String,
}

impl Fault {
    fn under(mut self, step: &str) -> Self {
        self.pointer.insert_str(0, step);
        self
    }

    fn dead_letter(self, id: Option<OrderId>, record: &RawValue) -> DeadLetter {
        DeadLetter { id, json: record.get().to_owned(), reason: self.reason.to_owned(), pointer: self.pointer }
    }
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Self {
        Self { reason, pointer: String::new() }
    }
}

/// A value as it was understood; `None` where it is missing.
pub(crate) type Reading<T> = Result<Option<T>, Fault>;

impl Mapping {
    /// Reads a record. A date without a zone is in the country's, an amount without a currency in the country's.
    ///
    /// # Errors
    /// A record without an ID, or with a value that can't be understood, comes back as it came, with the reason.
    pub fn order(&self, country: Country, record: &RawValue) -> Result<Order, DeadLetter> {
        let mut id = None;
        self.read(country, record, &mut id).map_err(|fault| fault.dead_letter(id, record))
    }

    /// Leaves the ID behind as soon as it is known, so that a dead letter can carry it.
    fn read(&self, country: Country, record: &RawValue, known: &mut Option<OrderId>) -> Result<Order, Fault> {
        let mut tree = object(record, "the record is not a JSON object")?;
        let places = &self.order;
        let id = take(&mut tree, &places.id, order_id)?.ok_or_else(|| no_id(&places.id))?;
        *known = Some(id.clone());
        let date = |raw| date(raw, country);
        Ok(Order {
            id,
            status: take(&mut tree, &places.status, text)?,
            payment_status: take(&mut tree, &places.payment_status, text)?,
            payment_method: take(&mut tree, &places.payment_method, text)?,
            currency: take(&mut tree, &places.currency, currency)?.unwrap_or_else(|| country.currency().to_owned()),
            created_at: take(&mut tree, &places.created_at, date)?,
            updated_at: take(&mut tree, &places.updated_at, date)?,
            total: take(&mut tree, &places.total, amount)?,
            subtotal: take(&mut tree, &places.subtotal, amount)?,
            shipping: take(&mut tree, &places.shipping, amount)?,
            discount: take(&mut tree, &places.discount, amount)?,
            tax: take(&mut tree, &places.tax, amount)?,
            buyer: take(&mut tree, &self.buyer.at, |raw| self.buyer.read(raw))?.unwrap_or_default(),
            lines: take(&mut tree, &self.products.at, |raw| self.products.read(raw))?.unwrap_or_default(),
            extra: tree.leftovers(),
        })
    }
}

impl BuyerPlaces {
    fn read(&self, raw: &RawValue) -> Reading<Buyer> {
        if json::is_blank(raw) || json::is_empty(raw) {
            return Ok(None);
        }
        let mut tree = object(raw, "the buyer is not an object")?;
        Ok(Some(Buyer {
            name: take(&mut tree, &self.name, text)?,
            email: take(&mut tree, &self.email, text)?,
            mobile: take(&mut tree, &self.mobile, text)?,
            document: take(&mut tree, &self.document, text)?,
            address: take(&mut tree, &self.address, text)?,
            city: take(&mut tree, &self.city, text)?,
            region: take(&mut tree, &self.region, text)?,
            postal_code: take(&mut tree, &self.postal_code, text)?,
            extra: tree.leftovers(),
        }))
    }
}

impl ProductPlaces {
    fn read(&self, raw: &RawValue) -> Reading<Vec<Line>> {
        if json::is_blank(raw) || json::is_empty(raw) {
            return Ok(None);
        }
        let entries = match Kind::of(raw) {
            Kind::List => Entries::of_list(raw).map(|entries| entries.0),
            Kind::Object => Entries::of(raw).and_then(|entries| entries.numbered().ok()),
            _ => None,
        };
        let entries =
            entries.ok_or(Fault::from("the products are neither a list nor an object with numbers as keys"))?;
        let lines = entries.iter().map(|(key, raw)| self.line(raw).map_err(|fault| fault.under(&pointer::step(key))));
        lines.collect::<Result<_, _>>().map(Some)
    }

    fn line(&self, raw: &RawValue) -> Result<Line, Fault> {
        let mut tree = object(raw, "the product is not an object")?;
        Ok(Line {
            code: take(&mut tree, &self.code, text)?,
            name: take(&mut tree, &self.name, text)?,
            quantity: take(&mut tree, &self.quantity, amount)?,
            unit_price: take(&mut tree, &self.unit_price, amount)?,
            unit_price_before: take(&mut tree, &self.unit_price_before, amount)?,
            extra: tree.leftovers(),
        })
    }
}

/// Takes the first value that one of the pointers finds, and reads it. What is missing in one place is looked for in
/// the next; what can't be understood is not passed over for another spelling.
fn take<'a, T>(tree: &mut Tree<'a>, places: &Pointers, read: impl Fn(&'a RawValue) -> Reading<T>) -> Reading<T> {
    for pointer in places {
        let found = tree.take(pointer.path()).and_then(|raw| raw.map_or(Ok(None), &read));
        if let Some(value) = found.map_err(|fault| fault.under(&pointer.to_string()))? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn object<'a>(raw: &'a RawValue, otherwise: &'static str) -> Result<Tree<'a>, Fault> {
    match Kind::of(raw) {
        Kind::Object => Tree::open(raw)?.ok_or(otherwise.into()),
        _ => Err(otherwise.into()),
    }
}

fn no_id(places: &Pointers) -> Fault {
    let expected = places.iter().next().map(ToString::to_string).unwrap_or_default();
    Fault::from("the record has no order ID in any of the places where it is looked for").under(&expected)
}

/// The ID of an order: text, or a number written as a whole one. `123.0` and `1.23e2` are refused, since the same order
/// would then be known under several keys.
pub(crate) fn order_id(raw: &RawValue) -> Reading<OrderId> {
    let text = match Kind::of(raw) {
        Kind::Number if raw.get().contains(['.', 'e', 'E']) => {
            return Err("the order ID is a number that is not written as a whole one".into());
        }
        Kind::Number | Kind::Text => text(raw)?,
        Kind::Null => None,
        _ => return Err("the order ID is neither text nor a number".into()),
    };
    let parse =
        |text: String| text.parse().map_err(|_| "the order ID is longer than 128 bytes or has a control character");
    Ok(text.map(parse).transpose()?)
}

/// Text as it is; a number or a truth value as it is written.
fn text(raw: &RawValue) -> Reading<String> {
    match Kind::of(raw) {
        Kind::Number | Kind::Bool => Ok(Some(raw.get().to_owned())),
        Kind::List | Kind::Object => Err("there is a list or an object where text is expected".into()),
        Kind::Null => Ok(None),
        Kind::Text => {
            let text = json::text(raw).ok_or("the text has half of a surrogate pair, which is not Unicode")?;
            Ok(Some(text.into_owned()).filter(|text| !text.trim().is_empty()))
        }
    }
}

fn amount(raw: &RawValue) -> Reading<Decimal> {
    match Kind::of(raw) {
        Kind::Number => Ok(Some(amount::parse(raw.get())?)),
        Kind::Text => {
            let text = json::text(raw).ok_or(amount::NOT_A_NUMBER)?;
            Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(amount::parse).transpose()?)
        }
        Kind::Null => Ok(None),
        Kind::Bool | Kind::List | Kind::Object => Err("there is something else where a number is expected".into()),
    }
}

fn date(raw: &RawValue, country: Country) -> Reading<DateText> {
    match Kind::of(raw) {
        Kind::Number => Ok(Some(date::from_number(raw.get()))),
        Kind::Text | Kind::Null => Ok(text(raw)?.map(|text| date::from_text(&text, country))),
        Kind::Bool | Kind::List | Kind::Object => Err("there is something else where a date is expected".into()),
    }
}

fn currency(raw: &RawValue) -> Reading<String> {
    let Some(code) = text(raw)? else { return Ok(None) };
    let code = code.trim();
    if code.len() == 3 && code.bytes().all(|c| c.is_ascii_alphabetic()) {
        return Ok(Some(code.to_ascii_uppercase()));
    }
    Err("the currency is not a code of three letters".into())
}

#[cfg(test)]
mod tests;
