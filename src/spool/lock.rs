//! Allows one process per spool: two would read with each other's reservations.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use crate::platform::clock;
use crate::platform::disk::DiskFile;

/// Name of the lock file. Its first line is the process ID of its last owner, for the error message of a second process.
/// The second one is `ended`, or, once it has polled, `alive:` and a time.
pub(super) const NAME: &str = "lock";

/// Bytes of the lock file: one sector, written whole or not at all.
const LENGTH: usize = 512;

/// Holds the lock of the spool's folder until dropped. The kernel releases it when the process dies, however it dies.
#[derive(Debug)]
pub(super) struct Lock {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    has_polled: AtomicBool,
}

impl Lock {
    /// Also returns when the last owner was last alive, if it did not end well.
    pub(super) fn take(disk: &SpoolDisk, dir: &Path) -> Result<(Self, Option<Timestamp>), SpoolError> {
        let path = dir.join(NAME);
        let Some(file) = disk.lock(&path)? else {
            return Err(SpoolError::Locked { dir: dir.to_owned(), pid: holder(disk, &path) });
        };
        let left = disk.read(&path).ok().and_then(|text| last_seen(&text));
        let lock = Self { file, path, has_polled: false.into() };
        // A full disk must not keep the program from publishing, which is what frees space.
        lock.write(left).ok();
        Ok((lock, left))
    }

    /// Forgets how the last owner ended, once that is noted elsewhere.
    pub(super) fn forget_last_owner(&self) -> Result<(), SpoolError> {
        self.write(None)
    }

    /// Makes sure, before the first poll, that the next process will know if this one does not end well. `false` if it
    /// can't.
    pub(super) fn begin_polls(&self) -> bool {
        if !self.has_polled.load(Ordering::Relaxed) {
            // guard: that a process polls is durable before it does
            let told = self.write(Some(clock::now())).and_then(|()| disk::sync_data(&*self.file, &self.path));
            self.has_polled.store(told.is_ok(), Ordering::Relaxed);
        }
        self.has_polled.load(Ordering::Relaxed)
    }

    /// Says that the process is alive. If it can't, the next process believes that this one died earlier.
    pub(super) fn beat(&self) {
        if self.has_polled.load(Ordering::Relaxed) {
            self.write(Some(clock::now())).ok();
        }
    }

    /// Says that no read is under way any more. If it can't, the next process looks for reads that there were not.
    pub(super) fn end(&self) {
        if self.has_polled.load(Ordering::Relaxed) {
            self.write(None).ok();
        }
    }

    fn write(&self, alive: Option<Timestamp>) -> Result<(), SpoolError> {
        let state = alive.map_or_else(|| "ended".to_owned(), |at| format!("alive: {at}"));
        let mut text = format!("{}\n{state}\n", std::process::id()).into_bytes();
        text.resize(LENGTH, b'\n');
        disk::write_at(&*self.file, &self.path, 0, &text)
    }
}

fn last_seen(text: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(text).ok()?.lines().nth(1)?.strip_prefix("alive: ")?.parse().ok()
}

pub(super) fn holder(disk: &SpoolDisk, path: &Path) -> Option<u32> {
    std::str::from_utf8(&disk.read(path).ok()?).ok()?.lines().next()?.trim().parse().ok()
}
