//! Recovery: classifies the files that the former process left.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use super::format::{Found, Head, Outcome, Seal, examine, named};
use super::page::{Durable, UnknownRead};
use super::{CORRUPT, FREE, PAGE, UNKNOWN, has_suffix, is_ours};
use crate::order::ids::{ReadId, StoreName};

pub(super) const KILLED: &str = "the process ended in mid-read: no answer was written";

pub(super) fn torn(why: &str) -> String {
    format!("the page is torn or damaged: {why}")
}

/// What opening the spool found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Unreleased pages, in the order of their reservation; answers, until [`disown`](Self::disown) has sorted out the
    /// others. Some may be published already: a release need not survive a power failure.
    pub pages: Vec<Durable>,
    /// Reads of unknown outcome, in the order of their reservation.
    pub unknown: Vec<UnknownRead>,
    /// Files that could not be read.
    pub corrupt: Vec<CorruptFile>,
}

/// A file that could not be read and was moved to `corrupt/`. It may have been a page: the reconciler has to look for
/// its orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptFile {
    /// Its new path.
    pub path: PathBuf,
    pub why: String,
    /// The store, if the file's name tells it.
    pub store: Option<StoreName>,
    /// The read, if the file's name tells it.
    pub read_id: Option<ReadId>,
}

/// A file with a valid head.
struct Known {
    path: PathBuf,
    head: Head,
    rest: Rest,
}

enum Rest {
    Sealed(Seal, usize),
    Torn(&'static str),
    Nothing,
}

/// Reads all files, restores their names and removes those that hold nothing. Also returns the next free sequence
/// number.
pub(super) fn recover(disk: &SpoolDisk, dir: &Path) -> Result<(Recovery, u64), SpoolError> {
    let mut recovery = Recovery::default();
    let mut known = Vec::new();
    for path in disk.list(dir)?.into_iter().filter(|path| is_ours(path)) {
        match content(disk, &path)?.and_then(|found| content_to_keep(&path, found)) {
            Ok(Some((head, rest))) => {
                // The bytes may be in memory only: the process can have been killed between its write and its
                // fdatasync.
                disk.sync_file(&path)?;
                known.push(Known { path, head, rest });
            }
            Ok(None) => disk.remove(&path)?,
            Err(why) => recovery.corrupt.push(put_aside(disk, dir, path, why)),
        }
    }
    known.sort_by_key(|file| (file.head.seq, !file.is_page()));
    let next_seq = known.last().map_or(1, |file| file.head.seq.saturating_add(1));
    recovery.classify(disk, drop_copies(disk, known)?)?;
    // A decision must be durable if the next recovery could decide otherwise.
    disk.sync_dir(dir)?;
    Ok((recovery, next_seq))
}

impl Recovery {
    /// Turns each recovered answer that is no page into a read of unknown outcome. The former process may have ended
    /// between making an answer durable and parsing it. `why_no_page` returns the reason if a body is no page.
    pub fn disown(&mut self, why_no_page: impl Fn(&[u8]) -> Option<String>) -> Result<(), SpoolError> {
        for page in std::mem::take(&mut self.pages) {
            // A page that can't be read any more is reported by the lane that publishes it.
            match page.body().ok().and_then(|body| why_no_page(&body)) {
                None => self.pages.push(page),
                Some(reason) => self.unknown.push(page.disown(&reason)?),
            }
        }
        self.unknown.sort_by_key(|read| read.seq);
        Ok(())
    }

    /// Reads of a store follow each other and use their reservations in order. So among reservations without any bytes,
    /// only the first after the last finished one can have been in flight; later ones were waiting.
    fn classify(&mut self, disk: &SpoolDisk, known: Vec<Known>) -> Result<(), SpoolError> {
        let mut in_flight: HashSet<StoreName> = HashSet::new();
        for Known { path, head, rest } in known {
            // An earlier recovery decided this one: it says nothing about the last process's reservations.
            let decided = has_suffix(&path, UNKNOWN);
            match rest {
                Rest::Sealed(Seal { outcome: Outcome::Page, at }, length) => {
                    in_flight.remove(&head.store);
                    let path = restore_name(disk, path, &head, PAGE)?;
                    self.pages.push(Durable::recovered(disk.clone(), head, at, path, length));
                }
                Rest::Sealed(Seal { outcome: Outcome::Unknown(reason), .. }, _) => {
                    in_flight.remove(&head.store);
                    self.push_unknown(disk, head, reason, path)?;
                }
                Rest::Torn(why) => {
                    if !decided {
                        in_flight.insert(head.store.clone());
                    }
                    self.push_unknown(disk, head, torn(why), path)?;
                }
                Rest::Nothing if decided || in_flight.insert(head.store.clone()) => {
                    self.push_unknown(disk, head, KILLED.to_owned(), path)?;
                }
                Rest::Nothing => disk.remove(&path)?,
            }
        }
        Ok(())
    }

