//! What one lane has published, in memory: the tracking partition's last record for each order, made small.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_128;

use crate::event::{ContentHash, Revision};
use crate::ids::{OrderKey, ReadId};
use crate::tracking::OrderTracking;

pub use crate::tracking::OrderState as State;

/// What is remembered of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// That of its last event, if it has one.
    pub revision: Option<Revision>,
    /// Where it stands.
    pub state: State,
    /// The read that brought it.
    pub read: ReadMark,
    /// Its content, for comparison alone.
    pub content: ContentMark,
}

/// 64 random bits of a read ID: enough to tell an order's last read from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark(u64);

impl From<ReadId> for ReadMark {
    fn from(id: ReadId) -> Self {
        Self(id.as_uuid().as_u64_pair().1)
    }
}

/// 64 bits of a content hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentMark(u64);

impl From<ContentHash> for ContentMark {
    fn from(hash: ContentHash) -> Self {
        Self(hash.first_half())
    }
}

impl From<&OrderTracking> for Entry {
    fn from(tracking: &OrderTracking) -> Self {
        Self {
            revision: tracking.revision,
            state: tracking.state,
            read: tracking.read_id.into(),
            content: tracking.content_hash.map_or(ContentMark(0), ContentMark::from),
        }
    }
}

/// 128 bits of the key's text: the text itself would be most of the index, and a chance of 10^-26 that two of a million
/// orders share them is far below that of a broken disk.
type Fingerprint = u128;

/// The key is a hash already.
#[derive(Debug, Default)]
pub struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a uniform hash is a uniform hash")]
    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}

/// One lane's orders.
#[derive(Debug, Default)]
pub struct Index {
    entries: HashMap<Fingerprint, Entry, BuildHasherDefault<Unhashed>>,
}

impl Index {
    /// What is known of an order.
    #[must_use]
    pub fn get(&self, key: &OrderKey) -> Option<&Entry> {
        self.entries.get(&fingerprint(key.to_string().as_bytes()))
    }

    /// What is known of the order whose key reads like this.
    #[must_use]
    pub fn get_by_text(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(&fingerprint(key))
    }

    /// Takes over a tracking record, by its key as it stands in Kafka; `None` is a tombstone.
    pub fn apply(&mut self, key: &[u8], entry: Option<Entry>) {
        let fingerprint = fingerprint(key);
        match entry {
            Some(entry) => self.entries.insert(fingerprint, entry),
            None => self.entries.remove(&fingerprint),
        };
    }

    /// Orders known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no order is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn fingerprint(key: &[u8]) -> Fingerprint {
    xxh3_128(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_forgets_the_order() {
        let mut index = Index::default();
        let key = OrderKey { store: "bogota".parse().unwrap(), id: "1".parse().unwrap() };
        let entry = Entry {
            revision: Some(Revision::FIRST),
            state: State::Published,
            read: ReadId::fresh().into(),
            content: ContentHash::of_bytes(b"x").into(),
        };
        index.apply(key.to_string().as_bytes(), Some(entry));
        assert_eq!(index.get(&key), Some(&entry));
        index.apply(b"bogota/1", None);
        assert_eq!(index.get(&key), None);
    }
}
