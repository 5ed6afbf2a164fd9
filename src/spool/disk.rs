//! All disk access of the spool: calls the disk, and adds to each error the operation and the path.

use std::fs::TryLockError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::SpoolError;
use crate::platform::disk::{Disk, DiskFile, Permissions, RealDisk, gone_is_as_good};

type Result<T> = std::result::Result<T, SpoolError>;

/// A disk whose errors name the operation and the path.
#[derive(Debug, Clone)]
pub(super) struct SpoolDisk(pub(super) Arc<dyn Disk>);

impl SpoolDisk {
    pub(super) fn real() -> Self {
        Self(RealDisk::shared())
    }

    /// Creates the folder and its parents.
    pub(super) fn create_dir(&self, dir: &Path) -> Result<()> {
        self.0.create_dir(dir).map_err(SpoolError::disk("create the folder", dir))
    }

    pub(super) fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.0.create(path).map_err(SpoolError::disk("create", path))
    }

    pub(super) fn open_for_writing(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.0.open(path).map_err(SpoolError::disk("open", path))
    }

    /// Returns `None` if another process holds the lock.
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
    pub(super) fn read_part(&self, path: &Path, offset: usize, length: usize) -> Result<Vec<u8>> {
        self.0.read_part(path, offset, length).map_err(SpoolError::disk("read", path))
    }

    pub(super) fn sync_file(&self, path: &Path) -> Result<()> {
        sync_data(&*self.open_for_writing(path)?, path)
    }

    /// `fsync` of a folder: makes the names in it durable.
    pub(super) fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.0.sync_dir(dir).map_err(SpoolError::disk("make durable the folder", dir))
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.rename(from, to).map_err(SpoolError::disk("rename", from))
    }

    /// Removes a file. A file that is already gone counts as removed.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        gone_is_as_good(self.0.remove(path)).map_err(SpoolError::disk("remove", path))
    }

    /// Lists the files of a folder, sorted by name. A folder that does not exist has none.
    pub(super) fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        match self.0.list(dir) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            files => files.map_err(SpoolError::disk("list", dir)),
        }
    }

    /// `None` if it is not there.
    pub(super) fn permissions(&self, path: &Path) -> Result<Option<Permissions>> {
        match self.0.permissions(path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some).map_err(SpoolError::disk("look at", path)),
        }
    }

    pub(super) fn size(&self, path: &Path) -> Result<u64> {
        self.0.size(path).map_err(SpoolError::disk("look at", path))
    }
}

pub(super) fn write_at(file: &dyn DiskFile, path: &Path, offset: usize, bytes: &[u8]) -> Result<()> {
    file.write_at(offset as u64, bytes).map_err(SpoolError::disk("write to", path))
}

/// `fdatasync`: makes the written bytes durable, and needs no journal commit where only bytes changed.
pub(super) fn sync_data(file: &dyn DiskFile, path: &Path) -> Result<()> {
    file.sync_data().map_err(SpoolError::disk("make durable", path))
}

/// The error number of a bad sector.
pub(super) const IO_ERROR: i32 = rustix::io::Errno::IO.raw_os_error();
