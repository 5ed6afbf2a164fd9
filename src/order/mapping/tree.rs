//! A record whose fields are taken out one by one, so that the untaken ones are known at the end.

use super::Fault;
use super::pointer::Step;
use crate::order::json::{Item, Kind, Raw};

/// A JSON value in a record, with all nested values.
#[derive(Clone, Copy)]
pub(super) struct Found<'o, 'a>(&'o [Item<'a>]);

impl<'o, 'a> Found<'o, 'a> {
    /// `items` holds the value and its nested values, so it is never empty.
    pub(super) fn new(items: &'o [Item<'a>]) -> Self {
        Self(items)
    }

    pub(super) fn raw(self) -> Raw<'a> {
        self.0[0].raw
    }

    pub(super) fn kind(self) -> Kind {
        Kind::of(self.raw())
    }

    /// The key, if the value is in an object.
    pub(super) fn key(self) -> Option<&'o str> {
        self.0[0].key.as_deref()
    }

    /// The direct children of a list or an object.
    pub(super) fn inside(self) -> impl Iterator<Item = Self> {
        Item::inside(self.0).map(|(_, items)| Self(items))
    }

    /// Whether every key of an object is Unicode text.
    pub(super) fn has_readable_keys(self) -> bool {
        !self.0[0].unreadable
    }

    /// The child under a key of an object or at an index of a list, and its offset in items.
    fn at(self, step: &Step) -> Result<Option<(usize, Self)>, Fault> {
        if self.kind() == Kind::List {
            let place = step.name.parse::<usize>().ok().filter(|place| place.to_string() == step.name);
            return Ok(place.and_then(|place| Item::inside(self.0).nth(place)).map(|(far, items)| (far, Self(items))));
        }
        let is_there =
            |items: &[Item<'_>]| items[0].key_bit == step.key_bit && items[0].key.as_deref() == Some(&step.name);
        let mut same = Item::inside(self.0).filter(|(_, items)| is_there(items));
        let found = same.next();
        if same.next().is_some() {
            return Err(Fault::from("the key stands more than once in its object"));
        }
        Ok(found.map(|(far, items)| (far, Self(items))))
    }

    /// The bits of all keys of an object. An index of a list may always be there.
    fn key_bits(self) -> u64 {
        if self.kind() == Kind::List {
            return u64::MAX;
        }
        Item::inside(self.0).fold(0, |bits, (_, items)| bits | items[0].key_bit)
    }
}

/// An object or a list, with a record of which values were taken. Two trees of the same value are independent: one
/// value can feed two fields.
pub(super) struct Tree<'o, 'a> {
    root: Found<'o, 'a>,
    /// One mark for each item.
    marks: Vec<Mark>,
    /// The [`Found::key_bits`] of what pointers led into, by place.
    key_bits: Vec<(usize, u64)>,
}

/// What happened to an item.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// No pointer led here.
    Left,
    /// A pointer led to something inside it.
    Opened,
    /// It was taken with all nested values.
    Taken,
}

impl<'o, 'a> Tree<'o, 'a> {
    /// Opens an object or a list.
    pub(super) fn open(root: Found<'o, 'a>) -> Result<Self, Fault> {
        open(root)?;
        Ok(Self { root, marks: vec![Mark::Left; root.0.len()], key_bits: Vec::with_capacity(2) })
    }

    /// Finds the value at the path, and its index for [`Tree::take`].
    pub(super) fn find(&mut self, path: &[Step]) -> Result<Option<(usize, Found<'o, 'a>)>, Fault> {
        let Some((last, way)) = path.split_last() else { return Ok(None) };
        let (mut place, mut found) = (0, self.root);
        for step in way {
            let Some((far, next)) = self.child(place, found, step)? else { return Ok(None) };
            if !matches!(next.kind(), Kind::Object | Kind::List) {
                return Ok(None);
            }
            open(next)?;
            (place, found) = (place + far, next);
            self.mark(place, Mark::Opened);
        }
        Ok(self.child(place, found, last)?.map(|(far, found)| (place + far, found)))
    }

