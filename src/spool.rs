//! The spool: where an answer of the marketplace is made durable before the next one is asked for. Synchronous: call it
//! from a thread that may block.
//!
//! # Format
//! One file per read, `<sequence number>-<store>-<read ID>.page`, in the order of reservation:
//!
//! | bytes | part | holds |
//! |---|---|---|
//! | 0..4096 | head, text | magic and version, sequence number, store, read ID, time of reservation, xxh3-64 of these |
//! | 4096..4608 | seal, text | time and length of the answer, outcome, xxh3-128 of head, seal and body |
//! | 4608..4608 + length | body | the answer as it came |
//! | to the end | space | nothing that anybody reads; zeros; none in the trace of a read of unknown outcome |
//!
//! Zeros fill up head and seal, so `tr -d '\0' < file` shows all there is. The seal, though written last, stands before
//! the body: its place is fixed, so that space may follow the body and damage to that space is harmless. The head has a
//! block of its own: writing a page does not touch the block that says whose page it is. Other suffixes:
//! `.unknown` is a read of unknown outcome, `.free` is nobody's. `corrupt/` holds what could not be read.
//! `lock` is locked for as long as a process has the spool open.
//!
//! # Invariants
//! 1. A head is durable before the read that it is for, and so is space for the body. [`Durable`] exists only after
//!    the `fdatasync` of its seal and body, which recovery does again for what it finds.
//! 2. Bytes 0..4608 + length of a finished file can't change, and the file can't end among them, without being noticed.
//! 3. The head says what a file is. The name is for people: a rename that was lost with the power is made up for.
//! 4. A reservation begins with a body of zeros. Reads of a store follow each other and use their reservations in
//!    order. So of a store's reservations without a seal, the first after its last finished one was in flight: it
//!    becomes an [`UnknownRead`]. Later ones were waiting, and go. One with bytes in its body was being written.
//! 5. A file is given to another read only after a head that says `free` is durable on it: no crash can show the new
//!    body under the old head. (A power failure within [`Spool::reserve`] can show bytes of the old body under the new
//!    head: an unknown read too many, of a reservation that nobody held yet, and never a page.)
//! 6. Nothing that was ever a page is deleted but by release, settle, or a whole copy of the same read.
//! 7. An answer may be sealed as a page before anybody has looked into it. Whoever finds out that it is none says so:
//!    [`Durable::disown`] puts another seal on the same bytes, and [`Recovery::disown`] does so for what a kill left.
//!
//! # Why files are used again
//! What counts is that only one `fdatasync`, and no journal commit, lies between two reads. Measured on prototypes, on
//! an ext4 of a virtual disk, 256 KiB given to each file, bodies of 60 KB, reserve, write and release in a thread
//! each. A new file per page, its space given by `fallocate`, takes 2.0 ms to reserve and 0.67 ms to write (space that
//! was never written is still to be marked as written); by writing zeros 2.9 ms and 0.93 ms; new files made 16 at a
//! time 2.7 ms and 0.87 ms: 340 to 480 pages/s, bound by the journal and the zeros. A released file used again: 0.6 ms
//! and 0.65 ms, 1,400 pages/s; with no other sync in between, the write of this spool takes 0.3 ms. A rename costs the
//! next `fdatasync` of that file 0.12 ms for the journal, so a reservation gets its name before it is synced, not
//! after.
//!
//! Deliberately absent: encryption, compression (a person must be able to read a page), and any knowledge of what a
//! page holds. On a file system that copies on write, space given in advance may not be space kept; a disk that fills
//! up is then met in the write, and the page is still in memory.

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

/// Where a spool is, and how much room it takes.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// The folder; created if it is not there.
    pub dir: PathBuf,
    /// Bytes given to each file before the read. A larger page grows its file, at the price of a slower write.
    pub page_space: u64,
    /// How many released files are kept for use again.
    pub spare_files: usize,
}

impl SpoolOptions {
    /// The defaults: 256 KiB for a page, which is some four times what 30 orders take, and at most 64 spare files.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), page_space: 256 * 1024, spare_files: 64 }
    }
}

/// A spool that this process has to itself. Clones are the same spool; it is let go when the last one, and the last
/// reservation, is dropped.
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

