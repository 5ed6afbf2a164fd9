//! The file system operations that this program needs: the seam at which a simulation puts a disk that loses power.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files hold buyers' names and addresses, so only the owner may read them.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Files and their names. A change is durable only after a sync: bytes after [`DiskFile::sync_data`], names after
/// [`Disk::sync_dir`]. All errors are the operating system's.
pub trait Disk: Debug + Send + Sync {
    /// Creates the folder and its parents. A folder that exists keeps its permissions.
    fn create_dir(&self, dir: &Path) -> Result<()>;
    /// Creates a file; fails if it exists.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Opens an existing file for writing.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>>;
    /// Opens or creates a file and locks it against other processes until the handle is dropped.
    fn lock(&self, path: &Path) -> std::result::Result<Box<dyn DiskFile>, TryLockError>;
    /// Reads a whole file.
    fn read(&self, path: &Path) -> Result<Vec<u8>>;
    /// Reads so many bytes of a file at `offset`.
    fn read_part(&self, path: &Path, offset: usize, length: usize) -> Result<Vec<u8>>;
    /// Renames a file, and replaces a file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    fn remove(&self, path: &Path) -> Result<()>;
    /// `fsync` of a folder: makes the names in it durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// The files of a folder, sorted by name, without subfolders.
    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>>;
    /// Who may do what with a file or a folder.
    fn permissions(&self, path: &Path) -> Result<Permissions>;
    /// The size of a file in bytes.
    fn size(&self, path: &Path) -> Result<u64>;
}

/// The owner and the permission bits of a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    pub owner: u32,
    pub mode: u32,
}

/// A file that is open for writing. The handle follows the file when it is renamed.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// `fdatasync`: makes the written bytes durable. It avoids a journal commit where only bytes changed.
    fn sync_data(&self) -> Result<()>;
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// A shared handle to it.
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

    fn read_part(&self, path: &Path, offset: usize, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(path)?.read_exact_at(&mut bytes, offset as u64)?;
        Ok(bytes)
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

    fn permissions(&self, path: &Path) -> Result<Permissions> {
        let found = fs::metadata(path)?;
        Ok(Permissions { owner: found.uid(), mode: found.mode() & 0o777 })
    }

    fn size(&self, path: &Path) -> Result<u64> {
        Ok(fs::metadata(path)?.len())
    }
}

impl DiskFile for File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> Result<()> {
        File::sync_data(self)
    }
}

/// Replaces a small file durably. It writes a second file and renames it, so that a crash leaves either the old or the
/// new content.
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

/// Treats "not found" as success, for a file that is to be removed or may not exist yet.
pub(crate) fn gone_is_as_good(result: Result<()>) -> Result<()> {
    result.or_else(|error: Error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
