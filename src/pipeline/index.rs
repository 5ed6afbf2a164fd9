//! The in-memory index of one lane: the last tracking record of each order in the lane's partition, in compact form.
//!
//! An order takes less than 50 bytes. The key's text, which would be most of it, is replaced by a hash, and read ID and
//! content hash are shortened to what tells one from another. Orders lie in the order of their arrival, which is about
//! the order of a list too. The hash table, which needs spare capacity, holds only their places.

pub mod diff;
mod slots;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

use crate::avro::event::{ContentHash, Reason, Revision};
use crate::avro::tracking::{OrderTracking, TrackingEntry};
use crate::order::ids::{OrderIds, ReadId, StoreName};
use slots::{Place, Slots};

pub use crate::avro::tracking::OrderState;
pub use diff::Diff;

/// What the index holds of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Revision of its last event, if it has one.
    pub revision: Option<Revision>,
    pub state: OrderState,
    /// Why its last event was published, or was tried.
    pub reason: Reason,
    /// The read that brought it.
    pub read: ReadMark,
    /// Its content hash, for comparison only.
    pub content: ContentMark,
    /// When it was published. For an order that was fetched by its ID, when its pass began to fetch, which is earlier:
    /// a page that was read before then is older than what was fetched.
    pub at: Millis48,
}

/// 48 random bits of a read ID: enough to tell an order's last read from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark([u8; 6]);

impl From<ReadId> for ReadMark {
    fn from(id: ReadId) -> Self {
        Self(six_bytes(id.as_uuid().as_u64_pair().1))
    }
}

/// 48 bits of a content hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentMark([u8; 6]);

impl From<ContentHash> for ContentMark {
    fn from(hash: ContentHash) -> Self {
        Self(six_bytes(hash.first_half()))
    }
}

/// Milliseconds since 1970 in 48 bits, up to the year 10889.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis48([u8; 6]);

impl Millis48 {
    /// Clamps values out of range.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(six_bytes(millis.clamp(0, (1 << 48) - 1).unsigned_abs()))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.0.iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte))
    }
}

impl From<Timestamp> for Millis48 {
    fn from(at: Timestamp) -> Self {
        Self::from_millis(at.as_millisecond())
    }
}

/// The lower six bytes, most significant first.
fn six_bytes(number: u64) -> [u8; 6] {
    let [_, _, bytes @ ..] = number.to_be_bytes();
    bytes
}

impl From<&OrderTracking> for IndexEntry {
    fn from(tracking: &OrderTracking) -> Self {
        TrackingEntry::from(tracking).into()
    }
}

impl From<TrackingEntry> for IndexEntry {
    fn from(tracking: TrackingEntry) -> Self {
        let fetched_from = match tracking.reason {
            Reason::Reconciled | Reason::Updated | Reason::Republished => tracking.read_id.millis(),
            _ => None,
        };
        Self {
            revision: tracking.revision,
            state: tracking.state,
            reason: tracking.reason,
            read: tracking.read_id.into(),
            content: tracking.content_hash.map_or(ContentMark([0; 6]), ContentMark::from),
            at: Millis48::from_millis(fetched_from.unwrap_or(tracking.published_at)),
        }
    }
}

/// 96 bits of a hash of the key's text. The chance that two of a million orders share them is 10^-17, far below that of
/// a broken disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 12]);

impl Fingerprint {
    /// `key`: the Kafka key of an order's tracking record.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        let [_, _, _, _, bytes @ ..] = xxh3_128(key).to_be_bytes();
        Self(bytes)
    }

    /// The table's hash: the key is a hash already.
    fn hash(self) -> u64 {
        let [_, _, _, _, half @ ..] = self.0;
        u64::from_be_bytes(half)
    }
}

/// An entry without padding.
#[derive(Debug, Clone, Copy)]
struct Packed {
    revision: [u8; 4],
    state: OrderState,
    reason: Reason,
    read: ReadMark,
    content: ContentMark,
    at: Millis48,
}

impl From<IndexEntry> for Packed {
    fn from(IndexEntry { revision, state, reason, read, content, at }: IndexEntry) -> Self {
        Self { revision: revision.map_or(0, i32::from).to_be_bytes(), state, reason, read, content, at }
    }
}

impl From<Packed> for IndexEntry {
    fn from(Packed { revision, state, reason, read, content, at }: Packed) -> Self {
        // A revision is never 0, so 0 stands for none.
        let revision = Revision::try_from(i32::from_be_bytes(revision)).ok();
        Self { revision, state, reason, read, content, at }
    }
}

