//! Recovery: what the former process left. The log tells by itself; files of single pages are classified here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::corrupt::{CorruptFile, KILLED, TORN, put_aside, torn};
use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use super::format::{Found, Head, Outcome, Seal, examine};
use super::log::Log;
use super::log::replay::{Live, What};
use super::page::{Durable, Place, UnknownRead};
use super::{FREE, PAGE, Spool, UNKNOWN, has_suffix, is_page_file};
use crate::order::ids::StoreName;

/// What opening the spool found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Unreleased pages, in the order of their reservation; answers, until [`disown`](Self::disown) has sorted out the
    /// others. Some may be published already: a release need not survive a power failure.
    pub pages: Vec<Durable>,
    /// Reads of unknown outcome, in the order of their reservation.
    pub unknown: Vec<UnknownRead>,
    /// What could not be read.
    pub corrupt: Vec<CorruptFile>,
    /// When the former process was last alive, if it did not end well. Polls of any store may have been under way, which
    /// have no trace of their own: see the second invariant of the [spool](super). It is now if a part of the log is gone
    /// or unreadable and does not tell whose it was.
    pub polls_cut_off: Option<Timestamp>,
}

/// What the files of single pages hold.
#[derive(Default)]
pub(super) struct PageFiles {
    pages: Vec<(Head, Timestamp, PathBuf)>,
    unknown: Vec<UnknownRead>,
    corrupt: Vec<CorruptFile>,
}

/// A file with a valid head.
struct Known {
    path: PathBuf,
    head: Head,
    rest: Rest,
}

enum Rest {
    Sealed(Seal),
    Torn(&'static str),
    Nothing,
}

/// Reads all files, restores their names and removes those that hold nothing. Also returns the next free sequence
/// number.
pub(super) fn recover_files(disk: &SpoolDisk, dir: &Path) -> Result<(PageFiles, u64), SpoolError> {
    let mut recovery = PageFiles::default();
    let mut known = Vec::new();
    for path in disk.list(dir)?.into_iter().filter(|path| is_page_file(path)) {
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

/// The files of single pages of these stores, without touching any other file: a process is at work with them.
pub(super) fn files_of(
    disk: &SpoolDisk,
    dir: &Path,
    is_wanted: &dyn Fn(&StoreName) -> bool,
) -> Result<PageFiles, SpoolError> {
    let mut known = Vec::new();
    for path in disk.list(dir)?.into_iter().filter(|path| is_page_file(path)) {
        if let Ok(found) = content(disk, &path)?
            && let Ok(Some((head, rest))) = content_to_keep(&path, found)
            && is_wanted(&head.store)
        {
            known.push(Known { path, head, rest });
        }
    }
    known.sort_by_key(|file| (file.head.seq, !file.is_page()));
    let mut files = PageFiles::default();
    files.classify(disk, drop_copies(disk, known)?)?;
    Ok(files)
}

impl Recovery {
    /// Turns each recovered answer that is no page into a read of unknown outcome. The former process may have ended
    /// between making an answer durable and parsing it. `why_no_page` returns the reason if a body is no page.
    pub async fn disown(
        &mut self,
        spool: &Spool,
        why_no_page: impl Fn(&[u8]) -> Option<String>,
    ) -> Result<(), SpoolError> {
        for page in std::mem::take(&mut self.pages) {
            // A page that can't be read any more is reported by the lane that publishes it.
            match page.body().ok().and_then(|body| why_no_page(&body)) {
                None => self.pages.push(page),
                Some(reason) => self.unknown.push(spool.disown(page, &reason).await?),
            }
        }
        self.unknown.sort_by_key(|read| read.seq);
        Ok(())
    }
}

impl PageFiles {
    /// Reads of a store follow each other and use their reservations in order. So among reservations without any bytes,
    /// only the first after the last finished one can have been in flight; later ones were waiting.
    fn classify(&mut self, disk: &SpoolDisk, known: Vec<Known>) -> Result<(), SpoolError> {
        let mut in_flight: HashSet<StoreName> = HashSet::new();
        for Known { path, head, rest } in known {
            // An earlier recovery decided this one: it says nothing about the last process's reservations.
            let decided = has_suffix(&path, UNKNOWN);
            match rest {
                Rest::Sealed(Seal { outcome: Outcome::Page, at }) => {
                    in_flight.remove(&head.store);
                    let path = restore_name(disk, path, &head, PAGE)?;
                    self.pages.push((head, at, path));
                }
                Rest::Sealed(Seal { outcome: Outcome::Unknown(reason), .. }) => {
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
        self.unknown.push(UnknownRead::new(head, reason, None, Place::File(path)));
        Ok(())
    }

    /// How many pages there are with those of the log.
    pub(super) fn pages_with(&self, log: &Log, is_wanted: &dyn Fn(&StoreName) -> bool) -> usize {
        let in_log = log.live(is_wanted).into_iter().filter(|live| matches!(live.what, What::Page { .. }));
        self.pages.len() + in_log.count()
    }

    /// Adds what the log tells. Of one read, a whole page counts before a trace: a rescue that was killed leaves both.
    pub(super) fn merged(
        self,
        disk: &SpoolDisk,
        log: &Arc<Log>,
        is_wanted: &dyn Fn(&StoreName) -> bool,
    ) -> Result<Recovery, SpoolError> {
        let Self { pages, unknown, corrupt } = self;
        let mut recovery = Recovery { corrupt, ..Recovery::default() };
        let mut seen = HashSet::new();
        let live = log.live(is_wanted);
        for Live { head, what, .. } in &live {
            if let What::Page { read_at } = what {
                seen.insert(head.read_id);
                recovery.pages.push(Durable::recovered(disk, log, head.clone(), *read_at, Place::Log));
            }
        }
        for (head, read_at, path) in pages {
            if seen.insert(head.read_id) {
                recovery.pages.push(Durable::recovered(disk, log, head, read_at, Place::File(path)));
            } else {
                disk.remove(&path)?;
            }
        }
        for read in live {
            let (reason, pending) = match &read.what {
                What::Page { .. } => continue,
                What::Reading { pending } => (KILLED.to_owned(), *pending),
                What::Torn { pending } => (torn(TORN), *pending),
                What::Unknown { reason, pending } => (reason.clone(), *pending),
            };
            if !seen.contains(&read.head.read_id) {
                log.leave_unknown(&read, &reason).ok();
            }
            let head = read.head;
            if seen.insert(head.read_id) {
                recovery.unknown.push(UnknownRead::new(head, reason, pending, Place::Log));
            } else {
                log.done(&[head.seq])?;
            }
        }
        for read in unknown {
            match &read.place {
                Place::File(path) if !seen.insert(read.read_id) => disk.remove(path)?,
                _ => recovery.unknown.push(read),
            }
        }
        recovery.pages.sort_by_key(Durable::seq);
        recovery.unknown.sort_by_key(|read| read.seq);
        Ok(recovery)
    }
}

impl Known {
    fn is_page(&self) -> bool {
        matches!(&self.rest, Rest::Sealed(seal) if seal.outcome == Outcome::Page)
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
        Found::Sealed(head, seal, _) => Ok(Some((head, Rest::Sealed(seal)))),
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
