//! Parses the bodies of the marketplace's answers: a page of new orders, a list of IDs, one order.
//!
//! Reading a page is destructive, so the parser is strict where records could be lost unnoticed: a truncated body,
//! counts that do not add up, a list entry without an ID. It is lenient where PHP writes one thing in several ways.
//! Notices around the one JSON document are ignored, and a byte that is not UTF-8 costs only its own record. Content
//! types are ignored. [`crate::order::mapping`] interprets the records.

mod document;
mod extent;
mod id_list;
mod message;
mod pending;
mod record;
mod verdict;

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use thiserror::Error;

use crate::order::ids::OrderId;
use crate::order::json::{self, Entries, Kind};
use crate::order::mapping::{self, ID_NAMES};

use document::Document;
pub use document::Noise;
pub use extent::Extent;
pub use id_list::{IdList, read_id_list};
pub use message::Message;
pub use pending::Pending;
pub use record::{Record, RecordPlaces};
pub use verdict::{EmptyPage, PageSummary, PageVerdict};

/// Why a body is not a valid answer. After a destructive read, each of these means that the outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PageError {
    /// The body is not JSON, such as an HTML page, or something follows the JSON.
    #[error("the body is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line of the first unexpected character, from 1.
        line: usize,
        /// Its column in bytes.
        column: usize,
    },
    /// The bytes are not UTF-8.
    #[error("the body is not UTF-8 (byte {0})")]
    NotUtf8(usize),
    /// The body ends before the JSON does, or is empty.
    #[error("the body is cut off after {0} bytes")]
    Truncated(usize),
    /// The marketplace sent an error instead of an answer.
    #[error("the body is an error message of the marketplace, not an answer")]
    ErrorBody,
    /// The body is JSON, but nothing in it holds the requested data.
    #[error("the body is JSON, but has no `data`")]
    NoData,
    /// `data` is present, in an unknown shape.
    #[error("`data` has a shape that is not known")]
    Shape,
    /// `returned_transactions` is present but is not an integer, so the records can't be counted against it.
    #[error("`returned_transactions` is not a whole number")]
    UnreadableCount,
    /// The server announces more or fewer records than it sent.
    #[error("the server says that it returned {returned} records, and {records} are there")]
    CountsDisagree {
        /// `returned_transactions`.
        returned: u64,
        /// The number of records in the body.
        records: usize,
    },
    /// An entry of an ID list is not an ID and holds none, so the list may be incomplete.
    #[error("entry {index} of the list has no order ID")]
    NoId {
        /// The entry's index, from 0.
        index: usize,
    },
    /// One order was requested, and the answer has none.
    #[error("no order is in the answer")]
    NoRecord,
    /// One order was requested, and the answer has several.
    #[error("{0} orders are in the answer to a request for one")]
    SeveralRecords(usize),
}

/// A page of new orders. The records are unparsed slices of the body.
pub struct Page<'a> {
    /// All entries of `data`, whatever they are.
    pub records: Vec<Record<'a>>,
    /// Text around the JSON document, if any.
    pub noise: Option<Noise>,
    pub total_found: Option<u64>,
    pub returned: Option<u64>,
    pub pending: Option<u64>,
}

/// How many orders were pending when the marketplace made an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Before it marked the orders that it returns.
    pub before: Option<u64>,
    /// After it marked them.
    pub after: Option<u64>,
}

/// Shows counts only: records are personal data.
impl fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("records", &self.records.len())
            .field("total_found", &self.total_found)
            .field("returned", &self.returned)
            .field("pending", &self.pending)
            .finish()
    }
}

impl<'a> Page<'a> {
    /// Parses the body of a `newOrders` answer. `data` is a list, or an object whose keys are numbers; `null`, `{}` and
    /// `[]` hold no records. A missing `data` counts as empty only if `returned_transactions` says 0.
    ///
    /// If the body as a whole is not JSON, the page is the one document in it that has `data` and `metadata`.
    ///
    /// # Errors
    /// See [`PageError`]. A page truncated at any byte is an error, never a page with fewer records.
    pub fn parse(body: &'a [u8]) -> Result<Self, PageError> {
        let body = without_byte_order_mark(body);
        let error = match strict_text(body).and_then(Self::read) {
            Err(error) if error.is_about_the_text(body) => error,
            done => return done,
        };
        let document = Document::find(body, is_page)?.ok_or(error)?;
        let page = Page::read(document.text())?;
        let records = page.records.iter().map(|record| Record::of(document.original(record.text()))).collect();
        let Page { total_found, returned, pending, .. } = page;
        Ok(Self { records, noise: document.noise(), total_found, returned, pending })
    }

