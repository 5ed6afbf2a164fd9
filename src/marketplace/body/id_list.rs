//! The list of IDs, read as it comes: of a million entries one at a time is held as JSON, and of the rest the IDs.
//!
//! `serde_json` reads from the wire and checks what it reads; the visitors here only see to it that entries are taken at
//! the places where a list may be. An entry that is no ID is an error only once it is known that its list is the one.

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

/// A list of IDs, or a page of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdList {
    /// The IDs, as often as they are listed.
    pub ids: OrderIds,
    /// What the list says of its own extent. Whether it is whole is for the caller to see.
    pub extent: Extent,
}

/// A list that says nothing of its extent.
impl From<OrderIds> for IdList {
    fn from(ids: OrderIds) -> Self {
        Self { ids, extent: Extent::default() }
    }
}

/// Reads a list of order IDs: numbers, strings, or objects that hold an ID, in a list or in an object whose keys are
/// numbers, under `data`, under `data.ids`, under `ids` or at the top. An ID that is listed twice is here twice. Blocks
/// where `body` does.
///
/// A notice before an object is passed over, and so is one behind an object with `data`. Of a list at the top nobody could
/// tell whether it is the one.
///
/// # Errors
/// An entry without an ID is an error: an order that is not listed is never missed, so none may be passed over. So is a
/// body that ends early, and one that `body` can't read to its end.
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

/// Bytes of notices before a list that are passed over at most, and as many behind it.
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

/// The first bytes of a body, from where its JSON begins: without the mark that some PHP files begin with, and without
/// notices before an object.
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

/// Whether what follows a list is no further part of it.
fn only_noise(body: &mut impl Read) -> io::Result<bool> {
    let mut rest = Vec::new();
    body.take(NOISE + 1).read_to_end(&mut rest)?;
    Ok(rest.len() as u64 <= NOISE && !names_data(&rest))
}

/// Counts what is read.
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

/// Entries of what may be the list.
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

/// A list, or an object that may be one, or may hold one under `ids`.
#[derive(Default)]
struct Place {
    list: List,
    /// A key is no number.
    named: bool,
    /// An object without entries, which PHP can't tell from a list without.
    empty: bool,
    ids: Option<Box<Place>>,
    /// What stands beside `ids`.
    extent: Extent,
}

impl Place {
    fn list(self) -> Option<List> {
        (!self.named).then_some(self.list)
    }

    fn ids(self) -> Option<List> {
        if self.named { self.ids?.list() } else { Some(self.list) }
    }

    /// Takes an entry of an object.
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

/// What is read at a place where a list may be.
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

/// The whole body.
enum Answer {
    /// It is a list.
    List(Place),
    /// It is an object, with a list somewhere.
    Object(Box<Object>),
    /// Neither.
    Other,
}

/// What stands at the top.
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
        // A list can be asked for again, so one that comes with a complaint is not taken for whole.
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
            // Twice the same name would hide the list under the first.
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
