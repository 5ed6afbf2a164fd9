//! What one lane has published, in memory: the tracking partition's last record for each order, made small.
//!
//! An order takes about 60 bytes, whatever their number: the key's text, which would be most of it, is a hash here, and of
//! read ID and content there is as much as tells one from another.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

use crate::event::{ContentHash, Reason, Revision};
use crate::ids::{OrderIds, OrderKey, ReadId, StoreName};
use crate::tracking::{Brief, OrderTracking};

pub use crate::tracking::OrderState as State;

/// What is remembered of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// That of its last event, if it has one.
    pub revision: Option<Revision>,
    /// Where it stands.
    pub state: State,
    /// Why its last event was published, or was tried.
    pub reason: Reason,
    /// The read that brought it.
    pub read: ReadMark,
    /// Its content, for comparison alone.
    pub content: ContentMark,
    /// When it was published; of an order that was fetched by its ID, when its pass began to fetch, which is earlier:
    /// what a page says that was read before is no news.
    pub at: Moment,
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

/// Milliseconds since 1970, from then to the year 10889.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment([u8; 6]);

impl Moment {
    /// What lies outside is the nearest that does not.
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

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        Self::from_millis(at.as_millisecond())
    }
}

/// The lower ones, most significant first.
fn six_bytes(number: u64) -> [u8; 6] {
    let [_, _, bytes @ ..] = number.to_be_bytes();
    bytes
}

impl From<&OrderTracking> for Entry {
    fn from(tracking: &OrderTracking) -> Self {
        Brief::from(tracking).into()
    }
}

impl From<Brief> for Entry {
    fn from(tracking: Brief) -> Self {
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
            at: Moment::from_millis(fetched_from.unwrap_or(tracking.published_at)),
        }
    }
}

/// 96 bits of a hash of the key's text. That two of a million orders share them has a chance of 10^-17, far below that
/// of a broken disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint([u8; 12]);

impl Fingerprint {
    fn of(key: &[u8]) -> Self {
        let [_, _, _, _, bytes @ ..] = xxh3_128(key).to_be_bytes();
        Self(bytes)
    }

    /// Each shard gets a little more than the one before it, the last about twice as much as the first: so they grow one
    /// after the other. Of equal shares all would grow at about the same number of orders, and then be half empty.
    fn shard(self) -> usize {
        // From 0 up to, and without, the number of shards.
        ((1.0 + f64::from(self.share()) / 65_536.0).log2() * SHARDS as f64) as usize
    }

    /// Grows with the shard.
    fn share(self) -> u16 {
        let [first, second, ..] = self.0;
        u16::from_be_bytes([first, second])
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [_, _, _, _, half @ ..] = self.0;
        state.write_u64(u64::from_be_bytes(half));
    }
}

/// The key is a hash already.
#[derive(Debug, Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }
}

/// An entry without gaps between its parts.
#[derive(Debug, Clone, Copy)]
struct Packed {
    revision: [u8; 4],
    state: State,
    reason: Reason,
    read: ReadMark,
    content: ContentMark,
    at: Moment,
}

impl From<Entry> for Packed {
    fn from(Entry { revision, state, reason, read, content, at }: Entry) -> Self {
        Self { revision: revision.map_or(0, i32::from).to_be_bytes(), state, reason, read, content, at }
    }
}

impl From<Packed> for Entry {
    fn from(Packed { revision, state, reason, read, content, at }: Packed) -> Self {
        // A revision is never 0.
        let revision = Revision::try_from(i32::from_be_bytes(revision)).ok();
        Self { revision, state, reason, read, content, at }
    }
}

/// Each grows by itself, so that old and new table never stand side by side for more than a few orders.
const SHARDS: usize = 64;

type Shard = HashMap<Fingerprint, Packed, BuildHasherDefault<Unhashed>>;

/// One lane's orders.
#[derive(Debug)]
pub struct Index {
    shards: Vec<Shard>,
}

impl Default for Index {
    fn default() -> Self {
        Self { shards: vec![Shard::default(); SHARDS] }
    }
}

impl Index {
    /// What is known of an order.
    #[must_use]
    pub fn get(&self, key: &OrderKey) -> Option<Entry> {
        self.get_by_text(key.to_string().as_bytes())
    }

    /// What is known of the order whose key reads like this.
    #[must_use]
    pub fn get_by_text(&self, key: &[u8]) -> Option<Entry> {
        let key = Fingerprint::of(key);
        self.shards[key.shard()].get(&key).copied().map(Entry::from)
    }

    /// Where each of a store's orders stands, in the order of the list; `None` for one that is not known.
    ///
    /// They are looked up shard after shard: a million orders are more than a processor's cache holds, a shard's are not.
    #[must_use]
    pub fn states(&self, store: &StoreName, ids: &OrderIds) -> Vec<Option<State>> {
        let mut key = format!("{store}/").into_bytes();
        let prefix = key.len();
        let fingerprints = ids.iter().map(|id| {
            key.truncate(prefix);
            key.extend_from_slice(id.as_str().as_bytes());
            Fingerprint::of(&key)
        });
        let mut asked: Vec<(usize, Fingerprint)> = fingerprints.enumerate().collect();
        asked.sort_unstable_by_key(|(_, fingerprint)| fingerprint.share());
        let mut states = vec![None; asked.len()];
        for (place, fingerprint) in asked {
            states[place] = self.shards[fingerprint.shard()].get(&fingerprint).map(|entry| entry.state);
        }
        states
    }