    /// The child of the value at `place`, and its offset in items. Some hundred pointers are tried for each order, and
    /// most find nothing: only for those that may find something is it worth to look at all keys.
    fn child(
        &mut self,
        place: usize,
        value: Found<'o, 'a>,
        step: &Step,
    ) -> Result<Option<(usize, Found<'o, 'a>)>, Fault> {
        let known = self.key_bits.iter().find(|(of, _)| *of == place).map(|(_, bits)| *bits);
        let bits = known.unwrap_or_else(|| {
            let bits = value.key_bits();
            self.key_bits.push((place, bits));
            bits
        });
        if bits & step.key_bit == 0 { Ok(None) } else { value.at(step) }
    }

    /// Takes the value at `place`, so that it is not among the leftovers. Idempotent.
    pub(super) fn take(&mut self, place: usize) {
        self.mark(place, Mark::Taken);
    }

    fn mark(&mut self, place: usize, mark: Mark) {
        self.marks[place] = self.marks[place].max(mark);
    }

    /// The untaken values, with the structure around them, as JSON text; `None` if nothing is left.
    pub(super) fn leftovers(&self) -> Option<String> {
        let mut json = String::with_capacity(256);
        (self.root.0.len() > 1 && self.write_inside(0, self.root, &mut json)).then_some(json)
    }

    /// Appends the untaken values of an opened value. Returns false, and appends nothing, if none is left.
    fn write_inside(&self, place: usize, opened: Found<'_, '_>, json: &mut String) -> bool {
        let start = json.len();
        let list = opened.kind() == Kind::List;
        json.push(if list { '[' } else { '{' });
        // An object or list that came empty is kept.
        let mut any = opened.0.len() == 1;
        let mut comma = "";
        for (far, items) in Item::inside(opened.0) {
            let before = json.len();
            json.push_str(comma);
            if !list {
                write_key(items[0].key.as_deref().unwrap_or_default(), json);
            }
            if self.write(place + far, Found(items), json) {
                any = true;
            } else if list {
                // Keeps the indices of the other elements.
                json.push_str("null");
            } else {
                json.truncate(before);
                continue;
            }
            comma = ",";
        }
        json.push(if list { ']' } else { '}' });
        if !any {
            json.truncate(start);
        }
        any
    }

    fn write(&self, place: usize, found: Found<'_, '_>, json: &mut String) -> bool {
        match self.marks[place] {
            Mark::Taken => false,
            Mark::Opened => self.write_inside(place, found, json),
            Mark::Left => {
                json.push_str(found.raw().get());
                true
            }
        }
    }
}

fn open(value: Found<'_, '_>) -> Result<(), Fault> {
    if value.has_readable_keys() { Ok(()) } else { Err("a key in the object is not Unicode text".into()) }
}

fn write_key(key: &str, json: &mut String) {
    // Nearly every key needs no escaping, and calling the serialiser for each took a third of the mapping's time.
    if key.bytes().any(|c| matches!(c, b'"' | b'\\' | ..b' ')) {
        json.push_str(&serde_json::Value::from(key).to_string());
    } else {
        json.extend(["\"", key, "\""]);
    }
    json.push(':');
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::order::json::Outline;

    fn outline(json: &str) -> Outline<'_> {
        Outline::of(serde_json::from_str::<&RawValue>(json).unwrap().into())
    }

    fn left(json: &str, paths: &[&[&str]]) -> Option<String> {
        let outline = outline(json);
        let mut tree = Tree::open(Found(outline.items())).unwrap();
        for path in paths {
            let path: Vec<_> = path.iter().map(|&key| Step::from(String::from(key))).collect();
            if let Some((place, _)) = tree.find(&path).unwrap() {
                tree.take(place);
            }
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
        let outline = outline(r#"{"id":1,"id":2}"#);
        assert!(Tree::open(Found(outline.items())).unwrap().find(&[String::from("id").into()]).is_err());
        assert_eq!(left(r#"{"a":1,"b":1,"b":2}"#, &[&["a"]]).as_deref(), Some(r#"{"b":1,"b":2}"#));
    }
}