    fn push_unknown(&mut self, disk: &SpoolDisk, head: Head, reason: String, path: PathBuf) -> Result<(), SpoolError> {
        let path = restore_name(disk, path, &head, UNKNOWN)?;
        self.unknown.push(UnknownRead::new(head, reason, path));
        Ok(())
    }
}

impl Known {
    fn is_page(&self) -> bool {
        matches!(&self.rest, Rest::Sealed(seal, _) if seal.outcome == Outcome::Page)
    }
}

/// A rescue that was killed leaves two files of one read. Keeps the whole one, or the first if neither is whole.
fn drop_copies(disk: &SpoolDisk, known: Vec<Known>) -> Result<Vec<Known>, SpoolError> {
    let mut seen = HashSet::new();
    let (content_to_keep, copies): (Vec<_>, Vec<_>) =
        known.into_iter().partition(|file| seen.insert(file.head.read_id));
    for copy in copies {
        disk.remove(&copy.path)?;
    }
    Ok(content_to_keep)
}

/// Classifies a file, or returns why the disk can't read it: a bad sector must not keep the other files from being
/// recovered.
fn content(disk: &SpoolDisk, path: &Path) -> Result<Result<Found, String>, SpoolError> {
    match disk.read(path) {
        Ok(bytes) => Ok(Ok(examine(&bytes))),
        Err(SpoolError::Disk { cause, .. }) if cause.raw_os_error() == Some(disk::IO_ERROR) => {
            Ok(Err(cause.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// What to keep of a file, if anything, or why it can't be used.
fn content_to_keep(path: &Path, found: Found) -> Result<Option<(Head, Rest)>, String> {
    match found {
        Found::Free => Ok(None),
        Found::Blank if has_suffix(path, FREE) => Ok(None),
        Found::Blank => Err("the file is empty".to_owned()),
        Found::Unfinished(head) => Ok(Some((head, Rest::Nothing))),
        Found::Sealed(head, seal, body) => Ok(Some((head, Rest::Sealed(seal, body.len())))),
        Found::Torn(head, _, why) => Ok(Some((head, Rest::Torn(why)))),
        Found::Corrupt(why) => Err(why.to_owned()),
    }
}

/// The head says what a file is; its name is for people, and a rename may have been lost.
fn restore_name(disk: &SpoolDisk, path: PathBuf, head: &Head, suffix: &str) -> Result<PathBuf, SpoolError> {
    let right = path.with_file_name(head.file_name(suffix));
    if path != right {
        disk.rename(&path, &right)?;
    }
    Ok(right)
}

/// If a file can't be moved, for lack of space perhaps, the other files must still get published.
fn put_aside(disk: &SpoolDisk, dir: &Path, path: PathBuf, why: String) -> CorruptFile {
    let (store, read_id) = path.file_stem().and_then(|stem| named(stem.to_str()?)).unzip();
    match move_to_corrupt(disk, dir, &path) {
        Ok(path) => CorruptFile { path, why, store, read_id },
        Err(error) => CorruptFile { path, why: format!("{why}; it was not put aside: {error}"), store, read_id },
    }
}

/// Durably moves a file to `corrupt/` under an unused name.
pub(super) fn move_to_corrupt(disk: &SpoolDisk, dir: &Path, path: &Path) -> Result<PathBuf, SpoolError> {
    let corrupt = dir.join(CORRUPT);
    disk.create_dir(&corrupt)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let taken: HashSet<PathBuf> = disk.list(&corrupt)?.into_iter().collect();
    let mut target = corrupt.join(&*name);
    for copy in 1.. {
        if !taken.contains(&target) {
            break;
        }
        target = corrupt.join(format!("{copy}.{name}"));
    }
    disk.rename(path, &target)?;
    disk.sync_dir(&corrupt)?;
    disk.sync_dir(dir)?;
    Ok(target)
}
