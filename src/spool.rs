//! The spool: makes each answer of the marketplace durable before the next one is requested. All calls are synchronous:
//! call them from a thread that may block.
//!
//! # Format
//! One file per read, `<sequence number>-<store>-<read ID>.page`, in the order of reservation:
//!
//! | bytes | part | holds |
//! |---|---|---|
//! | 0..4096 | head, text | magic and version, sequence number, store, read ID, time of reservation, xxh3-64 of these |
//! | 4096..4608 | seal, text | time and length of the answer, outcome, xxh3-128 of head, seal and body |
//! | 4608..4608 + length | body | the answer as it came |
//! | to the end | space | unused: zeros that nobody reads; cut off in the trace of a read of unknown outcome |
//!
//! Head and seal are padded with zeros, so `tr -d '\0' < file` shows a whole file. The seal is written last but stands
//! before the body. Its place is fixed, so free space may follow the body, and damage to that space is harmless. The
//! head has a block of its own: writing a page never touches the block that says whose page it is.
//!
//! Other file names: `.unknown` is the trace of a read of unknown outcome, `.free` is a spare file. `corrupt/` holds
//! files that could not be read. `lock` is locked for as long as a process has the spool open.
//!
//! # Invariants
//! 1. A head and the space for the body are durable before the read that they are for. [`Durable`] exists only after
//!    the `fdatasync` of seal and body. Recovery repeats that sync for every file that it finds.
//! 2. Any change to bytes 0..4608 + length of a finished file, and any truncation within them, is detected.
//! 3. The head says what a file is. The name is for people: recovery restores a rename that was lost in a power
//!    failure.
//! 4. A reservation starts with a body of zeros. Reads of a store follow each other and use their reservations in
//!    order. So among a store's reservations without a seal, the first one after its last finished file was in flight:
//!    it becomes an [`UnknownRead`]. Later ones were waiting and are removed. A reservation with bytes in its body was
//!    being written.
//! 5. A file is reused for another read only after a head that says `free` is durable on it: no crash can show the new
//!    body under the old head. (A power failure within [`Spool::reserve`] can show bytes of the old body under the new
//!    head. That adds an unknown read, of a reservation that nobody held yet, and never a page.)
//! 6. A file that was ever a page is deleted only by release, by settle, or in favour of a whole copy of the same read.
//! 7. An answer may be sealed as a page before anybody has parsed it. If it turns out to be no page,
//!    [`Durable::disown`] writes another seal for the same bytes. [`Recovery::disown`] does so for files that a killed
//!    process left.
//!
//! # Why files are reused
//! Between two reads there must be only one `fdatasync` and no journal commit. Prototypes were measured on an ext4 on a
//! virtual disk, with files of 256 KiB, bodies of 60 KB, and a thread each for reserve, write and release:
//!
//! | file for each page | reserve | write | pages/s |
//! |---|---|---|---|
//! | new, space from `fallocate` (its blocks are still to be marked as written) | 2.0 ms | 0.67 ms | 340 to 480, bound by the journal and the zeros |
//! | new, filled with zeros | 2.9 ms | 0.93 ms | likewise |
//! | new, made 16 at a time | 2.7 ms | 0.87 ms | likewise |
//! | a released file, reused | 0.6 ms | 0.65 ms | 1,400 |
//!
//! With no other sync in between, the write takes 0.3 ms. A rename costs the next `fdatasync` of that file 0.12 ms for
//! the journal, so a reservation is renamed before it is synced, not after.
//!
//! Deliberately absent: encryption, compression (a person must be able to read a page), and any knowledge of what a
//! page holds. A copy-on-write file system may not keep the space that was reserved. A full disk then shows up in the
//! write, and the page is still in memory.

pub mod committed;
mod disk;
mod error;
mod fitness;
mod format;
mod inspect;
mod lock;
mod page;
mod recovery;
mod reservation;
mod survey;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

pub use error::{SpoolError, WriteFailed};
pub use fitness::{Fitness, Holder};
pub use inspect::{FileState, SpoolEntry};
pub use page::{Durable, UnknownRead};
pub use recovery::{CorruptFile, Recovery};
pub use reservation::Reservation;
pub use survey::Survey;

use crate::order::ids::{ReadId, StoreName};
use crate::platform::clock;
use crate::platform::disk::{Disk, DiskFile};
use crate::spool::committed::Committed;
use disk::SpoolDisk;
use format::{BODY, HEAD, Head, Outcome, SEAL, Seal};
use lock::Lock;

const PAGE: &str = "page";
const UNKNOWN: &str = "unknown";
const FREE: &str = "free";
const CORRUPT: &str = "corrupt";

/// Where a spool is, and how much space it uses.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// The spool's folder; created if it does not exist.
    pub dir: PathBuf,
    /// Bytes reserved in each file before the read. A larger page grows its file, which makes the write slower.
    pub page_space: u64,
    /// Maximum number of released files that are kept for reuse.
    pub spare_files: usize,
}

