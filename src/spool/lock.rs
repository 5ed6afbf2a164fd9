//! Allows one process per spool: two would read with each other's reservations.

use std::path::Path;

use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use crate::platform::disk::DiskFile;

/// Name of the lock file. It holds the process ID of its last owner, for the error message of a second process.
pub(super) const NAME: &str = "lock";

/// Holds the lock of the spool's folder until dropped. The kernel releases it when the process dies, however it dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Box<dyn DiskFile>,
}

impl Lock {
    pub(super) fn take(disk: &SpoolDisk, dir: &Path) -> Result<Self, SpoolError> {
        let path = dir.join(NAME);
        let Some(file) = disk.lock(&path)? else {
            return Err(SpoolError::Locked { dir: dir.to_owned(), pid: holder(disk, &path) });
        };
        // The ID is only for a message. A full disk must not keep the program from publishing, which is what frees
        // space.
        let pid = format!("{}\n", std::process::id());
        disk::set_len(&*file, &path, 0).and_then(|()| disk::write_at(&*file, &path, 0, pid.as_bytes())).ok();
        Ok(Self { _file: file })
    }
}

pub(super) fn holder(disk: &SpoolDisk, path: &Path) -> Option<u32> {
    std::str::from_utf8(&disk.read(path).ok()?).ok()?.trim().parse().ok()
}
