//! Many order IDs in packed form. Lists of a hundred thousand are common, and a million must not take much memory.

use std::fmt;

use super::OrderId;

/// A list of order IDs. Each ID takes its text plus one byte; an [`OrderId`] of its own takes 48 bytes and more.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OrderIds {
    /// For each ID its length in one byte, followed by its text.
    packed: Vec<u8>,
    len: usize,
}

/// An ID borrowed from the list. [`OrderId::from`] makes an owned one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a>(&'a str);

impl OrderIds {
    pub fn push(&mut self, id: Listed<'_>) {
        let text = id.0.as_bytes();
        self.packed.push(u8::try_from(text.len()).expect("an order ID has at most 128 bytes"));
        self.packed.extend_from_slice(text);
        self.len += 1;
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The memory of the list in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.packed.capacity()
    }

    /// All IDs in insertion order.
    pub fn iter(&self) -> impl Iterator<Item = Listed<'_>> {
        let mut rest = self.packed.as_slice();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (text, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            Some(Listed(std::str::from_utf8(text).expect("it was text when it was pushed")))
        })
    }
}

impl<'a> Listed<'a> {
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

impl<'a> From<&'a OrderId> for Listed<'a> {
    fn from(id: &'a OrderId) -> Self {
        Self(id.as_str())
    }
}

impl From<Listed<'_>> for OrderId {
    fn from(id: Listed<'_>) -> Self {
        Self(id.0.into())
    }
}

impl FromIterator<OrderId> for OrderIds {
    fn from_iter<I: IntoIterator<Item = OrderId>>(ids: I) -> Self {
        let mut all = Self::default();
        ids.into_iter().for_each(|id| all.push((&id).into()));
        all
    }
}

/// Shows only the number of IDs: there may be a million.
impl fmt::Debug for OrderIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderIds({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_out_as_they_went_in() {
        let texts = ["7", "A/7 ñ", &"x".repeat(128)];
        let ids: OrderIds = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(ids.iter().map(Listed::as_str).collect::<Vec<_>>(), texts);
        assert_eq!(ids.iter().map(OrderId::from).collect::<OrderIds>(), ids);
        assert_eq!((ids.len(), OrderIds::default().len()), (3, 0));
    }
}
