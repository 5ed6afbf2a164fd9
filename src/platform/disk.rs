//! The disk, as far as this program needs one: the seam at which a simulation puts a disk that loses power.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Buyers' names and addresses pass through here: nobody but the owner reads them.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Names and files. What is written or named is durable only once it was synced: bytes by [`DiskFile::sync_data`], names
/// by [`Disk::sync_dir`]. The errors of all calls are the operating system's.
#[allow(clippy::missing_errors_doc)]
pub trait Disk: Debug + Send + Sync {
    /// Creates the folder and those above it. A folder that is there keeps its permissions.
    fn create_dir(&self, dir: &Path) -> Result<()>;
    /// Creates a file that is not there.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Opens a file that is there, for writing.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Opens or creates a file and holds it, until it is dropped, against every other process.
    fn lock(&self, path: &Path) -> std::result::Result<Box<dyn DiskFile>, TryLockError>;
    /// All of a file.
    fn read(&self, path: &Path) -> Result<Vec<u8>>;
    /// Gives a file another name. A file that has it already goes.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<()>;
    /// `fsync` of a folder: the names in it are on the disk.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// The files of a folder in the order of their names; folders are left out.
    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>>;
    /// Bytes of a file.
    fn size(&self, path: &Path) -> Result<u64>;
}

/// A file that is open for writing. It stays the same file when its name changes.
#[allow(clippy::missing_errors_doc)]
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Cuts the file, or lengthens it with zeros.
    fn set_len(&self, len: u64) -> Result<()>;
    /// `fdatasync`: what was written is on the disk, and no journal commit is paid for where only bytes changed.
    fn sync_data(&self) -> Result<()>;
}

/// The operating system's.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// For whoever shares a disk.
    #[must_use]
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn lock(&self, path: &Path) -> std::result::Result<Box<dyn DiskFile>, TryLockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(path).map_err(TryLockError::Error)?;
        // guard: one process for each spool
        file.try_lock()?;
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    fn size(&self, path: &Path) -> Result<u64> {
        Ok(fs::metadata(path)?.len())
    }
}

impl DiskFile for File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        File::set_len(self, len)
    }

    fn sync_data(&self) -> Result<()> {
        File::sync_data(self)
    }
}

/// Puts `bytes` into a small file, durably: written beside and renamed, so that a crash leaves the old or the new.
///
/// # Errors
/// The disk's.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    gone_is_as_good(disk.remove(&beside))?;
    let file = disk.create(&beside)?;
    file.write_at(0, bytes)?;
    file.sync_data()?;
    disk.rename(&beside, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// For what is to be removed, or has not been written yet.
pub(crate) fn gone_is_as_good(result: Result<()>) -> Result<()> {
    result.or_else(|error: Error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
