//! What a spool remembers of the tracking topic. It detects a topic that was deleted, replaced or repartitioned before
//! every order is published a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use crate::order::ids::{OrderKey, StoreName};
use crate::platform::disk::{self, Disk, RealDisk};

const FILE: &str = "tracking-topic.json";

/// Why the tracking topic is not trusted.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The number of partitions has changed.
    #[error(
        "the tracking topic `{topic}` has {now} partitions and had {before}: a store's orders would be looked for in the \
         wrong partition and published again. Copy it into a new topic with {before} partitions and name that in \
         `kafka.topics.tracking`"
    )]
    Repartitioned {
        topic: String,
        /// Partitions that the spool remembers.
        before: i32,
        /// Partitions now.
        now: i32,
    },
    /// The partition held records before and is empty now.
    #[error(
        "partition {lane} of the tracking topic `{topic}` is empty, but this spool has published through it: the topic \
         was deleted or emptied, and orders that come again would be doubled. Restore it; or, to start anew in full \
         knowledge of that, remove {path}"
    )]
    Emptied {
        topic: String,
        /// The partition.
        lane: i32,
        /// The file that holds the memory.
        path: PathBuf,
    },
    /// No partition has ever held a record, although the orders topic has.
    #[error(
        "the tracking topic `{topic}` has never held a record, but the orders topic has: it was deleted, and orders that come \
         again would be doubled. Restore it; or, to start anew in full knowledge of that, run `drain` once on one instance \
         while the others are stopped"
    )]
    Void { topic: String },
    /// A record in the wrong partition for its store.
    #[error(
        "partition {lane} of the tracking topic holds the key of a store that belongs to partition {home}: the topic's \
         partitions were changed, or another program writes to it"
    )]
    Misplaced {
        /// The partition that holds it.
        lane: i32,
        /// The partition where it belongs.
        home: i32,
    },
    /// The memory's file can't be read or written.
    #[error("{path}: {why}; it holds what this spool knows of the tracking topic")]
    File {
        path: PathBuf,
        /// The operating system's or the parser's message.
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    topic: String,
    lanes: i32,
    published_through: BTreeSet<i32>,
    /// Where the lane ended when this spool's instance last took it over, before its first read. Lanes that are shared
    /// with no other instance are not named.
    #[serde(default)]
    taken_over_at: BTreeMap<i32, i64>,
}

/// The memory, a file in the spool's folder.
#[derive(Debug)]
pub struct TrackingMemory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    lanes: i32,
    remembered: Mutex<Remembered>,
}

impl TrackingMemory {
    /// Reads the memory in `dir` and compares it with the topic as it is now. Discards the memory of another topic.
    ///
    /// # Errors
    /// [`MemoryError::Repartitioned`], or a file that can't be read.
    pub fn open(dir: &Path, topic: &str, lanes: i32) -> Result<Self, MemoryError> {
        Self::open_on(RealDisk::shared(), dir, topic, lanes)
    }

