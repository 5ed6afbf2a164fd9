//! Parses the list of IDs as a stream. Of a million entries, only one at a time is in memory as JSON; the others are
//! stored as IDs.
//!
//! `serde_json` parses the stream and checks the syntax. The visitors here only collect entries wherever a list may be.
//! An entry without an ID becomes an error only once it is known which list is the right one.

use std::fmt;
use std::io::{self, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::document::{names_data, object_in};
use super::extent::Extent;
use super::{Envelope, PageError, id_in, says_nothing};
use crate::order::ids::OrderIds;
use crate::order::json::Text;

/// A list of IDs, or one page of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdList {
    /// The IDs, including repetitions.
    pub ids: OrderIds,
    /// The extent that the list gives. The caller checks whether the list is complete.
    pub extent: Extent,
}

/// A list without an extent.
impl From<OrderIds> for IdList {
    fn from(ids: OrderIds) -> Self {
        Self { ids, extent: Extent::default() }
    }
}

/// Reads a list of order IDs. Entries are numbers, strings, or objects that hold an ID. The list may be an array, or an
/// object whose keys are numbers; it is under `data`, `data.ids` or `ids`, or at the top. A repeated ID stays repeated.
/// Blocks while `body` does.
///
/// A notice before an object is skipped, and so is one after an object with `data`. Notices around a top-level array
/// are an error, since nobody could tell whether it is the right list.
///
/// # Errors
/// An entry without an ID is an error: an order that is not listed is never missed, so no entry may be skipped. A
/// truncated body is an error too, and so is one that `body` can't read to its end.
pub fn read_id_list(body: impl Read) -> Result<IdList, PageError> {
    let mut body = Bytes { body, read: 0 };
    let read = read_answer(&mut body);
    let bytes = body.read;
    read.map_err(|error| match error.classify() {
        Category::Eof | Category::Io => PageError::Truncated(bytes),
        Category::Syntax => PageError::NotJson { line: error.line(), column: error.column() },
        Category::Data => PageError::Shape,
    })?
    .id_list()
}

/// How many bytes of notices are skipped at most, before the list and after it.
const NOISE: u64 = 64 << 10;

fn read_answer(body: &mut Bytes<impl Read>) -> serde_json::Result<Answer> {
    let start = from_the_json_on(body).map_err(serde_json::Error::io)?;
    let mut reader = io::BufReader::new(start.chain(body));
    let mut json = serde_json::Deserializer::from_reader(&mut reader);
    let answer = json.deserialize_any(AnswerVisitor)?;
    let Err(error) = json.end() else { return Ok(answer) };
    let has_data = matches!(&answer, Answer::Object(object) if object.data.is_some());
    if has_data && only_noise(&mut reader).map_err(serde_json::Error::io)? { Ok(answer) } else { Err(error) }
}

/// Reads the start of a body and drops everything before its JSON: a byte order mark, and notices before an object.
fn from_the_json_on(body: &mut impl Read) -> io::Result<io::Cursor<Vec<u8>>> {
    let mut start = Vec::new();
    body.take(NOISE).read_to_end(&mut start)?;
    let marked = super::without_byte_order_mark(&start).trim_ascii_start();
    let begins = match marked.first() {
        Some(b'{' | b'[') | None => Some(start.len() - marked.len()),
        Some(_) => object_in(&start),
    };
    start.drain(..begins.unwrap_or(start.len() - marked.len()));
    Ok(io::Cursor::new(start))
}

/// Whether the rest of a body is only noise, and not another part of the list.
fn only_noise(body: &mut impl Read) -> io::Result<bool> {
    let mut rest = Vec::new();
    body.take(NOISE + 1).read_to_end(&mut rest)?;
    Ok(rest.len() as u64 <= NOISE && !names_data(&rest))
}

/// Counts the bytes read.
struct Bytes<R> {
    body: R,
    read: usize,
}

impl<R: Read> Read for Bytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

/// The entries of a candidate list.
#[derive(Default)]
struct List {
    ids: OrderIds,
    entries: usize,
    without_id: Option<usize>,
}

impl List {
    fn take(&mut self, entry: &RawValue) {
        match id_in(entry) {
            Some(id) => self.ids.push((&id).into()),
            None => {
                self.without_id.get_or_insert(self.entries);
            }
        }
        self.entries += 1;
    }
}

/// A list, an object that may be one, or an object that may hold one under `ids`.
#[derive(Default)]
struct Place {
    list: List,
    /// Some key is not a number.
    named: bool,
    /// An object without entries. PHP can't tell it from an empty list.
    empty: bool,
    ids: Option<Box<Place>>,
    /// The extent given beside `ids`.
    extent: Extent,
}

impl Place {
    fn list(self) -> Option<List> {
        (!self.named).then_some(self.list)
    }

    fn ids(self) -> Option<List> {
        if self.named { self.ids?.list() } else { Some(self.list) }
    }

