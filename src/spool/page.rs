//! What the spool hands out: durable pages, and traces of reads of unknown outcome.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;

use super::UNKNOWN;
use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use super::format::{Found, HEAD, Head, Outcome, Seal, examine, one_line};
use crate::order::ids::{ReadId, StoreName};

/// An answer that is durable on the disk; a page, unless it is [disowned](Self::disown). Only
/// [`Reservation::write`](super::Reservation::write), a rescue and recovery create one. Whoever holds it may make the
/// next read: nothing is lost if the process dies now.
#[derive(Debug)]
pub struct Durable {
    disk: SpoolDisk,
    head: Head,
    read_at: Timestamp,
    path: PathBuf,
    length: usize,
    body: Option<Bytes>,
}

impl Durable {
    pub(super) fn written(disk: SpoolDisk, head: Head, read_at: Timestamp, path: PathBuf, body: Bytes) -> Self {
        Self { disk, head, read_at, path, length: body.len(), body: Some(body) }
    }

    /// The body stays on the disk until it is requested: a long outage may leave many pages.
    pub(super) fn recovered(disk: SpoolDisk, head: Head, read_at: Timestamp, path: PathBuf, length: usize) -> Self {
        Self { disk, head, read_at, path, length, body: None }
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

    /// When the answer was complete.
    #[must_use]
    pub fn read_at(&self) -> Timestamp {
        self.read_at
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns the answer's bytes: from memory, or read from the file and verified again.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the file can't be read, [`SpoolError::Damaged`] when it is no longer what was written.
    pub fn body(&self) -> Result<Bytes, SpoolError> {
        if let Some(body) = &self.body {
            return Ok(body.clone());
        }
        let bytes = Bytes::from(self.disk.read(&self.path)?);
        let why = match examine(&bytes) {
            Found::Sealed(head, Seal { outcome: Outcome::Page, .. }, body) if head == self.head => {
                return Ok(bytes.slice(body));
            }
            Found::Torn(.., why) | Found::Corrupt(why) => why,
            _ => "the file holds something else now",
        };
        Err(SpoolError::Damaged { path: self.path.clone(), why })
    }

    /// Turns an answer that is no page into the trace of a read of unknown outcome. The bytes stay in the file.
    ///
    /// # Errors
    /// [`SpoolError`]. The next start then finds either the page, and disowns it again, or the finished trace.
    pub fn disown(self, reason: &str) -> Result<UnknownRead, SpoolError> {
        let body = self.body()?;
        let reason = one_line(reason);
        let seal = Seal { outcome: Outcome::Unknown(reason.clone()), at: self.read_at };
        let file = self.disk.open_for_writing(&self.path)?;
        disk::write_at(&*file, &self.path, HEAD, &seal.render(&self.head.render(), &body))?;
        disk::sync_data(&*file, &self.path)?;
        disk::cut_space(&*file, body.len());
        UnknownRead::named(&self.disk, self.head, reason, &self.path)
    }

    /// Frees the memory: the next [`body`](Self::body) reads the file.
    pub fn drop_body(&mut self) {
        self.body = None;
    }
}

/// A read after which nobody knows whether the marketplace handed orders over. Its file, whose name ends in `.unknown`,
/// stays in the spool until [`Spool::settle`](super::Spool::settle).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRead {
    pub store: StoreName,
    pub read_id: ReadId,
    /// When its file was reserved. The read began after that: long after, if the answers before it had no orders.
    pub since: Timestamp,
    /// How the read ended, as far as known, in a sentence.
    pub reason: String,
    /// The trace file, with the bytes that came.
    pub path: PathBuf,
    /// Sequence number in the order of reservations.
    pub(crate) seq: u64,
}

impl UnknownRead {
    /// Durably renames a file, whose seal already says so, to the name of an unknown read.
    pub(super) fn named(disk: &SpoolDisk, head: Head, reason: String, path: &Path) -> Result<Self, SpoolError> {
        let named = path.with_file_name(head.file_name(UNKNOWN));
        disk.rename(path, &named)?;
        disk.sync_dir(named.parent().unwrap_or(Path::new(".")))?;
        Ok(Self::new(head, reason, named))
    }

    pub(super) fn new(head: Head, reason: String, path: PathBuf) -> Self {
        let Head { seq, store, read_id, reserved_at } = head;
        Self { store, read_id, since: reserved_at, reason, path, seq }
    }
}
