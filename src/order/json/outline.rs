//! The positions of all values of a JSON text, found in one pass. A record has some sixty values; opening its objects
//! one by one with the parser took as long as the rest of the work on it.

use std::borrow::Cow;

use super::Raw;

/// A JSON value and all nested values, in text order; the outermost value comes first.
pub(crate) struct Outline<'a>(Vec<Item<'a>>);

/// One JSON value.
pub(crate) struct Item<'a> {
    /// The key, if the value is in an object and the key is Unicode text.
    pub(crate) key: Option<Cow<'a, str>>,
    /// The key's [`key_bit`]; no bit is set where there is no key.
    pub(crate) key_bit: u64,
    /// The text of the value.
    pub(crate) raw: Raw<'a>,
    /// How many items the value takes up, itself and all nested ones: the next sibling is this many items further on.
    size: usize,
    /// Whether this is an object with a key that is not Unicode text.
    pub(crate) unreadable: bool,
}

/// One bit of 64, chosen by a key's length and some of its letters. The bits of all keys of an object tell at once that
/// most other keys are not there.
pub(crate) fn key_bit(key: &str) -> u64 {
    let letters = key.as_bytes();
    let letter = |at: usize| letters.get(at).map_or(0, |letter| u32::from(*letter));
    let (middle, last) = (letter(letters.len() / 2), letter(letters.len().wrapping_sub(1)));
    let mixed = letter(0) ^ middle << 8 ^ last << 16 ^ (letters.len() as u32) << 24;
    1 << (mixed.wrapping_mul(0x9e37_79b1) >> 26)
}

impl<'a> Outline<'a> {
    pub(crate) fn of(raw: Raw<'a>) -> Self {
        let text = raw.get();
        let mut scan = Scan { text, items: Vec::with_capacity(96), open: Vec::with_capacity(8), key: Key::None };
        let mut at = 0;
        while let Some(byte) = text.as_bytes().get(at) {
            at = scan.step(*byte, at);
        }
        Self(scan.items)
    }

    pub(crate) fn items(&self) -> &[Item<'a>] {
        &self.0
    }
}

impl<'a> Item<'a> {
    /// The direct children of the first item, each with its nested items and its index in `items`.
    pub(crate) fn inside(items: &[Self]) -> impl Iterator<Item = (usize, &[Self])> {
        let mut at = 1;
        std::iter::from_fn(move || {
            let place = at;
            let rest = items.get(place..)?;
            let item = rest.get(..rest.first()?.size)?;
            at += item.len();
            Some((place, item))
        })
    }
}

/// The state of the key of the next value.
enum Key<'a> {
    /// No key: the value is in a list or at the top, or the key has not been reached.
    None,
    /// The next string is a key.
    Next,
    Read(Option<Cow<'a, str>>),
}

struct Scan<'a> {
    text: &'a str,
    items: Vec<Item<'a>>,
    /// The lists and objects not yet closed: index of the item, and start of its text.
    open: Vec<(usize, usize)>,
    key: Key<'a>,
}

impl<'a> Scan<'a> {
    /// Consumes the token at `at`, and returns where the next one begins.
    fn step(&mut self, byte: u8, at: usize) -> usize {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' | b':' => at + 1,
            b',' => {
                let in_object = self.open.last().is_some_and(|(_, start)| self.text.as_bytes()[*start] == b'{');
                self.key = if in_object { Key::Next } else { Key::None };
                at + 1
            }
            b'{' | b'[' => {
                self.open.push((self.items.len(), at));
                self.push(at, at + 1);
                self.key = if byte == b'{' { Key::Next } else { Key::None };
                at + 1
            }
            b'}' | b']' => {
                self.close(at + 1);
                at + 1
            }
            b'"' if matches!(self.key, Key::Next) => {
                let end = self.end_of_string(at);
                let key = super::text(Raw(&self.text[at..end]));
                if key.is_none()
                    && let Some((item, _)) = self.open.last()
                {
                    self.items[*item].unreadable = true;
                }
                self.key = Key::Read(key);
                end
            }
            b'"' => {
                let end = self.end_of_string(at);
                self.push(at, end);
                end
            }
            _ => {
                let rest = &self.text.as_bytes()[at..];
                let length = rest.iter().position(|c| matches!(c, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
                let end = length.map_or(self.text.len(), |length| at + length);
                self.push(at, end);
                end
            }
        }
    }

    fn push(&mut self, start: usize, end: usize) {
        let key = match std::mem::replace(&mut self.key, Key::None) {
            Key::Read(key) => key,
            Key::None | Key::Next => None,
        };
        let key_bit = key.as_deref().map_or(0, key_bit);
        self.items.push(Item { key, key_bit, raw: Raw(&self.text[start..end]), size: 1, unreadable: false });
    }

    fn close(&mut self, end: usize) {
        self.key = Key::None;
        if let Some((item, start)) = self.open.pop() {
            let size = self.items.len() - item;
            let item = &mut self.items[item];
            item.raw = Raw(&self.text[start..end]);
            item.size = size;
        }
    }

    /// The position after the string that begins at `start`.
    fn end_of_string(&self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => return at + 1,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn outline(json: &str) -> Outline<'_> {
        Outline::of(serde_json::from_str::<&RawValue>(json).unwrap().into())
    }

    fn shown<'o>(items: &'o [Item<'_>]) -> Vec<(Option<&'o str>, &'o str)> {
        Item::inside(items).map(|(_, items)| (items[0].key.as_deref(), items[0].raw.get())).collect()
    }

    #[test]
    fn values_keep_their_order_their_text_and_their_keys() {
        let json = r#" {"b" : 1.50 ,"a":[ 1,{"c":"]\"}"} ],"b":null,"ni\u00f1o":{},"":"" } "#;
        let outline = outline(json.trim());
        let expected = [
            (Some("b"), "1.50"),
            (Some("a"), r#"[ 1,{"c":"]\"}"} ]"#),
            (Some("b"), "null"),
            (Some("niño"), "{}"),
            (Some(""), r#""""#),
        ];
        assert_eq!(shown(outline.items()), expected);
        let (far, list) = Item::inside(outline.items()).nth(1).unwrap();
        assert_eq!((far, shown(list)), (2, vec![(None, "1"), (None, r#"{"c":"]\"}"}"#)]));
    }

    #[test]
    fn a_key_that_is_no_unicode_text_makes_its_own_object_unreadable_and_no_other() {
        let outline = outline(r#"{"a":{"\ud83d":1},"b":{"\ud83d\ude00":["\ud83d"]}}"#);
        let unreadable: Vec<_> = outline.items().iter().map(|item| item.unreadable).collect();
        assert_eq!(unreadable, [false, true, false, false, false, false]);
    }

    #[test]
    fn no_nesting_is_too_deep() {
        let json = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(outline(&json).items().len(), 200_000);
    }
}
