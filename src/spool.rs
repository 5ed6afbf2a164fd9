//! The spool: makes each answer of the marketplace durable before the next one of its store is requested.
//!
//! # Format
//! Answers of all stores stand one behind the other in a log, in files of one size, `<number>.segment`. The first block
//! of a segment tells its place in the log. Then come frames: a block of text of 512 bytes, and a body in whole blocks.
//!
//! | frame | says | body |
//! |---|---|---|
//! | `reading` | a read is about to be made: sequence number, store, read ID, how many orders were pending before it | |
//! | `page` | its answer, and the read that may follow without a frame of its own | the answer as it came |
//! | `unknown` | nobody knows what it marked | the reason, and what came |
//! | `done` | nothing is left to do with these reads | their sequence numbers |
//!
//! Text is padded with zeros, so `tr -d '\0' < file` shows a whole segment. Checks cover text (xxh3-64) and body
//! (xxh3-128). What is live is what has a frame and no `done`.
//!
//! A page that does not fit into the space that is claimed for one, and a page that the log could not take, has a file of
//! its own: `.page`, or `.unknown` for a read of unknown outcome. `format.rs` has its format, which is that of all pages
//! in earlier versions; their folders are read and emptied. `corrupt/` holds what could not be read. `lock` is locked for
//! as long as a process has the spool open; it tells when that process was last seen, and whether it ended well.
//! `read-ids` holds an ID like all of this spool's reads. `manifest` names the segments that there are.
//!
//! # Invariants
//! 1. Space for a page is claimed, in files that are written with zeros and synced, before the read that may bring it.
//!    [`Durable`] exists only after a sync has covered the page's frame.
//! 2. A read is announced, durably, before it is made: by a frame of its own, or by the page before it. So there is one
//!    sync between two reads. The exception is a poll: a read after an answer, to this process, that nothing is pending.
//!    Whatever it marks was placed since. If the process does not end well, [`Recovery::polls_cut_off`] says so once for
//!    all stores.
//! 3. Any change to a frame that is live is detected. Damage costs the frame, and never one beside it.
//! 4. Who needs a frame to be durable syncs for all who wait (`log/group_commit.rs`).
//! 5. A segment is used again only after all older ones, and when a sync has covered the frames that end its reads. It is
//!    filled with zeros first: what is let go stays gone, and the buyers' data is erased. That happens within seconds
//!    while nothing waits to be published, and otherwise when the log has gone on by a few segments.
//! 6. A page is let go only by release, by settle, or in favour of a whole copy of the same read.
//! 7. An answer may be durable before anybody has parsed it. If it turns out to be no page, [`Spool::disown`] makes it a
//!    read of unknown outcome. [`Recovery::disown`] does so for what a killed process left.
//! 8. A segment that is gone is noticed at the next start, wherever it was in the log: the manifest names it, durably, from
//!    before its first frame. What it held may have been of any store, so all are looked at. What it ended comes back, and
//!    the index knows it. Not noticed is a segment at an end of the log whose bytes turned to zeros, which looks like an
//!    unused one: to name the segments in use would cost a sync more between two reads, now and then. And nothing tells of
//!    segments that are gone together with the manifest. What these held is found by the passes over the list of IDs.
//!
//! Deliberately absent: encryption, compression (a person must be able to read a page), and any knowledge of what a
//! page holds. A copy-on-write file system may not keep the space that was reserved. A full disk then shows up in the
//! write, and the page is still in memory.

pub mod committed;
mod corrupt;
mod disk;
mod error;
mod exposure;
mod fitness;
mod format;
mod identity;
mod inspect;
mod lock;
mod log;
mod page;
mod page_file;
mod recovery;
mod reservation;
mod survey;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};

pub use corrupt::CorruptFile;
pub use error::{SpoolError, WriteFailed};
pub use exposure::Exposure;
pub use fitness::{Fitness, Holder};
pub use inspect::{FileState, SpoolEntry};
pub use page::{Durable, UnknownRead};
pub use recovery::Recovery;
pub use reservation::Reservation;
pub use survey::Survey;

