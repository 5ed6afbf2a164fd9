//! What the spool hands out: durable pages, and traces of reads of unknown outcome.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::Inner;
use super::disk::SpoolDisk;
use super::error::SpoolError;
use super::format::{Found, Head, Outcome, Seal, examine};
use super::log::Log;
use crate::marketplace::body::Pending;
use crate::order::ids::{ReadId, StoreName};

/// Where the bytes of a read are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Log,
    /// A file of its own.
    File(PathBuf),
}

/// An answer that is durable on the disk; a page, unless it is [disowned](super::Spool::disown). Only
/// [`Reservation::write`](super::Reservation::write), a rescue and recovery create one. Whoever holds it may make the
/// next read: nothing is lost if the process dies now.
#[derive(Debug)]
pub struct Durable {
    disk: SpoolDisk,
    log: Arc<Log>,
    head: Head,
    read_at: Timestamp,
    place: Place,
    body: Option<Bytes>,
    is_left: bool,
}

impl Durable {
    pub(super) fn new(spool: &Inner, head: Head, read_at: Timestamp, place: Place, body: Bytes) -> Self {
        Self {
            disk: spool.disk.clone(),
            log: spool.log.clone(),
            head,
            read_at,
            place,
            body: Some(body),
            is_left: false,
        }
    }

    /// The body stays on the disk until it is requested: a long outage may leave many pages.
    pub(super) fn recovered(disk: &SpoolDisk, log: &Arc<Log>, head: Head, read_at: Timestamp, place: Place) -> Self {
        Self { disk: disk.clone(), log: log.clone(), head, read_at, place, body: None, is_left: true }
    }

    #[must_use]
    pub fn store(&self) -> &StoreName {
        &self.head.store
    }

    /// Sequence number in the order of reservations.
    pub(crate) fn seq(&self) -> u64 {
        self.head.seq
    }

    /// The read that brought it.
    #[must_use]
    pub fn read_id(&self) -> ReadId {
        self.head.read_id
    }

    /// Whether it was found in the spool: an earlier process read it, or an earlier time of its lane.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// When the answer was complete.
    #[must_use]
    pub fn read_at(&self) -> Timestamp {
        self.read_at
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the answer's bytes: from memory, or read from the disk and verified again.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when they can't be read, [`SpoolError::Damaged`] when they are no longer what was written.
    pub fn body(&self) -> Result<Bytes, SpoolError> {
        if let Some(body) = &self.body {
            return Ok(body.clone());
        }
        let Place::File(path) = &self.place else { return self.log.bytes(self.head.seq) };
        let bytes = Bytes::from(self.disk.read(path)?);
        let why = match examine(&bytes) {
            Found::Sealed(head, Seal { outcome: Outcome::Page, .. }, body) if head == self.head => {
                return Ok(bytes.slice(body));
            }
            Found::Torn(.., why) | Found::Corrupt(why) => why,
            _ => "the file holds something else now",
        };
        Err(SpoolError::Damaged { path: path.clone(), why })
    }

    /// Frees the memory: the next [`body`](Self::body) reads the disk.
    pub fn drop_body(&mut self) {
        self.body = None;
    }
}

/// A read after which nobody knows whether the marketplace handed orders over. Its trace stays in the spool until
/// [`Spool::settle`](super::Spool::settle).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRead {
    pub store: StoreName,
    pub read_id: ReadId,
    /// When its space was reserved. The read began after that.
    pub since: Timestamp,
    /// How the read ended, as far as known, in a sentence.
    pub reason: String,
    /// How many orders were pending before it, if a former process noted that.
    pub pending: Option<Pending>,
    pub(super) place: Place,
    /// Sequence number in the order of reservations.
    pub(crate) seq: u64,
}

impl UnknownRead {
    pub(super) fn new(head: Head, reason: String, pending: Option<Pending>, place: Place) -> Self {
        let Head { seq, store, read_id, reserved_at } = head;
        Self { store, read_id, since: reserved_at, reason, pending, place, seq }
    }
}
