//! What can't be read is put aside, in `corrupt/`: it may have been a page, and it must not be in the way of the rest.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use super::format::named;
use super::{CORRUPT, SEGMENT};
use crate::order::ids::{ReadId, StoreName};

pub(super) const KILLED: &str = "the process ended in mid-read: no answer was written";

/// Why a page of the log is torn.
pub(super) const TORN: &str = "the checksum does not fit";

pub(super) fn torn(why: &str) -> String {
    format!("the page is torn or damaged: {why}")
}

/// Bytes that could not be read and were moved to `corrupt/`. It may have been a page: the reconciler has to look for
/// its orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorruptFile {
    /// Its new path.
    pub path: PathBuf,
    pub why: String,
    /// The store, if its name or what is left of its text tells it.
    pub store: Option<StoreName>,
    /// The read, likewise.
    pub read_id: Option<ReadId>,
}

/// If a file can't be moved, for lack of space perhaps, the other files must still get published.
pub(super) fn put_aside(disk: &SpoolDisk, dir: &Path, path: PathBuf, why: String) -> CorruptFile {
    let (store, read_id) = path.file_stem().and_then(|stem| named(stem.to_str()?)).unzip();
    match move_to_corrupt(disk, dir, &path) {
        Ok(path) => CorruptFile { path, why, store, read_id },
        Err(error) => CorruptFile { path, why: format!("{why}; it was not put aside: {error}"), store, read_id },
    }
}

/// Durably writes damaged bytes of a segment to `corrupt/`. If they can't be written, the segment keeps them.
pub(super) fn put_bytes_aside(
    disk: &SpoolDisk,
    dir: &Path,
    segment: &str,
    bytes: &[u8],
    (store, read_id): (Option<StoreName>, Option<ReadId>),
) -> Result<CorruptFile, CorruptFile> {
    let why = "a part of the log is damaged".to_owned();
    let write = || {
        let known = (store.as_ref().map(|store| format!("-{store}")), read_id.map(|read| format!("-{read}")));
        let path = name_in_corrupt(
            disk,
            dir,
            &format!("{segment}{}{}", known.0.unwrap_or_default(), known.1.unwrap_or_default()),
        )?;
        let file = disk.create(&path)?;
        disk::write_at(&*file, &path, 0, bytes)?;
        disk::sync_data(&*file, &path)?;
        disk.sync_dir(&dir.join(CORRUPT))?;
        disk.sync_dir(dir)?;
        Ok(path)
    };
    match write() {
        Ok(path) => Ok(CorruptFile { path, why, store, read_id }),
        Err(error @ SpoolError::Disk { .. }) => {
            let path = dir.join(format!("{segment}.{}", SEGMENT));
            Err(CorruptFile { path, why: format!("{why}; it was not put aside: {error}"), store, read_id })
        }
        Err(error) => Err(CorruptFile { path: dir.to_owned(), why: error.to_string(), store, read_id }),
    }
}

/// Durably moves a file to `corrupt/` under an unused name.
fn move_to_corrupt(disk: &SpoolDisk, dir: &Path, path: &Path) -> Result<PathBuf, SpoolError> {
    let target = name_in_corrupt(disk, dir, &path.file_name().unwrap_or_default().to_string_lossy())?;
    disk.rename(path, &target)?;
    disk.sync_dir(&dir.join(CORRUPT))?;
    disk.sync_dir(dir)?;
    Ok(target)
}

/// An unused name in `corrupt/`.
fn name_in_corrupt(disk: &SpoolDisk, dir: &Path, name: &str) -> Result<PathBuf, SpoolError> {
    let corrupt = dir.join(CORRUPT);
    disk.create_dir(&corrupt)?;
    let taken: HashSet<PathBuf> = disk.list(&corrupt)?.into_iter().collect();
    let mut target = corrupt.join(name);
    for copy in 1.. {
        if !taken.contains(&target) {
            break;
        }
        target = corrupt.join(format!("{copy}.{name}"));
    }
    Ok(target)
}
