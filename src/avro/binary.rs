//! Writes and reads Avro's binary format, as far as our schemas need it: values one after the other, in the order of the
//! fields.
//!
//! The library looks up every field in its schema while it writes, which took longer than parsing the order's JSON; and
//! there may be a million tracking records to read at a start. Tests compare both with the library, for each record and
//! every field.

use crate::avro::framing::Frame;

/// Builds a message.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Starts a message with its frame. `capacity`: what most messages of its kind fit in.
    pub(crate) fn framed(frame: Frame, capacity: usize) -> Self {
        let mut message = Vec::with_capacity(capacity);
        frame.write(&mut message);
        Self(message)
    }

    /// Starts a part of a message.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
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

    /// Appends fields that were written before.
    pub(crate) fn written(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
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

    pub(crate) fn texts<const N: usize>(&mut self, texts: [&Option<String>; N]) {
        texts.into_iter().for_each(|text| self.optional(text.as_deref(), Self::text));
    }

    /// Writes an array: one block with all items, if there are any, and the empty block that ends it.
    pub(crate) fn list<T, E>(&mut self, items: &[T], write: impl Fn(&mut Self, &T) -> Result<(), E>) -> Result<(), E> {
        if !items.is_empty() {
            self.length(items.len());
            items.iter().try_for_each(|item| write(self, item))?;
        }
        self.number(0);
        Ok(())
    }

    fn length(&mut self, length: usize) {
        self.number(i64::try_from(length).expect("memory ends before 2^63 bytes"));
    }
}

/// Reads values in the order of a record's fields. `None` where they end early or are malformed.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn of(datum: &'a [u8]) -> Self {
        Self(datum)
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a zigzag varint.
    pub(crate) fn long(&mut self) -> Option<i64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            // The tenth byte has only one significant bit.
            if shift == 63 && *byte > 1 {
                return None;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        None
    }

    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    /// Reads a union of null and another type.
    pub(crate) fn optional<T>(&mut self, something: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.long()? {
            0 => Some(None),
            1 => something(self).map(Some),
            _ => None,
        }
    }
}
