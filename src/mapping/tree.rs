//! A record whose fields are taken out one by one, so that what nobody took is known at the end.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Fault;
use crate::json::{Entries, Kind};

/// An object or a list, opened as far as pointers led into it.
pub(super) struct Tree<'a> {
    list: bool,
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    key: Cow<'a, str>,
    raw: &'a RawValue,
    inside: Option<Tree<'a>>,
    taken: bool,
}

impl<'a> Tree<'a> {
    /// Opens an object or a list by one level; `None` for anything else.
    pub(super) fn open(raw: &'a RawValue) -> Result<Option<Self>, Fault> {
        let (list, entries) = match Kind::of(raw) {
            Kind::Object => (false, Entries::of(raw)),
            Kind::List => (true, Entries::of_list(raw)),
            _ => return Ok(None),
        };
        let entries = entries.ok_or(Fault::from("a key in the object is not Unicode text"))?;
        let fields = entries.0.into_iter().map(|(key, raw)| Field { key, raw, inside: None, taken: false }).collect();
        Ok(Some(Self { list, fields }))
    }

    /// Takes what stands at the end of the path. It is read from its own text, so taking twice gives the same.
    pub(super) fn take(&mut self, path: &[String]) -> Result<Option<&'a RawValue>, Fault> {
        let Some((key, rest)) = path.split_first() else { return Ok(None) };
        let mut same = self.fields.iter_mut().filter(|field| field.key == *key);
        let Some(field) = same.next() else { return Ok(None) };
        if same.next().is_some() {
            return Err(Fault::from("the key stands more than once in its object"));
        }
        if rest.is_empty() {
            field.taken = true;
            return Ok(Some(field.raw));
        }
        if field.inside.is_none() {
            field.inside = Self::open(field.raw)?;
        }
        field.inside.as_mut().map_or(Ok(None), |inside| inside.take(rest))
    }

    /// What was not taken, with the structure around it, as JSON text; `None` if nothing is left.
    pub(super) fn leftovers(&self) -> Option<String> {
        let mut json = String::with_capacity(256);
        (!self.fields.is_empty() && self.write_leftovers(&mut json)).then_some(json)
    }

    /// Appends what was not taken, or nothing at all: then it returns `false`.
    fn write_leftovers(&self, json: &mut String) -> bool {
        let start = json.len();
        json.push(if self.list { '[' } else { '{' });
        // What was empty when it came is kept as it came.
        let mut any = self.fields.is_empty();
        let mut comma = "";
        for field in &self.fields {
            let before = json.len();
            json.push_str(comma);
            if !self.list {
                field.write_key(json);
            }
            if field.write_leftovers(json) {
                any = true;
            } else if self.list {
                // The others in a list keep their places.
                json.push_str("null");
            } else {
                json.truncate(before);
                continue;
            }
            comma = ",";
        }
        json.push(if self.list { ']' } else { '}' });
        if !any {
            json.truncate(start);
        }
        any
    }
}

impl Field<'_> {
    fn write_key(&self, json: &mut String) {
        // Nearly every key is written as it is read; to ask the serialiser cost a third of the mapping's time.
        if self.key.bytes().any(|c| matches!(c, b'"' | b'\\' | ..b' ')) {
            json.push_str(&serde_json::Value::from(self.key.as_ref()).to_string());
        } else {
            json.extend(["\"", &self.key, "\""]);
        }
        json.push(':');
    }

    fn write_leftovers(&self, json: &mut String) -> bool {
        match &self.inside {
            _ if self.taken => false,
            Some(inside) => inside.write_leftovers(json),
            None => {
                json.push_str(self.raw.get());
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(json: &str, paths: &[&[&str]]) -> Option<String> {
        let raw: &RawValue = serde_json::from_str(json).unwrap();
        let mut tree = Tree::open(raw).unwrap().unwrap();
        for path in paths {
            let path: Vec<_> = path.iter().map(|&key| String::from(key)).collect();
            tree.take(&path).unwrap();
        }
        tree.leftovers()
    }

    #[test]
    fn what_is_left_keeps_its_structure_its_order_and_its_text() {
        let json = r#"{"z":1.50,"order":{"id":7,"a":{"b":1,"c":[ 2e5 ]},"x":"\u00f1"},"k\"ey":null}"#;
        let expected = r#"{"z":1.50,"order":{"a":{"c":[ 2e5 ]},"x":"\u00f1"},"k\"ey":null}"#;
        assert_eq!(left(json, &[&["order", "id"], &["order", "a", "b"]]).as_deref(), Some(expected));
    }

    #[test]
    fn nothing_is_left_when_all_is_taken() {
        assert_eq!(left(r#"{"order":{"id":7,"a":{"b":1}}}"#, &[&["order", "id"], &["order", "a", "b"]]), None);
        assert_eq!(left("{}", &[&["order"]]), None);
    }

    #[test]
    fn what_came_empty_and_untaken_is_left_though_a_pointer_led_into_it() {
        assert_eq!(left(r#"{"order":{},"id":1}"#, &[&["order", "id"], &["id"]]).as_deref(), Some(r#"{"order":{}}"#));
    }

    #[test]
    fn a_pointer_leads_into_a_list_and_the_rest_of_the_list_keeps_its_places() {
        let json = r#"{"pay":[{"a":1},{"a":2,"b":3},4]}"#;
        assert_eq!(
            left(json, &[&["pay", "0", "a"], &["pay", "1", "a"]]).as_deref(),
            Some(r#"{"pay":[null,{"b":3},4]}"#)
        );
        assert_eq!(left(r#"{"pay":[1]}"#, &[&["pay", "0"]]), None);
    }

    #[test]
    fn a_key_that_stands_twice_is_a_fault_where_it_is_wanted_and_left_as_it_came_elsewhere() {
        let raw: &RawValue = serde_json::from_str(r#"{"id":1,"id":2}"#).unwrap();
        assert!(Tree::open(raw).unwrap().unwrap().take(&["id".into()]).is_err());
        assert_eq!(left(r#"{"a":1,"b":1,"b":2}"#, &[&["a"]]).as_deref(), Some(r#"{"b":1,"b":2}"#));
    }
}