/// An order and its entry.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: Fingerprint,
    entry: Packed,
}

/// A tracking record in compact form.
#[derive(Debug, Clone, Copy)]
pub struct IndexUpdate {
    key: Fingerprint,
    entry: Option<Packed>,
}

impl IndexUpdate {
    /// `key`: the Kafka key of the record. `None` for the entry is a tombstone.
    #[must_use]
    pub fn new(key: &[u8], entry: Option<IndexEntry>) -> Self {
        Self::at(Fingerprint::of(key), entry)
    }

    /// The same, where the key's fingerprint is at hand.
    #[must_use]
    pub fn at(key: Fingerprint, entry: Option<IndexEntry>) -> Self {
        Self { key, entry: entry.map(Packed::from) }
    }
}

/// The index of one lane.
#[derive(Debug, Default)]
pub struct Index {
    table: HashTable<Place>,
    slots: Slots,
}

impl Index {
    #[must_use]
    pub fn get(&self, key: Fingerprint) -> Option<IndexEntry> {
        self.find(key).map(|slot| slot.entry.into())
    }

    // Inlined on purpose: as a separate call each look-up would wait for the one before it.
    #[inline(always)]
    fn find(&self, key: Fingerprint) -> Option<&Slot> {
        let Self { table, slots } = self;
        let place = table.find(key.hash(), |place| slots[*place].key == key)?;
        Some(&slots[*place])
    }

    /// The state of each order of a store, in the order of the list; `None` for an unknown order.
    ///
    /// All keys are hashed before the first look-up: look-ups close together wait for memory in parallel.
    #[must_use]
    pub fn states(&self, store: &StoreName, ids: &OrderIds) -> Vec<Option<OrderState>> {
        self.look_up(store, ids, |slot| slot.entry.state)
    }

    /// Like [`Self::states`], for whole entries.
    #[must_use]
    pub fn entries(&self, store: &StoreName, ids: &OrderIds) -> Vec<Option<IndexEntry>> {
        self.look_up(store, ids, |slot| slot.entry.into())
    }

    #[inline]
    fn look_up<T>(&self, store: &StoreName, ids: &OrderIds, what: impl Fn(&Slot) -> T) -> Vec<Option<T>> {
        let mut key = format!("{store}/").into_bytes();
        let prefix = key.len();
        let hashed = ids.iter().map(|id| {
            key.truncate(prefix);
            key.extend_from_slice(id.as_str().as_bytes());
            Fingerprint::of(&key)
        });
        let keys: Vec<Fingerprint> = hashed.collect();
        keys.into_iter().map(|key| self.find(key).map(&what)).collect()
    }

    /// Applies a tracking record.
    pub fn apply(&mut self, IndexUpdate { key, entry }: IndexUpdate) {
        match entry {
            Some(entry) => self.remember(Slot { key, entry }),
            None => self.forget(key),
        }
    }

    fn remember(&mut self, slot: Slot) {
        if self.table.len() == self.table.capacity() {
            self.grow();
        }
        let Self { table, slots } = self;
        let same = |place: &Place| slots[*place].key == slot.key;
        match table.entry(slot.key.hash(), same, |place| slots[*place].key.hash()) {
            TableEntry::Occupied(known) => slots[*known.get()] = slot,
            TableEntry::Vacant(vacant) => {
                vacant.insert(slots.push(slot));
            }
        }
    }

    /// Doubles the table, inserting slot after slot. The table's own growth would look up each slot in the order of the
    /// hashes.
    fn grow(&mut self) {
        // Drop the old table first: the new one can reuse its memory.
        self.table = HashTable::new();
        self.table = HashTable::with_capacity(2 * self.slots.len().max(8));
        for (place, slot) in self.slots.iter() {
            self.table.insert_unique(slot.key.hash(), place, |place| self.slots[*place].key.hash());
        }
    }

    fn forget(&mut self, key: Fingerprint) {
        let Self { table, slots } = self;
        let Ok(known) = table.find_entry(key.hash(), |place| slots[*place].key == key) else { return };
        let (gap, _) = known.remove();
        let Some((last, moved)) = slots.pop() else { return };
        // If the removed slot was the last one, the table no longer knows it.
        if let Some(place) = table.find_mut(moved.key.hash(), |place| *place == last) {
            *place = gap;
            slots[gap] = moved;
        }
    }

