//! Every touch of the disk, and nothing else: adds to an error what was done to which path.

use std::fs::TryLockError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::SpoolError;
use super::format::BODY;
use crate::platform::disk::{Disk, DiskFile, RealDisk, gone_is_as_good};

type Result<T> = std::result::Result<T, SpoolError>;

/// A disk that says what it was asked for.
#[derive(Debug, Clone)]
pub(super) struct SpoolDisk(pub(super) Arc<dyn Disk>);

impl SpoolDisk {
    pub(super) fn real() -> Self {
        Self(RealDisk::shared())
    }

    /// Creates the folder and those above it.
    pub(super) fn create_dir(&self, dir: &Path) -> Result<()> {
        self.0.create_dir(dir).map_err(SpoolError::disk("create the folder", dir))
    }

    pub(super) fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.0.create(path).map_err(SpoolError::disk("create", path))
    }

    pub(super) fn open_for_writing(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.0.open(path).map_err(SpoolError::disk("open", path))
    }

    /// `None` where another process holds it.
    pub(super) fn lock(&self, path: &Path) -> Result<Option<Box<dyn DiskFile>>> {
        match self.0.lock(path) {
            Ok(file) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(SpoolError::disk("lock", path)(cause)),
        }
    }

    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.0.read(path).map_err(SpoolError::disk("read", path))
    }

    /// `fdatasync` of a file that is not open.
    pub(super) fn sync_file(&self, path: &Path) -> Result<()> {
        sync_data(&*self.open_for_writing(path)?, path)
    }

    /// `fsync` of a folder: the names in it are on the disk.
    pub(super) fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.0.sync_dir(dir).map_err(SpoolError::disk("make durable the folder", dir))
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.rename(from, to).map_err(SpoolError::disk("rename", from))
    }

    /// Removes a file. One that is gone already is as good.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        gone_is_as_good(self.0.remove(path)).map_err(SpoolError::disk("remove", path))
    }

    /// The files of a folder in the order of their names. A folder that is not there has none.
    pub(super) fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        match self.0.list(dir) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            files => files.map_err(SpoolError::disk("list", dir)),
        }
    }

    pub(super) fn size(&self, path: &Path) -> Result<u64> {
        self.0.size(path).map_err(SpoolError::disk("look at", path))
    }
}

pub(super) fn write_at(file: &dyn DiskFile, path: &Path, offset: usize, bytes: &[u8]) -> Result<()> {
    file.write_at(offset as u64, bytes).map_err(SpoolError::disk("write to", path))
}

pub(super) fn set_len(file: &dyn DiskFile, path: &Path, len: u64) -> Result<()> {
    file.set_len(len).map_err(SpoolError::disk("cut", path))
}

/// Takes away the space behind a body: the file is not used again, and traces of a long outage are many. Should it come
/// back with the power, nobody reads it.
pub(super) fn cut_space(file: &dyn DiskFile, body: usize) {
    file.set_len((BODY + body) as u64).ok();
}

/// `fdatasync`: what was written is on the disk, and no journal commit is paid for where only bytes changed.
pub(super) fn sync_data(file: &dyn DiskFile, path: &Path) -> Result<()> {
    file.sync_data().map_err(SpoolError::disk("make durable", path))
}

/// What a bad sector answers.
pub(super) const IO_ERROR: i32 = rustix::io::Errno::IO.raw_os_error();