    /// Reads an entry of an object.
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let is_number = key.bytes().all(|c| c.is_ascii_digit()) && key.parse::<u64>().is_ok();
        self.named |= !is_number;
        match key {
            _ if is_number => self.list.take(&map.next_value::<Box<RawValue>>()?),
            "ids" if self.ids.is_some() => return Err(A::Error::duplicate_field("ids")),
            "ids" => self.ids = Some(Box::new(map.next_value_seed(PlaceSeed { with_ids: false })?)),
            name if Extent::is_named(name) => self.extent.note(name, &map.next_value::<Box<RawValue>>()?),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

/// Reads a value that may be a list.
#[derive(Clone, Copy)]
struct PlaceSeed {
    with_ids: bool,
}

impl<'de> DeserializeSeed<'de> for PlaceSeed {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Place, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PlaceSeed {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list, an object or null")
    }

    fn visit_unit<E>(self) -> Result<Place, E> {
        Ok(Place::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Place, A::Error> {
        let mut place = Place::default();
        while let Some(entry) = entries.next_element::<Box<RawValue>>()? {
            place.list.take(&entry);
        }
        Ok(place)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Place, A::Error> {
        let mut place = Place { empty: true, ..Place::default() };
        while let Some(Text(key)) = map.next_key()? {
            place.empty = false;
            if key == "ids" && !self.with_ids {
                place.named = true;
                map.next_value::<IgnoredAny>()?;
            } else {
                place.take(&key, &mut map)?;
            }
        }
        Ok(place)
    }
}

enum Answer {
    /// A top-level array.
    List(Place),
    /// An object, which may hold the list.
    Object(Box<Object>),
    /// Neither.
    Other,
}

/// The top-level object.
#[derive(Default)]
struct Object {
    top: Place,
    data: Option<Place>,
    metadata: Option<Box<RawValue>>,
    extent: Extent,
    failed: bool,
    message: bool,
}

impl Answer {
    fn id_list(self) -> Result<IdList, PageError> {
        let (list, extent) = match self {
            Self::List(place) => (place.list, Extent::default()),
            Self::Object(object) => object.list()?,
            Self::Other => return Err(PageError::NoData),
        };
        match list.without_id {
            Some(index) => Err(PageError::NoId { index }),
            None => Ok(IdList { ids: list.ids, extent }),
        }
    }
}

impl Object {
    fn list(self) -> Result<(List, Extent), PageError> {
        let Self { top, data, metadata, extent, failed, message } = self;
        let envelope = Envelope { data: data.as_ref().map(|_| ()), metadata: metadata.as_deref(), failed, message };
        let counts = envelope.counts()?;
        // The request can be repeated, so a list that comes with an error is not trusted to be complete.
        if envelope.failed {
            return Err(PageError::ErrorBody);
        }
        let mut extent = extent;
        let list = match data {
            Some(mut data) => {
                extent = extent.or(std::mem::take(&mut data.extent));
                data.ids().ok_or(PageError::Shape)?
            }
            None if top.empty => return Err(PageError::NoData),
            None => top.ids().ok_or_else(|| envelope.without_data())?,
        };
        counts.agree_with(list.entries)?;
        Ok((list, extent))
    }
}

struct AnswerVisitor;

impl<'de> Visitor<'de> for AnswerVisitor {
    type Value = Answer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of IDs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, entries: A) -> Result<Answer, A::Error> {
        PlaceSeed { with_ids: false }.visit_seq(entries).map(Answer::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Answer, A::Error> {
        let mut object = Box::new(Object { top: Place { empty: true, ..Place::default() }, ..Object::default() });
        while let Some(Text(key)) = map.next_key()? {
            object.top.empty = false;
            object.take(&key, &mut map)?;
        }
        Ok(Answer::Object(object))
    }

    fn visit_unit<E>(self) -> Result<Answer, E> {
        Ok(Answer::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Answer, E> {
        Ok(Answer::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Answer, E> {
        Ok(Answer::Other)
    }
}

impl Object {
    fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let raw = |map: &mut A| map.next_value::<Box<RawValue>>();
        match key {
            // A duplicate key would hide the list under the first one.
            "data" if self.data.is_some() => return Err(A::Error::duplicate_field("data")),
            "data" => self.data = Some(map.next_value_seed(PlaceSeed { with_ids: true })?),
            "metadata" => {
                let metadata = raw(map)?;
                self.extent.note(key, &metadata);
                self.metadata = Some(metadata);
            }
            "error" | "errors" => self.failed |= !says_nothing(&raw(map)?),
            "success" => self.failed |= raw(map)?.get() == "false",
            name if Extent::is_named(name) => {
                self.extent.note(name, &raw(map)?);
            }
            name => {
                self.message |= super::is_message(name);
                return self.top.take(name, map);
            }
        }
        self.top.named = true;
        Ok(())
    }
}
