//! Maps a JSON record of the marketplace to an [`Order`]: pure, exact, and without dropping anything.
//!
//! - A missing value (absent, `null`, or blank text) is `None`. A value that is present but can't be understood makes
//!   the record a [`DeadLetter`]: whoever books the order must not book a guess.
//! - For each field, the pointers of the [`Mapping`] are tried in order until one finds a value. A value that no
//!   pointer took stays in `extra`, with its numbers as they were written. That includes a second spelling of the same
//!   field.
//! - A default pointer is a guess. If it finds a value of the wrong kind, such as an object where an amount is
//!   expected, the next pointer is tried and the value stays in `extra`. A pointer from the settings is meant: there,
//!   the same value makes a dead letter.
//! - Amounts are converted from text to decimal, and are never rounded. Text with a point is read as a JSON number:
//!   `"129.900"` is a hundred and twenty-nine point nine. A number that was a float is read as the decimal that the
//!   float stands for, and also stays in `extra` as it was written.
//! - Deliberately absent: plausibility checks (sums, signs, e-mail addresses), and knowledge of the states of an order.

mod amount;
mod date;
mod places;
mod pointer;
mod tree;

use rust_decimal::Decimal;
use serde_json::value::RawValue;

pub use self::places::{BuyerPlaces, Mapping, OrderPlaces, ProductPlaces};
pub use self::pointer::{Pointer, PointerError, Pointers};
use self::tree::{Found, Tree};
use crate::order::country::Country;
use crate::order::ids::{IdError, OrderId};
use crate::order::json::{self, Kind, Outline, Raw};
use crate::order::{Buyer, DateText, DeadLetter, Line, Order};
pub(crate) use places::ID_NAMES;

/// What is wrong, and the JSON pointer to it, relative to the current level. Each level on the way up prepends its own
/// step.
#[derive(Debug)]
pub(crate) struct Fault {
    reason: &'static str,
    pointer: String,
    /// The value is of a kind that the field never has, so the pointer probably found something else.
    other_kind: bool,
}

impl Fault {
    fn other_kind(reason: &'static str) -> Self {
        Self { other_kind: true, ..reason.into() }
    }

    fn under(mut self, step: &str) -> Self {
        self.pointer.insert_str(0, step);
        // A fault inside a value says nothing about the kind of the value itself.
        self.other_kind = false;
        self
    }

    fn dead_letter(self, id: Option<OrderId>, record: Raw<'_>) -> DeadLetter {
        DeadLetter { id, json: record.get().into(), reason: self.reason.to_owned(), pointer: self.pointer }
    }
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Self {
        Self { reason, pointer: String::new(), other_kind: false }
    }
}

/// The result of reading a value; `None` if it is missing.
pub(crate) type Reading<T> = Result<Option<T>, Fault>;

impl Mapping {
    /// Maps a record. A date without a zone is in the country's zone; an amount without a currency is in the country's
    /// currency.
    ///
    /// # Errors
    /// Returns the record as a dead letter, with the reason, if it has no ID or a value that can't be understood.
    pub fn order(&self, country: Country, record: &RawValue) -> Result<Order, DeadLetter> {
        self.order_of(country, record.into())
    }

    pub(crate) fn order_of(&self, country: Country, record: Raw<'_>) -> Result<Order, DeadLetter> {
        let mut id = None;
        self.read(country, record, &mut id).map_err(|fault| fault.dead_letter(id, record))
    }

    /// Sets `known` as soon as the ID is read, so that a dead letter can carry it.
    fn read(&self, country: Country, record: Raw<'_>, known: &mut Option<OrderId>) -> Result<Order, Fault> {
        let outline = Outline::of(record);
        let mut tree = object(Found::new(outline.items()), "the record is not a JSON object")?;
        let places = &self.order;
        let id = take(&mut tree, &places.id, |found| order_id(found.raw()))?.ok_or_else(|| no_id(&places.id))?;
        *known = Some(id.clone());
        let date = |found: Found<'_, '_>| date(found.raw(), country);
        Ok(Order {
            id,
            status: take(&mut tree, &places.status, text)?,
            payment_status: take(&mut tree, &places.payment_status, text)?,
            payment_method: take(&mut tree, &places.payment_method, text)?,
            currency: take(&mut tree, &places.currency, currency)?.unwrap_or_else(|| country.currency().to_owned()),
            created_at: take(&mut tree, &places.created_at, date)?,
            updated_at: take(&mut tree, &places.updated_at, date)?,
            total: take_amount(&mut tree, &places.total)?,
            subtotal: take_amount(&mut tree, &places.subtotal)?,
            shipping: take_amount(&mut tree, &places.shipping)?,
            discount: take_amount(&mut tree, &places.discount)?,
            tax: take_amount(&mut tree, &places.tax)?,
            buyer: take(&mut tree, &self.buyer.at, |found| self.buyer.read(found))?.unwrap_or_default(),
            lines: take(&mut tree, &self.products.at, |found| self.products.read(found))?.unwrap_or_default(),
            extra: tree.leftovers(),
        })
    }
}

