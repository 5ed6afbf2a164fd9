//! JSON pointers (RFC 6901) as settings.

use std::fmt;
use std::str::FromStr;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::order::json::key_bit;

/// Why a text is not a usable pointer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PointerError {
    /// The text does not begin with `/`. The empty pointer means the whole record, which is not a field.
    #[error("a JSON pointer begins with `/`, e.g. `/order/id`, and this one does not: `{0}`")]
    NoSlash(String),
    /// A `~` is not escaped: `~` is written `~0`, and `/` inside a name `~1`.
    #[error("in a JSON pointer `~` is written `~0`, and `/` inside a name `~1`: `{0}`")]
    Escape(String),
}

/// A JSON pointer of at least one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    path: Vec<Step>,
}

/// A key of an object, or an index of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    /// The [`key_bit`] of such a key.
    pub(super) key_bit: u64,
}

impl From<String> for Step {
    fn from(name: String) -> Self {
        Self { key_bit: key_bit(&name), name }
    }
}

impl Pointer {
    pub(super) fn path(&self) -> &[Step] {
        &self.path
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let names = text.strip_prefix('/').ok_or_else(|| PointerError::NoSlash(text.to_owned()))?;
        // Each `~` must be followed by 0 or 1.
        if names.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
            return Err(PointerError::Escape(text.to_owned()));
        }
        let path = names.split('/').map(|name| name.replace("~1", "/").replace("~0", "~").into()).collect();
        Ok(Self { text: text.to_owned(), path })
    }
}

/// Formats a name as one step of a pointer.
pub(super) fn step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Pointers that are tried in order. In the settings this is a string or a list. An empty list leaves the field
/// unmapped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pointers {
    list: Vec<Pointer>,
    /// Whether these are defaults, not settings. A value of the wrong kind then means that the guess is wrong, not the
    /// order.
    is_guess: bool,
}

impl Pointers {
    /// The pointers in the order in which they are tried.
    pub fn iter(&self) -> std::slice::Iter<'_, Pointer> {
        self.list.iter()
    }

    /// Whether a value of the wrong kind is skipped.
    pub(super) fn is_guess(&self) -> bool {
        self.is_guess
    }

    pub(super) fn guessed(self) -> Self {
        Self { is_guess: true, ..self }
    }

    /// Marks pointers that equal the default as the default, so that settings that were printed can be loaded again.
    pub(super) fn recognise(&mut self, default: &Self) {
        self.is_guess = default.is_guess && self.list == default.list;
    }
}

impl<'a> IntoIterator for &'a Pointers {
    type Item = &'a Pointer;
    type IntoIter = std::slice::Iter<'a, Pointer>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Pointer> for Pointers {
    fn from_iter<I: IntoIterator<Item = Pointer>>(pointers: I) -> Self {
        Self { list: pointers.into_iter().collect(), is_guess: false }
    }
}

impl Serialize for Pointers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|pointer| &pointer.text))
    }
}

impl<'de> Deserialize<'de> for Pointers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PointersVisitor)
    }
}

struct PointersVisitor;

impl<'de> Visitor<'de> for PointersVisitor {
    type Value = Pointers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON pointer such as \"/order/id\", or a list of them")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Pointers, E> {
        text.parse().map(|pointer: Pointer| [pointer].into_iter().collect()).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pointers, A::Error> {
        let mut pointers: Vec<Pointer> = Vec::new();
        while let Some(text) = seq.next_element::<String>()? {
            pointers.push(text.parse().map_err(serde::de::Error::custom)?);
        }
        Ok(pointers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_as_the_rfc_says() {
        let path = |text: &str| {
            let steps = |pointer: Pointer| pointer.path.into_iter().map(|step| step.name).collect::<Vec<_>>();
            text.parse::<Pointer>().map(steps)
        };
        assert_eq!(path("/order/id").unwrap(), ["order", "id"]);
        assert_eq!(path("/a~1b/~01/0").unwrap(), ["a/b", "~1", "0"]);
        assert_eq!(path("/").unwrap(), [""]);
        for bad in ["", "order/id", "$.order.id"] {
            assert_eq!(path(bad), Err(PointerError::NoSlash(bad.into())));
        }
        for bad in ["/a~", "/a~2", "/~~0"] {
            assert_eq!(path(bad), Err(PointerError::Escape(bad.into())));
        }
        assert_eq!(path(&step("a/~b")).unwrap(), ["a/~b"]);
    }

    #[test]
    fn settings_give_one_pointer_or_a_list() {
        let read = serde_json::from_str::<Pointers>;
        assert_eq!(read(r#""/id""#).unwrap(), read(r#"["/id"]"#).unwrap());
        assert_eq!(read("[]").unwrap(), Pointers::default());
        assert!(read(r#"["/id","id"]"#).unwrap_err().to_string().contains("begins with `/`"));
        assert!(read("7").unwrap_err().to_string().contains("a JSON pointer such as"));
    }
}