    /// Number of orders whose last event was brought by one of these reads or reconciler passes.
    #[must_use]
    pub fn brought_by(&self, reads: &[ReadId]) -> u64 {
        let marks: Vec<ReadMark> = reads.iter().map(|read| ReadMark::from(*read)).collect();
        if marks.is_empty() {
            return 0;
        }
        self.slots.iter().filter(|(_, slot)| marks.contains(&slot.entry.read)).count() as u64
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::order::ids::{OrderId, OrderKey};

    fn entry() -> IndexEntry {
        IndexEntry {
            revision: Some(Revision::FIRST),
            state: OrderState::Published,
            reason: Reason::Drained,
            read: ReadId::fresh().into(),
            content: ContentHash::of_bytes(b"x").into(),
            at: Millis48::from_millis(1_764_000_000_123),
        }
    }

    #[test]
    fn a_tombstone_forgets_the_order() {
        let (mut index, entry) = (Index::default(), entry());
        index.apply(IndexUpdate::new(b"bogota/1", Some(entry)));
        assert_eq!((index.get(Fingerprint::of(b"bogota/1")), index.len()), (Some(entry), 1));
        index.apply(IndexUpdate::new(b"bogota/1", None));
        assert_eq!((index.get(Fingerprint::of(b"bogota/1")), index.is_empty()), (None, true));
    }

    #[test]
    fn of_many_orders_each_has_the_state_that_it_has_alone() {
        let mut index = Index::default();
        for number in 0..500 {
            let state = [OrderState::Published, OrderState::DeadLettered, OrderState::Gone][number % 3];
            index.apply(IndexUpdate::new(
                format!("bogota/{}", number * 2).as_bytes(),
                Some(IndexEntry { state, ..entry() }),
            ));
        }
        let store: StoreName = "bogota".parse().unwrap();
        let listed: Vec<OrderId> = (0..1000).rev().map(|number| number.to_string().parse().unwrap()).collect();
        let alone =
            |id: &OrderId| index.get(Fingerprint::of(OrderKey::text(&store, id).as_bytes())).map(|entry| entry.state);
        let expected: Vec<_> = listed.iter().map(alone).collect();
        assert_eq!(expected.iter().flatten().count(), 500);
        let listed: OrderIds = listed.into_iter().collect();
        assert_eq!(index.states(&store, &listed), expected);
        assert!(index.states(&"quito".parse().unwrap(), &listed).iter().all(Option::is_none));
    }

    #[test]
    fn an_entry_survives_its_packing() {
        for entry in [entry(), IndexEntry { revision: None, state: OrderState::Gone, ..entry() }] {
            assert_eq!(IndexEntry::from(Packed::from(entry)), entry);
        }
        assert_eq!(entry().at.millis(), 1_764_000_000_123);
        assert_eq!(Millis48::from_millis(-1).millis(), 0);
    }

    #[test]
    fn what_is_remembered_and_forgotten_in_any_order_is_as_a_map_has_it() {
        proptest!(|(steps in prop::collection::vec((0..40_u8, any::<Option<i32>>()), 0..400))| {
            let (mut index, mut map) = (Index::default(), HashMap::new());
            for (key, revision) in steps {
                let entry = revision.map(|number| IndexEntry { revision: Revision::try_from(number).ok(), ..entry() });
                index.apply(IndexUpdate::new(&[key], entry));
                match entry {
                    Some(entry) => map.insert(key, entry),
                    None => map.remove(&key),
                };
                let known: HashMap<u8, IndexEntry> = (0..40).filter_map(|key| Some((key, index.get(Fingerprint::of(&[key]))?))).collect();
                prop_assert_eq!((&known, index.len()), (&map, map.len()));
            }
        });
    }

    #[test]
    fn an_order_takes_less_than_50_bytes_whatever_their_number() {
        let (mut index, entry) = (Index::default(), entry());
        let mut worst = 0;
        for number in 1..=1_000_000_usize {
            let before = index.table.allocation_size();
            index.apply(IndexUpdate::new(format!("bogota/{number}").as_bytes(), Some(entry)));
            let table = index.table.allocation_size();
            // With few orders the spare room of the last chunk would dominate.
            if number >= 20_000 && (table != before || number.is_multiple_of(1_000)) {
                worst = worst.max((table + index.slots.allocation_size()) / number);
            }
        }
        assert!((36..50).contains(&worst), "{worst} bytes an order at worst");
    }
}
