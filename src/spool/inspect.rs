//! Inspects a spool from outside. It takes no lock and changes nothing, so it may run beside the running process.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;

use super::disk::SpoolDisk;
use super::error::SpoolError;
use super::format::{Found, Head, Outcome, examine, named};
use super::recovery::{KILLED, torn};
use super::{CORRUPT, UNKNOWN, has_suffix, is_ours};
use crate::order::ids::{ReadId, StoreName};

/// A file of the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolEntry {
    pub path: PathBuf,
    /// Bytes on disk, including unused space.
    pub size: u64,
    /// The store; for a corrupt file, taken from its name.
    pub store: Option<StoreName>,
    /// The read; for a corrupt file, taken from its name.
    pub read_id: Option<ReadId>,
    pub reserved_at: Option<Timestamp>,
    pub state: FileState,
}

/// What a spool file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// A whole page.
    Page {
        /// When the answer was complete.
        read_at: Timestamp,
        /// Bytes of the answer.
        bytes: usize,
    },
    /// A reservation: the next read, or, if no process is running, one that was cut off.
    Unfinished,
    /// A read of unknown outcome.
    Unknown {
        /// How it ended, as far as known.
        reason: String,
        /// Bytes that came.
        bytes: usize,
    },
    /// A file that can't be read or does not match its checksum.
    Corrupt { why: String },
}

/// All files of a spool in the order of their reservation, then those in `corrupt/`. A file that is being written right
/// now may look corrupt: inspect it again.
pub(super) fn inspect(dir: &Path) -> Result<Vec<SpoolEntry>, SpoolError> {
    let mut entries = Vec::new();
    for path in SpoolDisk::real().list(dir)?.into_iter().filter(|path| is_ours(path)) {
        match SpoolDisk::real().read(&path) {
            Ok(bytes) => entries.extend(entry(path, &bytes)),
            // Published and released since the folder was listed.
            Err(error) if error.is_missing() => {}
            Err(error) => entries.push(unreadable(path, error.to_string())),
        }
    }
    for path in SpoolDisk::real().list(&dir.join(CORRUPT))? {
        entries.push(unreadable(path, "it was put aside".to_owned()));
    }
    Ok(entries)
}

/// The body of a spool file: a page, or the bytes that came of a read of unknown outcome.
pub(super) fn body(path: &Path) -> Result<Bytes, SpoolError> {
    let bytes = Bytes::from(SpoolDisk::real().read(path)?);
    match examine(&bytes) {
        Found::Sealed(_, _, body) | Found::Torn(_, body, _) => Ok(bytes.slice(body)),
        Found::Free | Found::Blank | Found::Unfinished(_) => Ok(Bytes::new()),
        Found::Corrupt(why) => Err(SpoolError::Damaged { path: path.to_owned(), why }),
    }
}

fn entry(path: PathBuf, bytes: &[u8]) -> Option<SpoolEntry> {
    let (head, state) = match examine(bytes) {
        Found::Free | Found::Blank => return None,
        Found::Unfinished(head) if has_suffix(&path, UNKNOWN) => {
            (head, FileState::Unknown { reason: KILLED.to_owned(), bytes: 0 })
        }
        Found::Unfinished(head) => (head, FileState::Unfinished),
        Found::Torn(head, body, why) if has_suffix(&path, UNKNOWN) => {
            (head, FileState::Unknown { reason: torn(why), bytes: body.len() })
        }
        Found::Torn(head, _, why) => (head, FileState::Corrupt { why: why.to_owned() }),
        Found::Sealed(head, seal, body) => match seal.outcome {
            Outcome::Page => (head, FileState::Page { read_at: seal.at, bytes: body.len() }),
            Outcome::Unknown(reason) => (head, FileState::Unknown { reason, bytes: body.len() }),
        },
        Found::Corrupt(why) => return Some(unreadable(path, why.to_owned())),
    };
    let Head { store, read_id, reserved_at, .. } = head;
    let size = bytes.len() as u64;
    Some(SpoolEntry { path, size, store: Some(store), read_id: Some(read_id), reserved_at: Some(reserved_at), state })
}

fn unreadable(path: PathBuf, why: String) -> SpoolEntry {
    let (store, read_id) = path.file_stem().and_then(|stem| named(stem.to_str()?)).unzip();
    let size = SpoolDisk::real().size(&path).unwrap_or(0);
    SpoolEntry { path, size, store, read_id, reserved_at: None, state: FileState::Corrupt { why } }
}