/// A file whose head says, durably, that it is nobody's.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl Spool {
    /// Opens the spool for this process alone and finds out what the one before left behind. What it has found are answers:
    /// [`Recovery::disown`] says which are pages.
    ///
    /// # Errors
    /// [`SpoolError::Locked`] when another process has it, [`SpoolError::Disk`] when the folder can't be made, read
    /// or written.
    pub fn open(options: SpoolOptions) -> Result<(Self, Recovery), SpoolError> {
        Self::open_on(SpoolDisk::real().0, options)
    }

    /// The same on any disk.
    ///
    /// # Errors
    /// See [`Spool::open`].
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

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Makes room for the next page of a store and makes that durable. Reservations of a store must be used in the
    /// order in which they were made.
    ///
    /// # Errors
    /// [`SpoolError::Disk`], for one that is full or read-only too: nothing was read, and nothing must be.
    pub fn reserve(&self, store: &StoreName) -> Result<Reservation, SpoolError> {
        let head =
            Head { seq: self.0.take_seq(), store: store.clone(), read_id: ReadId::fresh(), reserved_at: clock::now() };
        let mut reservation = self.0.clone().begin(head)?;
        // The name comes first: a rename after the sync would leave a journal commit to the fdatasync of the page.
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

    /// Lets go of a page that is in Kafka. Its file is made free with one `fdatasync` and kept for another read, or
    /// removed; either way the buyers' data in it goes.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the page is then found again after the next start, and skipped by who knows the read ID.
    pub fn release(&self, page: Durable, _proof: &Committed) -> Result<(), SpoolError> {
        self.0.let_go(page.path(), page.length())
    }

    /// Lets go of what a failed write left of a page that was published from memory: it would be reported as a read of
    /// unknown outcome after the next start.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; it is then reported so.
    pub fn release_unwritten(&self, read_id: ReadId, _proof: &Committed) -> Result<(), SpoolError> {
        self.discard_unwritten(read_id)
    }

    /// Lets go of what a failed write left of an answer without orders, likewise.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; it is then reported so.
    pub fn discard_unwritten(&self, read_id: ReadId) -> Result<(), SpoolError> {
        self.0.file_of(read_id)?.map_or(Ok(()), |path| self.0.remove_durably(&path))
    }

    /// Writes a page to another file after [`WriteFailed`], in its place in the order, and puts the first file aside.
    ///
    /// # Errors
    /// [`WriteFailed`], with the body, once more.
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

    /// The new file is whole before the first is touched: at no moment is there less than before.
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

    /// Removes the trace of a read of unknown outcome, durably: somebody made sure that nothing of it is missing.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the trace may then be found again after the next start.
    pub fn settle(&self, read: UnknownRead) -> Result<(), SpoolError> {
        self.0.remove_durably(&read.path)
    }

    /// Lists the files of a spool, without its lock and without changing anything. A folder that is not there has none.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the folder can't be listed.
    pub fn inspect(dir: &Path) -> Result<Vec<SpoolEntry>, SpoolError> {
        inspect::inspect(dir)
    }

    /// How full a spool is, without its lock and without reading the pages.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the folder is not there, or can't be read or written.
    pub fn survey(dir: &Path) -> Result<Survey, SpoolError> {
        survey::survey(dir)
    }

    /// Whether a folder is fit to be a spool, and who works with it. Leaves nothing behind and takes no lock for longer
    /// than it takes to see that it is free.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the folder, or the nearest one above it, can't be written.
    pub fn fitness(dir: &Path) -> Result<Fitness, SpoolError> {
        fitness::measure(dir)
    }

    /// Who works with a spool.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the lock can't be looked at.
    pub fn holder(dir: &Path) -> Result<Holder, SpoolError> {
        fitness::holder(dir)
    }

    /// The body in a file of a spool: a page as it came, or what came of a read of unknown outcome. Needs no lock.
    ///
    /// # Errors
    /// [`SpoolError::Disk`] when the file can't be read, [`SpoolError::Damaged`] when its head can't.
    pub fn read_body(path: &Path) -> Result<Bytes, SpoolError> {
        inspect::body(path)
    }
}

impl Inner {
    fn take_seq(&self) -> u64 {
        self.next_seq.fetch_add(1, Ordering::Relaxed)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Spare>> {
        // The list is whole after every statement that changes it.
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a head on a file that is nobody's. Not durable yet, and under the name of a free file.
    fn begin(self: Arc<Self>, head: Head) -> Result<Reservation, SpoolError> {
        let spare = self.spares().pop();
        let Spare { path, file } = spare.map_or_else(|| self.create_spare(), Ok)?;
        disk::write_at(&*file, &path, 0, &head.render()).map_err(|error| self.undo(&path, error))?;
        Ok(Reservation { spool: self, head, file, path })
    }

    /// Zeros are written, rather than space allotted: the write of the page then changes bytes and no metadata.
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

    /// Removes a file that nobody got. Should that fail too, recovery finds a reservation without a body.
    fn undo(&self, path: &Path, error: SpoolError) -> SpoolError {
        self.disk.remove(path).ok();
        error
    }

    /// Gone for good, also if the power fails now: a page that came back would be older than what has become of its orders
    /// since.
    fn let_go(&self, path: &Path, length: usize) -> Result<(), SpoolError> {
        // A file from a process with other settings may have less space than is promised now, one that grew has more.
        let usable = self.disk.size(path).is_ok_and(|size| size == self.page_space as u64);
        let Ok(file) = self.make_free(path) else { return self.remove_durably(path) };
        if !usable || self.spares().len() >= self.spare_files {
            return self.disk.remove(path);
        }
        self.keep_spare(path, length, file).or_else(|_| self.disk.remove(path))
    }

    /// The head says that the file is nobody's, durably; what becomes of its name does not matter any more.
    fn make_free(&self, path: &Path) -> Result<Box<dyn DiskFile>, SpoolError> {
        let file = self.disk.open_for_writing(path)?;
        disk::write_at(&*file, path, 0, &format::free_head())?;
        // guard: a page that is let go stays gone
        disk::sync_data(&*file, path)?;
        Ok(file)
    }

    /// The wiping is made durable by the reservation that uses the file next.
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
            // Somebody removed the folder, and the file with it: what is still in memory has to be published.
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
    /// Spare files are worth nothing to the next process; those left behind by a kill it removes itself.
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

/// Whatever else lies in the folder is somebody else's, and left alone.
fn is_ours(path: &Path) -> bool {
    [PAGE, UNKNOWN, FREE].iter().any(|suffix| has_suffix(path, suffix))
}