impl SpoolOptions {
    /// The defaults: 256 KiB per page, about four times what 30 orders take, and at most 64 spare files.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), page_space: 256 * 1024, spare_files: 64 }
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
    page_space: usize,
    spare_files: usize,
    next_seq: AtomicU64,
    spares: Mutex<Vec<Spare>>,
    _lock: Lock,
}

/// A file whose head durably says `free`.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl Spool {
    /// Locks the spool and recovers the files of the former process. Recovered answers may turn out not to be pages:
    /// call [`Recovery::disown`].
    ///
    /// # Errors
    /// [`SpoolError::Locked`] when another process has it, [`SpoolError::Disk`] when the folder can't be created, read
    /// or written.
    pub fn open(options: SpoolOptions) -> Result<(Self, Recovery), SpoolError> {
        Self::open_on(SpoolDisk::real().0, options)
    }

    /// Like [`Spool::open`], on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, options: SpoolOptions) -> Result<(Self, Recovery), SpoolError> {
        let SpoolOptions { dir, page_space, spare_files } = options;
        let disk = SpoolDisk(disk);
        disk.create_dir(&dir)?;
        let lock = Lock::take(&disk, &dir)?;
        let (recovery, next_seq) = recovery::recover(&disk, &dir)?;
        let inner = Inner {
            disk,
            dir,
            page_space: usize::try_from(page_space).unwrap_or(usize::MAX).max(BODY),
            spare_files,
            next_seq: next_seq.into(),
            spares: Mutex::default(),
            _lock: lock,
        };
        Ok((Self(Arc::new(inner)), recovery))
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Reserves a file for a store's next page and makes it durable. A store must use its reservations in the order in
    /// which they were made.
    ///
    /// # Errors
    /// [`SpoolError::Disk`], also for a full or read-only disk. Nothing was read, and nothing may be read without a
    /// reservation.
    pub fn reserve(&self, store: &StoreName) -> Result<Reservation, SpoolError> {
        let head =
            Head { seq: self.0.take_seq(), store: store.clone(), read_id: ReadId::fresh(), reserved_at: clock::now() };
        let mut reservation = self.0.clone().begin(head)?;
        // Rename first: a rename after the sync would make the page's fdatasync pay for a journal commit.
        // guard: a file before the read
        match reservation
            .take_name()
            // guard: the reservation is durable before the read
            .and_then(|()| disk::sync_data(&*reservation.file, &reservation.path))
        {
            Ok(()) => Ok(reservation),
            Err(error) => Err(self.0.undo(&reservation.path, error)),
        }
    }

    /// Removes a page that is committed to Kafka. Marks its file as free with one `fdatasync` and keeps it for reuse,
    /// or deletes it. Either way the buyers' data is erased.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]. The next start then finds the page again, and the index recognises its read ID and skips
    /// it.
    pub fn release(&self, page: Durable, _proof: &Committed) -> Result<(), SpoolError> {
        self.0.let_go(page.path(), page.length())
    }

    /// Removes the torn file of a page that was published from memory. Left there, the next start would report it as a
    /// read of unknown outcome.
    pub fn release_unwritten(&self, read_id: ReadId, _proof: &Committed) -> Result<(), SpoolError> {
        self.discard_unwritten(read_id)
    }

    /// Removes the torn file of an answer without orders, likewise.
    pub fn discard_unwritten(&self, read_id: ReadId) -> Result<(), SpoolError> {
        self.0.file_of(read_id)?.map_or(Ok(()), |path| self.0.remove_durably(&path))
    }

    /// After [`WriteFailed`]: writes the page to a new file under the same sequence number, and moves the first file to
    /// `corrupt/`.
    ///
    /// # Errors
    /// [`WriteFailed`] again, with the body.
    pub fn rescue(
        &self,
        store: &StoreName,
        read_id: ReadId,
        read_at: Timestamp,
        body: Bytes,
    ) -> Result<Durable, WriteFailed> {
        match self.try_rescue(store, read_id, read_at, &body) {
            Ok((head, path)) => Ok(Durable::written(self.0.disk.clone(), head, read_at, path, body)),
            Err(error) => Err(WriteFailed { body, error }),
        }
    }

    /// The new file is complete before the first one is touched, so a crash never leaves less than before.
    fn try_rescue(
        &self,
        store: &StoreName,
        read_id: ReadId,
        read_at: Timestamp,
        body: &[u8],
    ) -> Result<(Head, PathBuf), SpoolError> {
        let first = self.0.file_of(read_id)?;
        let seq = first.as_deref().and_then(seq_of).unwrap_or_else(|| self.0.take_seq());
        let head = Head { seq, store: store.clone(), read_id, reserved_at: clock::now() };
        let mut second = self.0.clone().begin(head)?;
        let seal = Seal { outcome: Outcome::Page, at: read_at };
        second.put(&seal, body).map_err(|error| self.0.undo(&second.path, error))?;
        if let Some(first) = first {
            recovery::move_to_corrupt(&self.0.disk, &self.0.dir, &first)?;
        }
        second.take_name()?;
        Ok((second.head, second.path))
    }

    /// Durably removes the trace of a read of unknown outcome. Call it once nothing of that read is missing.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the next start may then find the trace again.
    pub fn settle(&self, read: UnknownRead) -> Result<(), SpoolError> {
        self.0.remove_durably(&read.path)
    }

    /// Lists the files of a spool without its lock and without changing anything. A folder that does not exist has no
    /// files.
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

    /// Returns which process holds a spool.
    pub fn holder(dir: &Path) -> Result<Holder, SpoolError> {
        fitness::holder(dir)
    }

    /// Reads the body of a spool file: a page, or the bytes that came of a read of unknown outcome. Needs no lock.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the file can't be read, [`SpoolError::Damaged`] when its head is damaged.
    pub fn read_body(path: &Path) -> Result<Bytes, SpoolError> {
        inspect::body(path)
    }
}