use crate::order::ids::{ReadIds, StoreName};
use crate::platform::clock;
use crate::platform::disk::Disk;
use crate::platform::jobs::in_place;
use crate::spool::committed::Committed;
use disk::SpoolDisk;
use format::Head;
use lock::Lock;
use log::frame::{Frame, render_unknown};
use log::{Log, Ticket};
use page::Place;

const SEGMENT: &str = "segment";
const PAGE: &str = "page";
const UNKNOWN: &str = "unknown";
const FREE: &str = "free";
const CORRUPT: &str = "corrupt";

/// Frames that nobody waits for are durable after this time.
const LAZY_SYNC: Duration = Duration::from_secs(1);
/// How often the lock file tells that the process is alive.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Where a spool is, and how much space it uses.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// The spool's folder; created if it does not exist.
    pub dir: PathBuf,
    /// Bytes claimed for each page before the read. A larger page gets a file of its own, which makes the write slower.
    pub page_space: u64,
}

impl SpoolOptions {
    /// The default: 256 KiB per page, about four times what 30 orders take.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), page_space: 256 * 1024 }
    }
}

/// A spool that this process has locked. Clones share it; the lock is released when the last clone and the last
/// reservation are dropped.
#[derive(Debug, Clone)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: SpoolDisk,
    dir: PathBuf,
    log: Arc<Log>,
    next_seq: AtomicU64,
    /// Whether a reservation was dropped by somebody who did not say what became of its read.
    is_abandoned: AtomicBool,
    lock: Lock,
    read_ids: ReadIds,
}

impl Spool {
    /// Locks the spool and recovers what the former process left. Recovered answers may turn out not to be pages: call
    /// [`Recovery::disown`].
    ///
    /// # Errors
    /// [`SpoolError::Locked`] when another process has it, [`SpoolError::Disk`] when the folder can't be created, read
    /// or written.
    pub fn open(options: SpoolOptions) -> Result<(Self, Recovery), SpoolError> {
        Self::open_on(SpoolDisk::real().0, options)
    }

    /// Like [`Spool::open`], on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, options: SpoolOptions) -> Result<(Self, Recovery), SpoolError> {
        let SpoolOptions { dir, page_space } = options;
        let disk = SpoolDisk(disk);
        disk.create_dir(&dir)?;
        if let Some(exposure) = exposure::look(&disk, &dir)? {
            let (found, cure) = (exposure.found(), exposure.cure());
            tracing::warn!(cure, "{found}");
        }
        let (lock, polls_cut_off) = Lock::take(&disk, &dir)?;
        let read_ids = identity::read_ids(&disk, &dir)?;
        let (files, next_seq) = recovery::recover_files(&disk, &dir)?;
        let (log, damaged, last_seq) = Log::open(&disk, &dir, usize::try_from(page_space).unwrap_or(usize::MAX))?;
        let log = Arc::new(log);
        let mut recovery = files.merged(&disk, &log, &|_| true)?;
        // What a part of the log held that is gone, or can't be read, may have been a read of any store: all of them have
        // to be looked at.
        let is_anybodys = damaged.iter().any(|damage| damage.store.is_none());
        recovery.corrupt.extend(damaged);
        recovery.polls_cut_off = polls_cut_off.or_else(|| is_anybodys.then(clock::now));
        let next_seq = next_seq.max(last_seq + 1).into();
        let inner = Inner { disk, dir, log, next_seq, is_abandoned: false.into(), lock, read_ids };
        Ok((Self(Arc::new(inner)), recovery))
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// What the spool still holds of these stores. Nobody may be at work with them: not a drain, and not a lane that has
    /// pages of theirs.
    ///
    /// # Errors
    /// [`SpoolError::Disk`].
    pub fn left_of(&self, is_wanted: &dyn Fn(&StoreName) -> bool) -> Result<Recovery, SpoolError> {
        let Inner { disk, dir, log, .. } = &*self.0;
        recovery::files_of(disk, dir, is_wanted)?.merged(disk, log, is_wanted)
    }

