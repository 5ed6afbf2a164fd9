//! Every touch of the disk, and nothing else: plain functions that add to an error what was done to which path.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::SpoolError;

type Result<T> = std::result::Result<T, SpoolError>;

/// Buyers' names and addresses pass through here: nobody but the owner reads them.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Creates the folder and those above it. A folder that is there keeps its permissions.
pub(super) fn create_dir(dir: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir);
    made.map_err(SpoolError::disk("create the folder", dir))
}

pub(super) fn create(path: &Path) -> Result<File> {
    let options = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    options.map_err(SpoolError::disk("create", path))
}

pub(super) fn open_for_writing(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).open(path).map_err(SpoolError::disk("open", path))
}

pub(super) fn open_lock(path: &Path) -> Result<File> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path);
    options.map_err(SpoolError::disk("open", path))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(SpoolError::disk("read", path))
}

pub(super) fn write_at(file: &File, path: &Path, offset: usize, bytes: &[u8]) -> Result<()> {
    file.write_all_at(bytes, offset as u64).map_err(SpoolError::disk("write to", path))
}

pub(super) fn set_len(file: &File, path: &Path, len: u64) -> Result<()> {
    file.set_len(len).map_err(SpoolError::disk("cut", path))
}

/// `fdatasync`: what was written is on the disk, and no journal commit is paid for where only bytes changed.
pub(super) fn sync_data(file: &File, path: &Path) -> Result<()> {
    file.sync_data().map_err(SpoolError::disk("make durable", path))
}

/// `fdatasync` of a file that is not open.
pub(super) fn sync_file(path: &Path) -> Result<()> {
    sync_data(&open_for_writing(path)?, path)
}

/// `fsync` of a folder: the names in it are on the disk.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(SpoolError::disk("make durable the folder", dir))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(SpoolError::disk("rename", from))
}

/// Removes a file. One that is gone already is as good.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(SpoolError::disk("remove", path)(cause)),
        _ => Ok(()),
    }
}

/// The files of a folder in the order of their names; folders are left out. A folder that is not there has none.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(SpoolError::disk("list", dir))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(SpoolError::disk("list", dir))?;
        if entry.file_type().map_err(SpoolError::disk("list", dir))?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

pub(super) fn size(path: &Path) -> Result<u64> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(SpoolError::disk("look at", path))
}

/// What a bad sector answers.
pub(super) const IO_ERROR: i32 = rustix::io::Errno::IO.raw_os_error();