    /// Takes over a tracking record, by its key as it stands in Kafka; `None` is a tombstone.
    pub fn apply(&mut self, key: &[u8], entry: Option<Entry>) {
        let key = Fingerprint::of(key);
        let shard = &mut self.shards[key.shard()];
        match entry {
            Some(entry) => shard.insert(key, entry.into()),
            None => shard.remove(&key),
        };
    }

    /// How many orders were last brought by one of these reads, or passes of the reconciler.
    #[must_use]
    pub fn brought_by(&self, reads: &[ReadId]) -> u64 {
        let marks: Vec<ReadMark> = reads.iter().map(|read| ReadMark::from(*read)).collect();
        if marks.is_empty() {
            return 0;
        }
        self.shards.iter().flat_map(HashMap::values).filter(|entry| marks.contains(&entry.read)).count() as u64
    }

    /// Orders known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }

    /// Whether no order is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(HashMap::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::OrderId;

    fn entry() -> Entry {
        Entry {
            revision: Some(Revision::FIRST),
            state: State::Published,
            reason: Reason::Drained,
            read: ReadId::fresh().into(),
            content: ContentHash::of_bytes(b"x").into(),
            at: Moment::from_millis(1_764_000_000_123),
        }
    }

    #[test]
    fn a_tombstone_forgets_the_order() {
        let (mut index, entry) = (Index::default(), entry());
        let key = OrderKey { store: "bogota".parse().unwrap(), id: "1".parse().unwrap() };
        index.apply(key.to_string().as_bytes(), Some(entry));
        assert_eq!((index.get(&key), index.len()), (Some(entry), 1));
        index.apply(b"bogota/1", None);
        assert_eq!((index.get(&key), index.is_empty()), (None, true));
    }

    #[test]
    fn of_many_orders_each_has_the_state_that_it_has_alone() {
        let mut index = Index::default();
        for number in 0..500 {
            let state = [State::Published, State::DeadLettered, State::Gone][number % 3];
            index.apply(format!("bogota/{}", number * 2).as_bytes(), Some(Entry { state, ..entry() }));
        }
        let store: StoreName = "bogota".parse().unwrap();
        let listed: Vec<OrderId> = (0..1000).rev().map(|number| number.to_string().parse().unwrap()).collect();
        let alone =
            |id: &OrderId| index.get(&OrderKey { store: store.clone(), id: id.clone() }).map(|entry| entry.state);
        let expected: Vec<_> = listed.iter().map(alone).collect();
        assert_eq!(expected.iter().flatten().count(), 500);
        assert_eq!(index.states(&store, &listed.into_iter().collect()), expected);
        assert_eq!(index.states(&"quito".parse().unwrap(), &["2".parse().unwrap()].into_iter().collect()), [None]);
    }

    #[test]
    fn an_entry_survives_its_packing() {
        for entry in [entry(), Entry { revision: None, state: State::Gone, ..entry() }] {
            assert_eq!(Entry::from(Packed::from(entry)), entry);
        }
        assert_eq!(entry().at.millis(), 1_764_000_000_123);
        assert_eq!(Moment::from_millis(-1).millis(), 0);
    }

    /// What the tables take: a slot has a byte of its own beside what is in it, and a table doubles when seven of eight
    /// are taken. Capacity is what fits before that.
    fn bytes(index: &Index) -> usize {
        let slot = size_of::<(Fingerprint, Packed)>() + 1;
        let slots: usize = index.shards.iter().map(|shard| shard.capacity().div_ceil(7) * 8).sum();
        slots * slot + size_of_val(&*index.shards)
    }

    /// The largest table, old and new, while it grows.
    fn most_while_growing(index: &Index) -> usize {
        let slot = size_of::<(Fingerprint, Packed)>() + 1;
        index.shards.iter().map(|shard| shard.capacity() / 7 * 8 * slot / 2).max().unwrap_or_default()
    }

    #[test]
    fn an_order_takes_at_most_64_bytes_whatever_their_number_and_while_it_grows() {
        let (mut index, entry) = (Index::default(), entry());
        let mut worst = 0;
        for number in 1..=1_000_000_usize {
            index.apply(format!("bogota/{number}").as_bytes(), Some(entry));
            if number >= 20_000 && number.is_multiple_of(1_000) {
                worst = worst.max((bytes(&index) + most_while_growing(&index)) / number);
            }
        }
        assert!(worst <= 64, "{worst} bytes an order at worst");
        let most = index.shards.iter().map(HashMap::len).max().unwrap_or_default();
        assert!(most < 3 * index.len() / SHARDS, "one shard of {SHARDS} has {most}");
    }
}