impl Inner {
    fn take_seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Spare>> {
        // Every statement leaves the list consistent, so a poisoned lock is safe to use.
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a head to a free file. The result is not durable yet, and still has the name of a free file.
    fn begin(self: Arc<Self>, head: Head) -> Result<Reservation, SpoolError> {
        let spare = self.spares().pop();
        let Spare { path, file } = spare.map_or_else(|| self.create_spare(), Ok)?;
        disk::write_at(&*file, &path, 0, &head.render()).map_err(|error| self.undo(&path, error))?;
        Ok(Reservation { spool: self, head, file, path })
    }

    /// Writes zeros rather than allocating space: writing the page then changes bytes and no metadata.
    fn create_spare(&self) -> Result<Spare, SpoolError> {
        let path = self.spare_path();
        let file = self.disk.create(&path)?;
        let mut content = format::free_head();
        content.resize(self.page_space, 0);
        disk::write_at(&*file, &path, 0, &content)
            .and_then(|()| disk::sync_data(&*file, &path))
            .and_then(|()| self.disk.sync_dir(&self.dir))
            .map_err(|error| self.undo(&path, error))?;
        Ok(Spare { path, file })
    }

    fn spare_path(&self) -> PathBuf {
        self.dir.join(format!("{:012}.{FREE}", self.take_seq()))
    }

    /// Removes a file whose reservation failed. If the removal fails too, recovery finds a reservation without a body.
    fn undo(&self, path: &Path, error: SpoolError) -> SpoolError {
        self.disk.remove(path).ok();
        error
    }

    /// Removes the page durably, even across a power failure: a page that came back would be older than what has become
    /// of its orders since.
    fn let_go(&self, path: &Path, length: usize) -> Result<(), SpoolError> {
        // A file of a process with other settings may have less space than promised now; one that grew has more.
        let usable = self.disk.size(path).is_ok_and(|size| size == self.page_space as u64);
        let Ok(file) = self.make_free(path) else { return self.remove_durably(path) };
        if !usable || self.spares().len() >= self.spare_files {
            return self.disk.remove(path);
        }
        self.keep_spare(path, length, file).or_else(|_| self.disk.remove(path))
    }

    /// Makes the `free` head durable; from then on the file's name no longer matters.
    fn make_free(&self, path: &Path) -> Result<Box<dyn DiskFile>, SpoolError> {
        let file = self.disk.open_for_writing(path)?;
        disk::write_at(&*file, path, 0, &format::free_head())?;
        // guard: a page that is let go stays gone
        disk::sync_data(&*file, path)?;
        Ok(file)
    }

    /// The next reservation of the file makes the erasure durable.
    fn keep_spare(&self, path: &Path, length: usize, file: Box<dyn DiskFile>) -> Result<(), SpoolError> {
        disk::write_at(&*file, path, HEAD, &vec![0; SEAL + length])?;
        let spare = Spare { path: self.spare_path(), file };
        self.disk.rename(path, &spare.path)?;
        self.spares().push(spare);
        Ok(())
    }

    fn remove_durably(&self, path: &Path) -> Result<(), SpoolError> {
        self.disk.remove(path)?;
        match self.disk.sync_dir(&self.dir) {
            // Somebody removed the folder and the file with it: go on, so that pages still in memory get published.
            Err(error) if error.is_missing() => Ok(()),
            synced => synced,
        }
    }

    fn file_of(&self, read_id: ReadId) -> Result<Option<PathBuf>, SpoolError> {
        let ending = format!("-{read_id}.{PAGE}");
        Ok(self.disk.list(&self.dir)?.into_iter().find(|path| path.to_string_lossy().ends_with(&ending)))
    }
}

impl Drop for Inner {
    /// Removes the spare files, which are of no use to the next process. Recovery removes those that a killed process
    /// leaves.
    fn drop(&mut self) {
        for spare in self.spares().drain(..) {
            self.disk.remove(&spare.path).ok();
        }
    }
}

impl Reservation {
    fn take_name(&mut self) -> Result<(), SpoolError> {
        let path = self.spool.dir.join(self.head.file_name(PAGE));
        self.spool.disk.rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }
}

fn seq_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

fn has_suffix(path: &Path, suffix: &str) -> bool {
    path.extension().is_some_and(|extension| extension == suffix)
}

/// Other files in the folder are not ours and are left alone.
fn is_ours(path: &Path) -> bool {
    [PAGE, UNKNOWN, FREE].iter().any(|suffix| has_suffix(path, suffix))
}