    /// Like [`TrackingMemory::open`], on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, dir: &Path, topic: &str, lanes: i32) -> Result<Self, MemoryError> {
        let path = dir.join(FILE);
        let fresh = Remembered {
            topic: topic.to_owned(),
            lanes,
            published_through: BTreeSet::new(),
            taken_over_at: BTreeMap::new(),
        };
        let remembered = match disk.read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fresh,
            Err(error) => return Err(MemoryError::File { path, why: error.to_string() }),
            Ok(text) => {
                let old: Remembered = serde_json::from_slice(&text)
                    .map_err(|error| MemoryError::File { path: path.clone(), why: error.to_string() })?;
                if old.topic == topic { old } else { fresh }
            }
        };
        // guard: a repartitioned tracking topic is refused
        if remembered.lanes != lanes {
            return Err(MemoryError::Repartitioned { topic: topic.to_owned(), before: remembered.lanes, now: lanes });
        }
        Ok(Self { disk, path, lanes, remembered: Mutex::new(remembered) })
    }

    /// Number of partitions of the tracking topic.
    #[must_use]
    pub fn lanes(&self) -> i32 {
        self.lanes
    }

    /// # Errors
    /// [`MemoryError::Emptied`] if the lane was published through and its index is empty.
    pub fn check_not_emptied(&self, lane: i32, is_empty: bool) -> Result<(), MemoryError> {
        let remembered = self.remembered();
        // guard: an emptied tracking topic is refused
        if is_empty && remembered.published_through.contains(&lane) {
            let topic = remembered.topic.clone();
            return Err(MemoryError::Emptied { topic, lane, path: self.path.clone() });
        }
        Ok(())
    }

    /// # Errors
    /// [`MemoryError::Void`] if the whole topic is. An instance that never had the lane remembers nothing of it.
    pub fn check_not_void(&self, is_void: bool) -> Result<(), MemoryError> {
        // guard: a deleted tracking topic is refused by an instance that never saw it
        if is_void {
            return Err(MemoryError::Void { topic: self.remembered().topic.clone() });
        }
        Ok(())
    }

    /// # Errors
    /// [`MemoryError::Misplaced`] if a tracking record's key does not belong to this lane.
    pub fn check_placed(&self, key: &[u8], lane: i32) -> Result<(), MemoryError> {
        // The fast path: if the name hashes to this lane, the record belongs here, whatever else the key holds.
        let name = key.split(|byte| *byte == b'/').next().unwrap_or_default();
        if lane_of_name(name, self.lanes) == lane {
            return Ok(());
        }
        let lanes = self.lanes;
        let Some(key) = std::str::from_utf8(key).ok().and_then(|key| key.parse::<OrderKey>().ok()) else {
            return Ok(());
        };
        match lane_of(&key.store, lanes) {
            home if home == lane => Ok(()),
            home => Err(MemoryError::Misplaced { lane, home }),
        }
    }

    /// Records, once and durably, that the lane has published.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn remember(&self, lane: i32) -> Result<(), MemoryError> {
        let mut remembered = self.remembered();
        if !remembered.published_through.insert(lane) {
            return Ok(());
        }
        self.write(&remembered).map_err(|error| MemoryError::File { path: self.path.clone(), why: error.to_string() })
    }

    /// Where the lane ended when this spool's instance last took it over from others.
    #[must_use]
    pub fn taken_over_at(&self, lane: i32) -> Option<i64> {
        self.remembered().taken_over_at.get(&lane).copied()
    }

    /// Records, durably, that this instance takes the lane over, which ends at this offset. Call it before the first read
    /// for the lane, when no page of an earlier time is left.
    ///
    /// # Errors
    /// A file that can't be written.
    pub fn take_over(&self, lane: i32, end: i64) -> Result<(), MemoryError> {
        let mut remembered = self.remembered();
        if remembered.taken_over_at.insert(lane, end) == Some(end) {
            return Ok(());
        }
        self.write(&remembered).map_err(|error| MemoryError::File { path: self.path.clone(), why: error.to_string() })
    }

    fn write(&self, remembered: &Remembered) -> std::io::Result<()> {
        disk::replace(&*self.disk, &self.path, &serde_json::to_vec_pretty(remembered)?)
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        // A panic elsewhere can't leave it half changed, so a poisoned lock is safe to use.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lane of a store: a stable hash of its name, so that every start finds the same lane.
///
/// # Panics
/// If `lanes` isn't positive: a topic has at least one partition.
#[must_use]
pub fn lane_of(store: &StoreName, lanes: i32) -> i32 {
    lane_of_name(store.as_str().as_bytes(), lanes)
}

fn lane_of_name(name: &[u8], lanes: i32) -> i32 {
    let lanes = u64::try_from(lanes).expect("a topic has at least one partition");
    // guard: a store keeps its lane
    i32::try_from(xxh3_64(name) % lanes).expect("smaller than the number of lanes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_keeps_its_lane_for_ever() {
        let lanes = ["bogota", "quito", "cdmx", "sanjose"].map(|store| lane_of(&store.parse().unwrap(), 4));
        assert_eq!(lanes, [3, 2, 0, 1], "changing the hash would lose every store's index");
    }

    #[test]
    fn a_topic_that_lost_its_records_or_changed_its_partitions_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let memory = TrackingMemory::open(dir.path(), "t", 4).unwrap();
        memory.check_not_emptied(2, true).unwrap();
        memory.remember(2).unwrap();

        let memory = TrackingMemory::open(dir.path(), "t", 4).unwrap();
        assert!(matches!(memory.check_not_emptied(2, true), Err(MemoryError::Emptied { lane: 2, .. })));
        memory.check_not_emptied(2, false).unwrap();
        memory.check_not_emptied(1, true).unwrap();
        assert!(matches!(TrackingMemory::open(dir.path(), "t", 5), Err(MemoryError::Repartitioned { before: 4, .. })));
        TrackingMemory::open(dir.path(), "another", 5).unwrap().check_not_emptied(2, true).unwrap();
    }

    #[test]
    fn a_record_in_another_stores_partition_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let memory = TrackingMemory::open(dir.path(), "t", 4).unwrap();
        let home = lane_of(&"bogota".parse().unwrap(), 4);
        memory.check_placed(b"bogota/1", home).unwrap();
        assert!(memory.check_placed(b"bogota/1", (home + 1) % 4).is_err());
    }
}
