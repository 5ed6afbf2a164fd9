//! One process per spool: two would read with each other's reservations.

use std::path::Path;

use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use crate::platform::disk::DiskFile;

/// Name of the file that is locked. It holds the process ID of whoever locked it last, for the message to a second one.
pub(super) const NAME: &str = "lock";

/// Holds the spool's folder until dropped. The kernel lets go of it when the process dies, however it dies.
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
        // Only for a message: a full disk must not keep us from publishing, and so removing, what fills it.
        let pid = format!("{}\n", std::process::id());
        disk::set_len(&*file, &path, 0).and_then(|()| disk::write_at(&*file, &path, 0, pid.as_bytes())).ok();
        Ok(Self { _file: file })
    }
}

pub(super) fn holder(disk: &SpoolDisk, path: &Path) -> Option<u32> {
    std::str::from_utf8(&disk.read(path).ok()?).ok()?.trim().parse().ok()
}