    /// How many pages of these stores there are. Nobody may be at work with these stores.
    ///
    /// # Errors
    /// [`SpoolError`] when the folder can't be read.
    pub fn pages_of(&self, is_wanted: &dyn Fn(&StoreName) -> bool) -> Result<usize, SpoolError> {
        let Inner { disk, dir, log, .. } = &*self.0;
        recovery::files_of(disk, dir, is_wanted).map(|files| files.pages_with(log, is_wanted))
    }

    /// The IDs of this spool's reads. What is published without a page, but by the process that has this spool, uses them
    /// too.
    #[must_use]
    pub fn read_ids(&self) -> ReadIds {
        self.0.read_ids
    }

    /// Forgets [`Recovery::polls_cut_off`], once the account has noted it.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the next start then tells it again.
    pub fn forget_cut_off_polls(&self) -> Result<(), SpoolError> {
        // A full disk must not keep the program from publishing: the next start tells it again.
        self.0.log.forget_gone().ok();
        self.0.lock.forget_last_owner()
    }

    /// Claims space for a store's next page.
    ///
    /// # Errors
    /// [`SpoolError::Disk`], also for a full or read-only disk. Nothing was read, and nothing may be read without a
    /// reservation.
    pub fn reserve(&self, store: &StoreName) -> Result<Reservation, SpoolError> {
        // guard: space before the read
        self.0.log.claim()?;
        Ok(Reservation::new(self.0.clone(), self.0.next_head(store), false))
    }

    /// Removes pages that are committed to Kafka. They are gone for good once [`Self::durable`] says so.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]. The next start then finds the pages again, and the index recognises their read IDs and
    /// skips them.
    pub fn release(&self, pages: Vec<Durable>, _proof: &Committed) -> Result<Removal, SpoolError> {
        self.0.let_go(pages.iter().map(|page| (page.seq(), page.place())))
    }

    /// Waits until removed reads are gone for good.
    pub async fn durable(&self, removal: Removal) -> Result<(), SpoolError> {
        match removal.0 {
            Some(ticket) => self.0.log.durable(ticket).await,
            None => Ok(()),
        }
    }

    /// Removes what was written of a page that was published from memory. Left there, the next start would report it as
    /// a read of unknown outcome.
    pub fn release_unwritten(&self, seq: u64, _proof: &Committed) -> Result<(), SpoolError> {
        self.discard_unwritten(seq)
    }

    /// Removes what was written of an answer without orders, likewise.
    pub fn discard_unwritten(&self, seq: u64) -> Result<(), SpoolError> {
        self.0.log.done(&[seq]).map(drop)
    }

    /// After [`WriteFailed`]: writes the page to a file of its own.
    ///
    /// # Errors
    /// [`WriteFailed`] again, with the body.
    pub fn rescue(&self, failed: WriteFailed, read_at: Timestamp) -> Result<Durable, WriteFailed> {
        let WriteFailed { head, body, .. } = failed;
        match page_file::write_page(&self.0.disk, &self.0.dir, &head, read_at, &body) {
            Ok(path) => {
                // If the log can't be written, recovery finds the whole copy.
                self.0.log.done(&[head.seq]).ok();
                Ok(Durable::new(&self.0, *head, read_at, Place::File(path), body))
            }
            Err(error) => Err(WriteFailed { head, body, error }),
        }
    }

    /// Turns an answer that is no page into a read of unknown outcome. The bytes are kept.
    ///
    /// # Errors
    /// [`SpoolError`]. The next start then finds either the page, and disowns it again, or the finished trace.
    pub async fn disown(&self, page: Durable, reason: &str) -> Result<UnknownRead, SpoolError> {
        let body = page.body()?;
        let reason = format::one_line(reason);
        if let Place::File(path) = page.place() {
            return page_file::disown(&self.0.disk, path, page.head(), page.read_at(), reason, &body);
        }
        let head = page.head().clone();
        self.0.trace(head, page.read_at(), reason, &body).await
    }

    /// Durably removes the trace of a read of unknown outcome. Call it once nothing of that read is missing.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the next start may then find the trace again.
    pub async fn settle(&self, read: UnknownRead) -> Result<(), SpoolError> {
        let gone = self.0.let_go([(read.seq, &read.place)])?;
        self.durable(gone).await
    }

