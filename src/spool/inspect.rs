//! Inspects a spool from outside. It takes no lock and changes nothing, so it may run beside the running process.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;

use super::corrupt::{KILLED, TORN, torn};
use super::disk::SpoolDisk;
use super::error::SpoolError;
use super::format::{Found, Head, Outcome, examine, named};
use super::log::frame::{Contents, scan};
use super::log::manifest;
use super::log::replay::{Live, What, replay};
use super::{CORRUPT, SEGMENT, UNKNOWN, has_suffix, is_page_file};
use crate::order::ids::{ReadId, StoreName};

/// A read in the spool, or something damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolEntry {
    /// The file that holds it, perhaps among others.
    pub path: PathBuf,
    /// Where its bytes are in that file.
    bytes: Range<usize>,
    /// The store; for something damaged, as far as it can be read.
    pub store: Option<StoreName>,
    /// The read, likewise.
    pub read_id: Option<ReadId>,
    pub reserved_at: Option<Timestamp>,
    pub state: FileState,
}

/// What is known of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// A whole page.
    Page {
        /// When the answer was complete.
        read_at: Timestamp,
        /// Bytes of the answer.
        bytes: usize,
    },
    /// The next read, or, if no process is running, one that was cut off.
    Unfinished,
    /// A read of unknown outcome.
    Unknown {
        /// How it ended, as far as known.
        reason: String,
        /// Bytes that came.
        bytes: usize,
    },
    /// Bytes that can't be read or do not match their checksum.
    Corrupt { why: String },
}

impl SpoolEntry {
    /// Bytes that it takes, without its text.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Reads the body: a page, or the bytes that came of a read of unknown outcome. Needs no lock.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the file can't be read, [`SpoolError::Damaged`] when it holds something else by now.
    pub fn body(&self) -> Result<Bytes, SpoolError> {
        let bytes = Bytes::from(SpoolDisk::real().read(&self.path)?);
        let gone = SpoolError::Damaged { path: self.path.clone(), why: "the file has changed meanwhile" };
        if self.bytes.end <= bytes.len() { Ok(bytes.slice(self.bytes.clone())) } else { Err(gone) }
    }
}

/// All reads of a spool in the order of their reservation, then what is damaged. A page that is being written right now
/// may look damaged: inspect it again.
pub(super) fn inspect(dir: &Path) -> Result<Vec<SpoolEntry>, SpoolError> {
    let (mut entries, mut damaged) = segments(dir)?;
    for path in SpoolDisk::real().list(dir)?.into_iter().filter(|path| is_page_file(path)) {
        match SpoolDisk::real().read(&path) {
            Ok(bytes) => entries.extend(page_file(path, &bytes)),
            // Published and released since the folder was listed.
            Err(error) if error.is_missing() => {}
            Err(error) => damaged.push(unreadable(path, error.to_string())),
        }
    }
    entries.sort_by_key(|(seq, _)| *seq);
    let mut entries: Vec<SpoolEntry> = entries.into_iter().map(|(_, entry)| entry).collect();
    for path in SpoolDisk::real().list(&dir.join(CORRUPT))? {
        damaged.push(unreadable(path, "it was put aside".to_owned()));
    }
    entries.append(&mut damaged);
    Ok(entries)
}

/// The reads in the log, by their numbers, and what is damaged.
type InLog = (Vec<(u64, SpoolEntry)>, Vec<SpoolEntry>);

fn segments(dir: &Path) -> Result<InLog, SpoolError> {
    let mut files: Vec<(PathBuf, Vec<u8>, Contents)> = Vec::new();
    let gone = manifest::gone(&SpoolDisk::real(), dir)?.into_iter();
    let mut damaged: Vec<_> = gone.map(|path| unreadable(path, "the log's file is gone".to_owned())).collect();
    for path in SpoolDisk::real().list(dir)?.into_iter().filter(|path| has_suffix(path, SEGMENT)) {
        match SpoolDisk::real().read(&path) {
            Ok(bytes) => files.extend(scan(&bytes).map(|contents| (path, bytes, contents))),
            Err(error) if error.is_missing() => {}
            Err(error) => damaged.push(unreadable(path, error.to_string())),
        }
    }
    files.sort_by_key(|(.., contents)| contents.number);
    let replay = replay(files.iter().map(|(_, bytes, contents)| (contents, &bytes[..])));
    for damage in replay.damaged {
        let state = FileState::Corrupt { why: "a part of the log is damaged".to_owned() };
        let (path, bytes) = (files[damage.index].0.clone(), damage.bytes);
        let (store, read_id) = (damage.store, damage.read_id);
        damaged.push(SpoolEntry { path, bytes, store, read_id, reserved_at: None, state });
    }
    let path_of = |number| files.iter().find(|(.., contents)| contents.number == number).map(|(path, ..)| path.clone());
    let entries = replay.live.into_iter().filter_map(|(seq, Live { head, what, segment, bytes })| {
        let state = match what {
            What::Reading { .. } => return Some((seq, entry(path_of(segment)?, head, FileState::Unfinished, 0..0))),
            What::Page { read_at } => FileState::Page { read_at, bytes: bytes.len() },
            What::Torn { .. } => FileState::Corrupt { why: torn(TORN) },
            What::Unknown { reason, .. } => FileState::Unknown { reason, bytes: bytes.len() },
        };
        Some((seq, entry(path_of(segment)?, head, state, bytes)))
    });
    Ok((entries.collect(), damaged))
}

fn page_file(path: PathBuf, bytes: &[u8]) -> Option<(u64, SpoolEntry)> {
    let (head, state, body) = match examine(bytes) {
        Found::Free | Found::Blank => return None,
        Found::Unfinished(head) if has_suffix(&path, UNKNOWN) => {
            (head, FileState::Unknown { reason: KILLED.to_owned(), bytes: 0 }, 0..0)
        }
        Found::Unfinished(head) => (head, FileState::Unfinished, 0..0),
        Found::Torn(head, body, why) if has_suffix(&path, UNKNOWN) => {
            (head, FileState::Unknown { reason: torn(why), bytes: body.len() }, body)
        }
        Found::Torn(head, body, why) => (head, FileState::Corrupt { why: why.to_owned() }, body),
        Found::Sealed(head, seal, body) => match seal.outcome {
            Outcome::Page => (head, FileState::Page { read_at: seal.at, bytes: body.len() }, body),
            Outcome::Unknown(reason) => (head, FileState::Unknown { reason, bytes: body.len() }, body),
        },
        Found::Corrupt(why) => return Some((u64::MAX, unreadable(path, why.to_owned()))),
    };
    Some((head.seq, entry(path, head, state, body)))
}

fn entry(path: PathBuf, head: Head, state: FileState, bytes: Range<usize>) -> SpoolEntry {
    let Head { store, read_id, reserved_at, .. } = head;
    SpoolEntry { path, bytes, store: Some(store), read_id: Some(read_id), reserved_at: Some(reserved_at), state }
}

fn unreadable(path: PathBuf, why: String) -> SpoolEntry {
    let (store, read_id) = path.file_stem().and_then(|stem| named(stem.to_str()?)).unzip();
    let bytes = 0..SpoolDisk::real().size(&path).map_or(0, |size| usize::try_from(size).unwrap_or(usize::MAX));
    SpoolEntry { path, bytes, store, read_id, reserved_at: None, state: FileState::Corrupt { why } }
}
