//! JSON as borrowed slices of a body, opened one level at a time.
//!
//! Records are not read into a [`serde_json::Value`] for three reasons. Nothing here recurses, so no nesting is too
//! deep. Numbers keep their text. A duplicate key stays visible as two entries.
//!
//! A JSON parser has already validated the text, so this module, including [`Outline`], does not check it again.

mod outline;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

pub(crate) use outline::{Item, Outline, key_bit};

/// The text of a JSON value. A parser has found it well formed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// `text`: what a parser has accepted before, as a value or as a part of one.
    pub(crate) fn parsed_before(text: &'a str) -> Self {
        Self(text)
    }

    pub(crate) fn get(self) -> &'a str {
        self.0
    }
}

impl<'a> From<&'a RawValue> for Raw<'a> {
    fn from(value: &'a RawValue) -> Self {
        Self(value.get())
    }
}

/// For closures of iterators over references.
impl<'a> From<&&'a RawValue> for Raw<'a> {
    fn from(value: &&'a RawValue) -> Self {
        Self(value.get())
    }
}

/// The type of a JSON value, told by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl Kind {
    pub(crate) fn of<'a>(raw: impl Into<Raw<'a>>) -> Self {
        match raw.into().get().as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'"') => Self::Text,
            Some(b'[') => Self::List,
            Some(b'{') => Self::Object,
            _ => Self::Number,
        }
    }
}

/// Decodes a JSON string. `None` if the value is not a string, or has half of a surrogate pair, which is not Unicode.
pub(crate) fn text<'a>(raw: impl Into<Raw<'a>>) -> Option<Cow<'a, str>> {
    let raw = raw.into().get();
    let inside = raw.strip_prefix('"')?.strip_suffix('"')?;
    if !inside.contains('\\') {
        return Some(inside.into());
    }
    serde_json::from_str::<Text>(raw).ok().map(|text| text.0)
}

/// Whether the value is `null` or a string of nothing but blanks.
pub(crate) fn is_blank<'a>(raw: impl Into<Raw<'a>>) -> bool {
    let raw = raw.into();
    match Kind::of(raw) {
        Kind::Null => true,
        Kind::Text => text(raw).is_some_and(|text| text.trim().is_empty()),
        _ => false,
    }
}

/// Whether the value is a list or an object without entries. PHP writes an empty object as an empty list.
pub(crate) fn is_empty<'a>(raw: impl Into<Raw<'a>>) -> bool {
    let inside = raw.into().get().strip_prefix(['[', '{']).and_then(|text| text.strip_suffix([']', '}']));
    inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

/// A key that is a list index: PHP writes a list with gaps as an object with such keys.
pub(crate) fn number(key: &str) -> Option<u64> {
    key.bytes().all(|c| c.is_ascii_digit()).then(|| key.parse().ok()).flatten()
}

/// A decoded JSON string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The entries of a JSON object in their original order. A duplicate key appears twice.
#[derive(Default)]
pub(crate) struct Entries<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Entries<'a> {
    /// Reads the entries. `None` if the value is not an object, or if a key is not Unicode text.
    pub(crate) fn of(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The entries in numerical order, if every key is a number: PHP writes a list like this after an element was
    /// removed.
    ///
    /// # Errors
    /// Returns the entries unchanged if a key is not a number.
    pub(crate) fn numbered(self) -> Result<Vec<(Cow<'a, str>, &'a RawValue)>, Self> {
        let mut entries = self.0;
        if !entries.iter().all(|(key, _)| number(key).is_some()) {
            return Err(Self(entries));
        }
        entries.sort_by_key(|(key, _)| number(key));
        Ok(entries)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, raw)| *raw)
    }

    pub(crate) fn read<A: MapAccess<'a>>(mut map: A) -> Result<Self, A::Error> {
        // An order, a buyer or a product has about this many fields.
        let mut entries = Vec::with_capacity(16);
        while let Some((key, raw)) = map.next_entry::<Text<'a>, &'a RawValue>()? {
            entries.push((key.0, raw));
        }
        Ok(Self(entries))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entries<'de>, A::Error> {
                Entries::read(map)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn entries_keep_their_order_their_text_and_their_duplicates() {
        let entries = Entries::of(raw(r#"{"b":1.50,"a":[ 1 ],"b":2,"ni\u00f1o":"\u0000"}"#)).unwrap();
        let shown: Vec<_> = entries.0.iter().map(|(key, raw)| (key.as_ref(), raw.get())).collect();
        assert_eq!(shown, [("b", "1.50"), ("a", "[ 1 ]"), ("b", "2"), ("niño", r#""\u0000""#)]);
    }

    #[test]
    fn numbered_keys_are_sorted_as_numbers_and_others_are_handed_back() {
        let order = |json| {
            let entries = Entries::of(raw(json)).unwrap().numbered();
            entries.map(|e| e.iter().map(|(_, raw)| raw.get().to_owned()).collect::<Vec<_>>()).map_err(|e| e.0.len())
        };
        assert_eq!(
            order(r#"{"10":"c","2":"b","0":"a","02":"d"}"#),
            Ok([r#""a""#, r#""b""#, r#""d""#, r#""c""#].map(String::from).to_vec())
        );
        assert_eq!(order(r#"{"0":1,"x":2}"#), Err(2));
        assert_eq!(order(r#"{"+1":1}"#), Err(1));
        assert_eq!(order(r#"{"":1}"#), Err(1));
        assert_eq!(order(r#"{"99999999999999999999":1}"#), Err(1));
    }

    #[test]
    fn the_names_that_the_parser_uses_inside_are_names_like_others() {
        let json = r#"{"$serde_json::private::Number":"x","$serde_json::private::RawValue":"]"}"#;
        assert_eq!(Entries::of(raw(json)).unwrap().0.len(), 2);
    }

    #[test]
    fn half_a_surrogate_pair_is_no_text() {
        assert_eq!(text(raw(r#""\ud83d\ude00""#)).as_deref(), Some("😀"));
        assert_eq!(text(raw(r#""\ud83d""#)), None);
        assert!(Entries::of(raw(r#"{"\ud83d":1}"#)).is_none());
    }
}
