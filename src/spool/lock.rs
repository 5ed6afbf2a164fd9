//! Allows one process per spool: two would read with each other's reservations.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use crate::platform::clock;
use crate::platform::disk::DiskFile;

/// Name of the lock file. Its first line is the process ID of its last owner, for the error message of a second process.
/// The second one is `ended`, or `alive:` and a time.
pub(super) const NAME: &str = "lock";

/// Bytes of the lock file: one sector, written whole or not at all.
const LENGTH: usize = 512;

/// Holds the lock of the spool's folder until dropped. The kernel releases it when the process dies, however it dies.
#[derive(Debug)]
pub(super) struct Lock {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    tells: AtomicBool,
}

impl Lock {
    /// Also returns when the last owner was last alive, if it did not end well.
    pub(super) fn take(disk: &SpoolDisk, dir: &Path) -> Result<(Self, Option<Timestamp>), SpoolError> {
        let path = dir.join(NAME);
        let Some(file) = disk.lock(&path)? else {
            return Err(SpoolError::Locked { dir: dir.to_owned(), pid: holder(disk, &path) });
        };
        let left = disk.read(&path).ok().and_then(|text| last_seen(&text));
        let lock = Self { file, path, tells: false.into() };
        // A full disk must not keep the program from publishing, which is what frees space.
        let told =
            lock.write(Some(left.unwrap_or_else(clock::now))).and_then(|()| disk::sync_data(&*lock.file, &lock.path));
        lock.tells.store(told.is_ok(), Ordering::Relaxed);
        Ok((lock, left))
    }

    /// Whether the next process will know if this one did not end well.
    pub(super) fn tells_the_end(&self) -> bool {
        self.tells.load(Ordering::Relaxed)
    }

    /// Says that the process is alive. If it can't, the next process believes that this one died earlier.
    pub(super) fn beat(&self) {
        self.write(Some(clock::now())).ok();
    }

    /// Says that no read is under way any more. If it can't, the next process looks for reads that there were not.
    pub(super) fn end(&self) {
        self.write(None).ok();
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
