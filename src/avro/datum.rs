//! Encodes Avro's binary format, as far as our schemas need it: values one after the other, in the order of the fields.
//!
//! The library looks up every field in its schema while it writes, which took longer than parsing the order's JSON.
//! Tests compare this encoder with the library, for each record and every field.

use crate::avro::framing::Frame;

/// Builds a message.
pub(crate) struct Datum(Vec<u8>);

impl Datum {
    /// Starts a message with its frame.
    pub(crate) fn framed(frame: Frame) -> Self {
        let mut message = Vec::with_capacity(1024);
        frame.write(&mut message);
        Self(message)
    }

    pub(crate) fn into_message(self) -> Vec<u8> {
        self.0
    }

    /// Writes an `int`, a `long`, or the index of an enum's symbol or a union's branch, as a zigzag varint.
    pub(crate) fn number(&mut self, number: impl Into<i64>) {
        let number = number.into();
        let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Writes a union of `null` and another type.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(i64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn texts<const N: usize>(&mut self, texts: [Option<&str>; N]) {
        texts.into_iter().for_each(|text| self.optional(text, Self::text));
    }

    /// Writes an array: one block with all items, if there are any, and the empty block that ends it.
    pub(crate) fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        if !items.is_empty() {
            self.length(items.len());
            items.iter().for_each(|item| write(self, item));
        }
        self.number(0);
    }

    fn length(&mut self, length: usize) {
        self.number(i64::try_from(length).expect("memory ends before 2^63 bytes"));
    }
}