    /// Keeps the spool in order until it is dropped: syncs what nobody waits for, gives segments back, and tells the next
    /// process when this one was last alive. Never returns.
    pub async fn keep(self) {
        let mut beat = Instant::now();
        loop {
            // An error is met again by whoever needs the disk.
            timeout(LAZY_SYNC, self.0.log.wanted.notified()).await.ok();
            if let Err(error) = in_place(|| self.0.log.upkeep()) {
                tracing::warn!(%error, "the spool could not be tidied");
                sleep(LAZY_SYNC).await;
            }
            if beat.elapsed() >= HEARTBEAT {
                beat = Instant::now();
                self.0.lock.beat();
            }
            if let Some(ticket) = self.0.log.unsynced()
                && let Err(error) = self.0.log.durable(ticket).await
            {
                tracing::warn!(%error, "the spool could not be synced");
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn has_unsynced(&self) -> bool {
        self.0.log.unsynced().is_some()
    }

    /// Lists what a spool holds, without its lock and without changing anything. A folder that does not exist holds
    /// nothing.
    pub fn inspect(dir: &Path) -> Result<Vec<SpoolEntry>, SpoolError> {
        inspect::inspect(dir)
    }

    /// Measures how full a spool is, without its lock and without reading the pages.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the folder does not exist, or can't be read or written.
    pub fn survey(dir: &Path) -> Result<Survey, SpoolError> {
        survey::survey(dir)
    }

    /// Checks whether a folder can serve as a spool, and which process holds it. Leaves nothing behind, and takes the
    /// lock only for the moment of the check.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the folder, or its nearest existing parent, can't be written.
    pub fn fitness(dir: &Path) -> Result<Fitness, SpoolError> {
        fitness::measure(dir)
    }

    /// Whether others than the owner can get at the spool.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the folder can't be looked at.
    pub fn exposure(dir: &Path) -> Result<Option<Exposure>, SpoolError> {
        exposure::look(&SpoolDisk::real(), dir)
    }

    /// Returns which process holds a spool.
    pub fn holder(dir: &Path) -> Result<Holder, SpoolError> {
        fitness::holder(dir)
    }
}

/// The removal of reads; [`Spool::durable`] waits until they are gone for good.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Removal(Option<Ticket>);

impl Inner {
    fn next_head(&self, store: &StoreName) -> Head {
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        Head { seq, store: store.clone(), read_id: self.read_ids.fresh(), reserved_at: clock::now() }
    }

    fn let_go<'a>(&self, reads: impl IntoIterator<Item = (u64, &'a Place)>) -> Result<Removal, SpoolError> {
        let mut in_log = Vec::new();
        for (seq, place) in reads {
            match place {
                Place::Log => in_log.push(seq),
                Place::File(path) => page_file::remove(&self.disk, path)?,
            }
        }
        Ok(Removal(if in_log.is_empty() { None } else { Some(self.log.done(&in_log)?) }))
    }

    /// Makes the trace of a read of unknown outcome durable. `reason` is one line.
    async fn trace(&self, head: Head, at: Timestamp, reason: String, came: &[u8]) -> Result<UnknownRead, SpoolError> {
        let body = render_unknown(&reason, came);
        if !self.log.fits(body.len()) {
            let path = page_file::write_unknown(&self.disk, &self.dir, &head, at, &reason, came)?;
            self.log.done(&[head.seq])?;
            return Ok(UnknownRead::new(head, reason, None, Place::File(path)));
        }
        let ticket = self.log.append(&Frame::Unknown { head: head.clone(), at, pending: None }, &body)?;
        self.log.durable(ticket).await?;
        Ok(UnknownRead::new(head, reason, None, Place::Log))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.log.close() && !self.is_abandoned.load(Ordering::Relaxed) {
            self.lock.end();
        }
    }
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.extension().is_some_and(|extension| extension == suffix)
}

/// Files of single pages. Other files in the folder are not ours and are left alone.
fn is_page_file(path: &Path) -> bool {
    [PAGE, UNKNOWN, FREE].iter().any(|suffix| has_suffix(path, suffix))
}
