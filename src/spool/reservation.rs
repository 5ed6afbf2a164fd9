//! A reserved file: durable, with its space, before the read that it is for.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::Inner;
use super::disk;
use super::error::{SpoolError, WriteFailed};
use super::format::{BODY, HEAD, Head, Outcome, Seal, one_line};
use super::page::{Durable, UnknownRead};
use crate::order::ids::{ReadId, StoreName};
use crate::platform::disk::DiskFile;
use crate::platform::{clock, fail_point};

/// Space on the disk for one page, and the durable intent to read it.
///
/// If it is dropped without being written or discarded, the next recovery reports a read of unknown outcome: nobody can
/// tell whether a read used it.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is reported as a read of unknown outcome after the next start"]
pub struct Reservation {
    pub(super) spool: Arc<Inner>,
    pub(super) head: Head,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
}

impl Reservation {
    #[must_use]
    pub fn read_id(&self) -> ReadId {
        self.head.read_id
    }

    #[must_use]
    pub fn store(&self) -> &StoreName {
        &self.head.store
    }

    /// Writes a complete answer with one `fdatasync`. A body larger than the reserved space grows the file.
    ///
    /// # Errors
    /// [`WriteFailed`], with the body.
    pub fn write(self, read_at: Timestamp, body: Bytes) -> Result<Durable, WriteFailed> {
        match self.put(&Seal { outcome: Outcome::Page, at: read_at }, &body) {
            Ok(()) => Ok(Durable::written(self.spool.disk.clone(), self.head, read_at, self.path, body)),
            Err(error) => Err(WriteFailed { body, error }),
        }
    }

    /// Writes a durable trace of a read of unknown outcome, with the bytes that came. `reason` is cut after 240 bytes
    /// and must hold no personal data.
    ///
    /// # Errors
    /// [`WriteFailed`], with the bytes. The reservation stays on the disk, and the next start reports it.
    pub fn write_unknown(self, reason: &str, partial_body: &[u8]) -> Result<UnknownRead, WriteFailed> {
        let reason = one_line(reason);
        let seal = Seal { outcome: Outcome::Unknown(reason.clone()), at: clock::now() };
        self.put(&seal, partial_body)
            .map(|()| disk::cut_space(&*self.file, partial_body.len()))
            .and_then(|()| UnknownRead::named(&self.spool.disk, self.head, reason, &self.path))
            .map_err(|error| WriteFailed { body: Bytes::copy_from_slice(partial_body), error })
    }

    /// Gives the file back unused: no read was made with it.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the next start may then report the reservation as a read of unknown outcome.
    pub fn discard(self) -> Result<(), SpoolError> {
        self.spool.let_go(&self.path, 0)?;
        self.spool.disk.sync_dir(&self.spool.dir)
    }

    /// The checksum makes the order of the two writes irrelevant: the file is valid only when both are complete.
    pub(super) fn put(&self, seal: &Seal, body: &[u8]) -> Result<(), SpoolError> {
        disk::write_at(&*self.file, &self.path, HEAD, &seal.render(&self.head.render(), body))?;
        fail_point::reach("writing");
        disk::write_at(&*self.file, &self.path, BODY, body)?;
        // guard: the page is durable before the next read
        disk::sync_data(&*self.file, &self.path)
    }
}