    fn read(text: &'a str) -> Result<Self, PageError> {
        let envelope = Envelope::<Data<'_>>::parse(text)?;
        let counts = envelope.counts()?;
        let records = match envelope.data {
            Some(data) => data.list().ok_or(PageError::Shape)?,
            None if counts.returned.is_some() => Vec::new(),
            None => return Err(envelope.without_data()),
        };
        if records.is_empty() && envelope.failed {
            return Err(PageError::ErrorBody);
        }
        let records = records.into_iter().map(Record::from).collect();
        let Counts { total_found, returned, pending } = counts;
        Ok(Self { records, noise: None, total_found, returned, pending })
    }

    /// How many orders were pending before and after the page, by its own counts. Counts that contradict each other are
    /// not believed. If the page announces another number of records than it holds, only those it holds count as
    /// marked.
    #[must_use]
    pub fn counted(&self) -> Counted {
        if self.disagreement().is_some() {
            let left = self.total_found.map(|found| found.saturating_sub(self.records.len() as u64));
            return Counted { before: self.total_found, after: left };
        }
        let marked = self.returned.unwrap_or(self.records.len() as u64);
        let before = self.pending.and_then(|pending| pending.checked_add(marked));
        let agree = self.total_found.is_none_or(|found| before.is_none_or(|before| before == found));
        if agree { Counted { before: self.total_found.or(before), after: self.pending } } else { Counted::default() }
    }

    /// The error if the server announces another number of records than the page holds. The records are still valid, so
    /// the page is not refused; but orders may have been marked and not sent.
    #[must_use]
    pub fn disagreement(&self) -> Option<PageError> {
        let returned = self.returned.filter(|returned| *returned != self.records.len() as u64)?;
        Some(PageError::CountsDisagree { returned, records: self.records.len() })
    }
}

/// Parses the answer to a request for one order. The record is `data`, the only entry of a list in `data`, or the
/// top-level object. Notices and invalid bytes are handled as in a page.
///
/// # Errors
/// [`PageError::NoRecord`] if the answer is well formed and empty, [`PageError::SeveralRecords`] if it holds more than
/// one order.
pub fn parse_single(body: &[u8]) -> Result<Record<'_>, PageError> {
    let body = without_byte_order_mark(body);
    let error = match strict_text(body).and_then(read_single) {
        Err(error) if error.is_about_the_text(body) => error,
        done => return done.map(Record::from),
    };
    let has_record = |entries: &Entries<'_>| entries.get("data").is_some() || is_record(entries);
    let document = Document::find(body, has_record)?.ok_or(error)?;
    let record = read_single(document.text())?;
    Ok(Record::of(document.original(record.get())))
}

fn read_single(text: &str) -> Result<&RawValue, PageError> {
    if text.starts_with('[') {
        return the_only(&read::<Vec<_>>(text)?);
    }
    let envelope = Envelope::<&RawValue>::parse(text)?;
    if envelope.failed {
        return Err(PageError::ErrorBody);
    }
    let Some(data) = envelope.data else {
        return if is_record(&read(text)?) { read(text) } else { Err(envelope.without_data()) };
    };
    match read::<Data<'_>>(data.get())? {
        Data::List(records) => the_only(&records),
        Data::Object(entries) if entries.0.is_empty() => Err(PageError::NoRecord),
        Data::Object(_) => Ok(data),
    }
}

fn is_record(entries: &Entries<'_>) -> bool {
    entries.0.iter().any(|(key, _)| key == "order" || ID_NAMES.contains(&key.as_ref()))
}

fn is_page(entries: &Entries<'_>) -> bool {
    entries.get("data").is_some() && entries.get("metadata").is_some_and(|metadata| Kind::of(metadata) == Kind::Object)
}

fn the_only<'a>(records: &[&'a RawValue]) -> Result<&'a RawValue, PageError> {
    match records {
        [] => Err(PageError::NoRecord),
        [record] => Ok(record),
        more => Err(PageError::SeveralRecords(more.len())),
    }
}

/// The ID that a list entry is or holds. Keys are tried in the mapping's default order.
fn id_in(entry: &RawValue) -> Option<OrderId> {
    if Kind::of(entry) != Kind::Object {
        return mapping::order_id(entry).ok()?;
    }
    let entry = Entries::of(entry)?;
    let order = entry.get("order").filter(|order| Kind::of(order) == Kind::Object).and_then(Entries::of);
    let places = order.iter().chain([&entry]);
    let id =
        places.flat_map(|place| ID_NAMES.iter().filter_map(|name| place.get(name))).find(|id| !json::is_blank(id))?;
    mapping::order_id(id).ok()?
}

/// Some PHP files begin with a byte order mark.
fn without_byte_order_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

/// The body as UTF-8 text, without leading blanks.
fn strict_text(body: &[u8]) -> Result<&str, PageError> {
    match std::str::from_utf8(body) {
        Ok(text) => Ok(text.trim_ascii_start()),
        Err(error) => Err(PageError::NotUtf8(error.valid_up_to())),
    }
}

