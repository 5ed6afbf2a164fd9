//! What the spool gives out: pages that are on the disk, and traces of reads that nobody knows the outcome of.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;

use super::UNKNOWN;
use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use super::format::{Found, HEAD, Head, Outcome, Seal, examine, one_line};
use crate::order::ids::{ReadId, StoreName};

/// An answer that is on the disk: a page, as far as anybody knows. Only
/// [`Reservation::write`](super::Reservation::write), a rescue and recovery make one, so whoever holds it may read on:
/// nothing is lost if the process dies now.
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

    /// The body stays on the disk until it is asked for: after a long outage there may be many.
    pub(super) fn recovered(disk: SpoolDisk, head: Head, read_at: Timestamp, path: PathBuf, length: usize) -> Self {
        Self { disk, head, read_at, path, length, body: None }
    }

    /// The store that was read.
    #[must_use]
    pub fn store(&self) -> &StoreName {
        &self.head.store
    }

    /// Its place in the order of reservations.
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

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the body.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The answer as it came: from memory, or read from the file and checked again.
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

    /// Turns it into the trace of a read of unknown outcome: what came is no page. The bytes stay in the file.
    ///
    /// # Errors
    /// [`SpoolError`]; the next start finds the page, to disown it again, or a read of unknown outcome already.
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

    /// Frees the memory: the body is read from the file when next asked for.
    pub fn drop_body(&mut self) {
        self.body = None;
    }
}

/// A read of which nobody knows whether the marketplace handed orders over. It stays in the spool, as a file whose
/// name ends in `.unknown`, until [`Spool::settle`](super::Spool::settle).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownRead {
    /// The store that was read.
    pub store: StoreName,
    /// The read.
    pub read_id: ReadId,
    /// When its file was reserved. The read began after that; long after, if the answers before it had no orders.
    pub since: Timestamp,
    /// What is known about its end, in a sentence.
    pub reason: String,
    /// Its file, with the bytes that came, if any did.
    pub path: PathBuf,
    /// Its place in the order of reservations.
    pub(crate) seq: u64,
}

impl UnknownRead {
    /// Gives a file that says so the name for it, durably.
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