impl BuyerPlaces {
    fn read(&self, found: Found<'_, '_>) -> Reading<Buyer> {
        if json::is_blank(found.raw()) || json::is_empty(found.raw()) {
            return Ok(None);
        }
        let mut tree = object(found, "the buyer is not an object")?;
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
    fn read(&self, found: Found<'_, '_>) -> Reading<Vec<Line>> {
        if json::is_blank(found.raw()) || json::is_empty(found.raw()) {
            return Ok(None);
        }
        let other_kind = Err(Fault::other_kind("the products are neither a list, nor numbered, nor a single product"));
        let products: Vec<_> = match found.kind() {
            Kind::List => found.inside().collect(),
            Kind::Object => match numbered(found) {
                Some(products) => products,
                None if self.are_in(found)? => return Ok(Some(vec![self.line(found)?])),
                None => return other_kind,
            },
            _ => return other_kind,
        };
        if products.iter().all(|product| product.kind() != Kind::Object) {
            return Err(Fault::other_kind("no entry of the list of products is an object"));
        }
        let step = |place: usize, product: Found<'_, '_>| match product.key() {
            Some(key) => pointer::step(key),
            None => pointer::step(&place.to_string()),
        };
        let lines = products.into_iter().enumerate();
        lines
            .map(|(place, product)| self.line(product).map_err(|fault| fault.under(&step(place, product))))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Whether an object looks like a product, which takes at least two known fields. One alone may be a coincidence:
    /// many things have a name.
    fn are_in(&self, found: Found<'_, '_>) -> Result<bool, Fault> {
        let mut tree = Tree::open(found)?;
        let fields = [&self.code, &self.name, &self.quantity, &self.unit_price, &self.unit_price_before];
        let mut known = 0;
        for places in fields {
            let value = |found: Found<'_, '_>| match found.kind() {
                Kind::Text | Kind::Number => Ok(Some(()).filter(|()| !json::is_blank(found.raw()))),
                _ => Ok(None),
            };
            known += usize::from(take(&mut tree, places, value)?.is_some());
        }
        Ok(known > 1)
    }

    fn line(&self, found: Found<'_, '_>) -> Result<Line, Fault> {
        let mut tree = object(found, "the product is not an object")?;
        Ok(Line {
            code: take(&mut tree, &self.code, text)?,
            name: take(&mut tree, &self.name, text)?,
            quantity: take_amount(&mut tree, &self.quantity)?,
            unit_price: take_amount(&mut tree, &self.unit_price)?,
            unit_price_before: take_amount(&mut tree, &self.unit_price_before)?,
            extra: tree.leftovers(),
        })
    }
}

/// Takes the first value that one of the pointers finds, and reads it. If the value is missing there, the next pointer
/// is tried. If it can't be understood, that is a fault: another spelling is tried only if the pointer is a guess and
/// the value is of the wrong kind.
fn take<'o, 'a, T>(
    tree: &mut Tree<'o, 'a>,
    places: &Pointers,
    read: impl Fn(Found<'o, 'a>) -> Reading<T>,
) -> Reading<T> {
    take_or_copy(tree, places, read, |_| false)
}

/// Takes an amount. A float that is not read as it is written also stays among the leftovers.
fn take_amount(tree: &mut Tree<'_, '_>, places: &Pointers) -> Reading<Decimal> {
    take_or_copy(tree, places, amount, |found| found.kind() == Kind::Number && amount::was_float(found.raw().get()))
}

fn take_or_copy<'o, 'a, T>(
    tree: &mut Tree<'o, 'a>,
    places: &Pointers,
    read: impl Fn(Found<'o, 'a>) -> Reading<T>,
    is_copied: impl Fn(Found<'o, 'a>) -> bool,
) -> Reading<T> {
    for pointer in places {
        let at_pointer = |fault: Fault| fault.under(&pointer.to_string());
        let Some((place, found)) = tree.find(pointer.path()).map_err(at_pointer)? else { continue };
        let value = match read(found) {
            // A boolean can be read as text, but no text field is ever a boolean.
            _ if places.is_guess() && found.kind() == Kind::Bool => continue,
            // guard: a guess costs no order
            // guard: a place that was set is meant
            Err(fault) if places.is_guess() && fault.other_kind => continue,
            read => read.map_err(at_pointer)?,
        };
        // guard: a float stays as it came
        if !is_copied(found) {
            tree.take(place);
        }
        if value.is_some() {
            return Ok(value);
        }
    }
    Ok(None)
}

fn object<'o, 'a>(found: Found<'o, 'a>, otherwise: &'static str) -> Result<Tree<'o, 'a>, Fault> {
    match found.kind() {
        Kind::Object => Tree::open(found),
        _ => Err(Fault::other_kind(otherwise)),
    }
}

/// The values of an object in numerical order of their keys, if every key is a number: PHP writes a list like this
/// after an element was removed.
fn numbered<'o, 'a>(object: Found<'o, 'a>) -> Option<Vec<Found<'o, 'a>>> {
    let values = object.inside().map(|value| Some((json::number(value.key()?)?, value)));
    let mut values = values.collect::<Option<Vec<_>>>()?;
    values.sort_by_key(|(number, _)| *number);
    Some(values.into_iter().map(|(_, value)| value).collect())
}

fn no_id(places: &Pointers) -> Fault {
    let expected = places.iter().next().map(ToString::to_string).unwrap_or_default();
    Fault::from("the record has no order ID in any of the places where it is looked for").under(&expected)
}

/// Reads the ID of an order: text, or an integer, which may be written as a float.
pub(crate) fn order_id<'a>(raw: impl Into<Raw<'a>>) -> Reading<OrderId> {
    let raw = raw.into();
    let id = match Kind::of(raw) {
        Kind::Number => OrderId::from_number(raw.get()).map(Some),
        Kind::Text => text_of(raw)?.map(|text| text.parse()).transpose(),
        Kind::Null => return Ok(None),
        Kind::Bool | Kind::List | Kind::Object => return Err("the order ID is neither text nor a number".into()),
    };
    Ok(id.map_err(|error| match error {
        IdError::NotWhole(_) => "the order ID is a number that is not a whole one, or a float too large to be exact",
        _ => "the order ID is longer than 128 bytes or has a control character",
    })?)
}

/// Reads text; a number or a boolean becomes text as it is written.
fn text(found: Found<'_, '_>) -> Reading<String> {
    text_of(found.raw())
}

fn text_of(raw: Raw<'_>) -> Reading<String> {
    match Kind::of(raw) {
        Kind::Number | Kind::Bool => Ok(Some(raw.get().to_owned())),
        Kind::List | Kind::Object => Err(Fault::other_kind("there is a list or an object where text is expected")),
        Kind::Null => Ok(None),
        Kind::Text => {
            let text = json::text(raw).ok_or("the text has half of a surrogate pair, which is not Unicode")?;
            Ok(Some(text.into_owned()).filter(|text| !text.trim().is_empty()))
        }
    }
}

fn amount(found: Found<'_, '_>) -> Reading<Decimal> {
    let raw = found.raw();
    match Kind::of(raw) {
        Kind::Number => Ok(Some(amount::parse_number(raw.get())?)),
        Kind::Text => {
            let text = json::text(raw).ok_or(amount::NOT_A_NUMBER)?;
            // guard: text was never a float
            Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(amount::parse).transpose()?)
        }
        Kind::Null => Ok(None),
        Kind::Bool | Kind::List | Kind::Object => {
            Err(Fault::other_kind("there is something else where a number is expected"))
        }
    }
}

fn date(raw: Raw<'_>, country: Country) -> Reading<DateText> {
    match Kind::of(raw) {
        Kind::Number => Ok(Some(date::from_number(raw.get()))),
        Kind::Text | Kind::Null => Ok(text_of(raw)?.map(|text| date::from_text(&text, country))),
        Kind::Bool | Kind::List | Kind::Object => {
            Err(Fault::other_kind("there is something else where a date is expected"))
        }
    }
}

fn currency(found: Found<'_, '_>) -> Reading<String> {
    if found.kind() == Kind::Number {
        return Err(Fault::other_kind("there is a number where a currency is expected"));
    }
    let Some(code) = text(found)? else { return Ok(None) };
    let code = code.trim();
    if code.len() == 3 && code.bytes().all(|c| c.is_ascii_alphabetic()) {
        return Ok(Some(code.to_ascii_uppercase()));
    }
    Err("the currency is not a code of three letters".into())
}

#[cfg(test)]
mod tests;
