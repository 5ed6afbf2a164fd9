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
use self::tree::{Found, Tree};
use crate::country::Country;
use crate::ids::OrderId;
use crate::json::{self, Kind, Outline, Raw};
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
        DeadLetter { id, json: record.get().into(), reason: self.reason.to_owned(), pointer: self.pointer }
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
        let outline = Outline::of(record.into());
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
            total: take(&mut tree, &places.total, amount)?,
            subtotal: take(&mut tree, &places.subtotal, amount)?,
            shipping: take(&mut tree, &places.shipping, amount)?,
            discount: take(&mut tree, &places.discount, amount)?,
            tax: take(&mut tree, &places.tax, amount)?,
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
        let products = match found.kind() {
            Kind::List => Some(found.inside().collect()),
            Kind::Object => numbered(found),
            _ => None,
        };
        let products: Vec<_> =
            products.ok_or(Fault::from("the products are neither a list nor an object with numbers as keys"))?;
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

    fn line(&self, found: Found<'_, '_>) -> Result<Line, Fault> {
        let mut tree = object(found, "the product is not an object")?;
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
fn take<'o, 'a, T>(
    tree: &mut Tree<'o, 'a>,
    places: &Pointers,
    read: impl Fn(Found<'o, 'a>) -> Reading<T>,
) -> Reading<T> {
    for pointer in places {
        let found = tree.take(pointer.path()).and_then(|found| found.map_or(Ok(None), &read));
        if let Some(value) = found.map_err(|fault| fault.under(&pointer.to_string()))? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn object<'o, 'a>(found: Found<'o, 'a>, otherwise: &'static str) -> Result<Tree<'o, 'a>, Fault> {
    match found.kind() {
        Kind::Object => Tree::open(found),
        _ => Err(otherwise.into()),
    }
}

/// The values of an object by number, if every key is one: this is how PHP writes a list from which something was
/// removed.
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

/// The ID of an order: text, or a whole number. Written as a float it is the same one (`123.0` and `1.23e2` are 123), up to
/// where a float no longer tells it from the next: the same order must not be known under several keys, nor two under one.
pub(crate) fn order_id<'a>(raw: impl Into<Raw<'a>>) -> Reading<OrderId> {
    let raw = raw.into();
    let text = match Kind::of(raw) {
        Kind::Number if raw.get().contains(['.', 'e', 'E']) => {
            let whole = whole_float(raw.get());
            Some(whole.ok_or("the order ID is a number that is not whole, or too large to be told from the next")?)
        }
        Kind::Number | Kind::Text => text_of(raw)?,
        Kind::Null => None,
        _ => return Err("the order ID is neither text nor a number".into()),
    };
    let parse =
        |text: String| text.parse().map_err(|_| "the order ID is longer than 128 bytes or has a control character");
    Ok(text.map(parse).transpose()?)
}

/// A whole number written with a point or an exponent, as PHP writes its floats; `None` beyond 2^53, where floats have gaps.
fn whole_float(number: &str) -> Option<String> {
    const EXACT: u64 = 1 << 53;
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let zeros = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let digits = format!("{whole}{fraction}");
    // A whole part that ends in zeros may take a negative exponent: `1230e-1`.
    let (digits, zeros) = match usize::try_from(zeros) {
        Ok(zeros) if zeros <= 16 => (digits, zeros),
        Ok(_) => return None,
        Err(_) => {
            let (kept, cut) = digits.split_at_checked(digits.len().checked_sub(zeros.unsigned_abs() as usize)?)?;
            if cut.bytes().any(|digit| digit != b'0') {
                return None;
            }
            (kept.to_owned(), 0)
        }
    };
    let value: u64 = format!("0{digits}{}", "0".repeat(zeros)).parse().ok()?;
    (value <= EXACT).then(|| format!("{}{value}", if value == 0 { "" } else { sign }))
}

/// Text as it is; a number or a truth value as it is written.
fn text(found: Found<'_, '_>) -> Reading<String> {
    text_of(found.raw())
}

fn text_of(raw: Raw<'_>) -> Reading<String> {
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

fn amount(found: Found<'_, '_>) -> Reading<Decimal> {
    let raw = found.raw();
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

fn date(raw: Raw<'_>, country: Country) -> Reading<DateText> {
    match Kind::of(raw) {
        Kind::Number => Ok(Some(date::from_number(raw.get()))),
        Kind::Text | Kind::Null => Ok(text_of(raw)?.map(|text| date::from_text(&text, country))),
        Kind::Bool | Kind::List | Kind::Object => Err("there is something else where a date is expected".into()),
    }
}

fn currency(found: Found<'_, '_>) -> Reading<String> {
    let Some(code) = text(found)? else { return Ok(None) };
    let code = code.trim();
    if code.len() == 3 && code.bytes().all(|c| c.is_ascii_alphabetic()) {
        return Ok(Some(code.to_ascii_uppercase()));
    }
    Err("the currency is not a code of three letters".into())
}

#[cfg(test)]
mod tests;