impl PageError {
    /// Whether the body may still contain a document that can be found by searching. If not, the body is JSON of the
    /// wrong shape.
    fn is_about_the_text(&self, body: &[u8]) -> bool {
        match self {
            Self::NotJson { .. } | Self::NotUtf8(_) => true,
            // A notice may start with a number or a string, which is JSON too.
            Self::NoData | Self::Shape => !body.trim_ascii_start().starts_with(b"{"),
            _ => false,
        }
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, PageError> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Eof => PageError::Truncated(text.len()),
        Category::Syntax => PageError::NotJson { line: error.line(), column: error.column() },
        Category::Data | Category::Io => PageError::Shape,
    })
}

/// The object around the records. Other keys are ignored.
struct Envelope<'a, T> {
    data: Option<T>,
    metadata: Option<&'a RawValue>,
    /// The answer reports a failure.
    failed: bool,
    /// There is a message. It is an error message if there are no data.
    message: bool,
}

impl<'a, T: Deserialize<'a>> Envelope<'a, T> {
    fn parse(text: &'a str) -> Result<Self, PageError> {
        read(text).map_err(|error| match error {
            PageError::Shape if !text.starts_with('{') => PageError::NoData,
            error => error,
        })
    }
}

impl<T> Envelope<'_, T> {
    fn counts(&self) -> Result<Counts, PageError> {
        let metadata =
            self.metadata.filter(|raw| Kind::of(raw) == Kind::Object).and_then(Entries::of).unwrap_or_default();
        let count = |name| metadata.get(name).filter(|raw| !json::is_blank(raw));
        let returned = count("returned_transactions").map(|raw| whole(raw).ok_or(PageError::UnreadableCount));
        Ok(Counts {
            total_found: count("total_transactions_found").and_then(whole),
            returned: returned.transpose()?,
            pending: count("pending_transactions").and_then(whole),
        })
    }

    fn without_data(&self) -> PageError {
        if self.failed || self.message { PageError::ErrorBody } else { PageError::NoData }
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Envelope<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor(PhantomData))
    }
}

struct EnvelopeVisitor<'a, T>(PhantomData<(&'a (), T)>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for EnvelopeVisitor<'a, T> {
    type Value = Envelope<'a, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of the marketplace")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope { data: None, metadata: None, failed: false, message: false };
        while let Some(json::Text(key)) = map.next_key()? {
            match key.as_ref() {
                // A duplicate key would hide the records under the first one.
                "data" if envelope.data.is_some() => return Err(A::Error::duplicate_field("data")),
                "data" => envelope.data = Some(map.next_value()?),
                "metadata" => envelope.metadata = Some(map.next_value()?),
                "error" | "errors" => envelope.failed |= !says_nothing(map.next_value()?),
                "success" => envelope.failed |= map.next_value::<&RawValue>()?.get() == "false",
                name => {
                    envelope.message |= is_message(name);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(envelope)
    }
}

/// Keys that mean an error message if there are no data.
fn is_message(name: &str) -> bool {
    matches!(name, "message" | "msg" | "mensaje" | "detail" | "code" | "status")
}

fn says_nothing(raw: &RawValue) -> bool {
    json::is_blank(raw) || json::is_empty(raw) || matches!(raw.get(), "false" | "0")
}

struct Counts {
    total_found: Option<u64>,
    returned: Option<u64>,
    pending: Option<u64>,
}

impl Counts {
    fn agree_with(&self, records: usize) -> Result<(), PageError> {
        match self.returned {
            Some(returned) if returned != records as u64 => Err(PageError::CountsDisagree { returned, records }),
            _ => Ok(()),
        }
    }
}

/// An integer, written as a number or as text.
fn whole(raw: &RawValue) -> Option<u64> {
    match Kind::of(raw) {
        Kind::Number => raw.get().parse().ok(),
        Kind::Text => json::text(raw)?.trim().parse().ok(),
        _ => None,
    }
}

/// The value of `data`: a list, as JSON or as PHP writes it, or another object.
enum Data<'a> {
    List(Vec<&'a RawValue>),
    Object(Entries<'a>),
}

impl<'a> Data<'a> {
    /// The entries of the list. An empty object is an empty list, since PHP can't tell them apart.
    fn list(self) -> Option<Vec<&'a RawValue>> {
        match self {
            Self::List(list) => Some(list),
            Self::Object(entries) => entries.0.is_empty().then(Vec::new),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, an object or null")
    }

    fn visit_unit<E>(self) -> Result<Data<'de>, E> {
        Ok(Data::List(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Data<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(record) = seq.next_element()? {
            list.push(record);
        }
        Ok(Data::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Data<'de>, A::Error> {
        let entries = Entries::read(map)?;
        if entries.0.is_empty() {
            return Ok(Data::Object(entries));
        }
        Ok(match entries.numbered() {
            Ok(list) => Data::List(list.into_iter().map(|(_, record)| record).collect()),
            Err(entries) => Data::Object(entries),
        })
    }
}

#[cfg(test)]
mod tests;
