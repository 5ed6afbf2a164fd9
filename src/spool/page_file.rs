//! A page in a file of its own: one that is too large for the log, or that the log could not take.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use super::format::{BODY, HEAD, Head, Outcome, Seal};
use super::page::{Place, UnknownRead};
use super::{PAGE, UNKNOWN};
use crate::platform::fail_point;

/// Writes a page durably; returns its path.
pub(super) fn write_page(
    disk: &SpoolDisk,
    dir: &Path,
    head: &Head,
    read_at: Timestamp,
    body: &[u8],
) -> Result<PathBuf, SpoolError> {
    write(disk, dir.join(head.file_name(PAGE)), head, Seal { outcome: Outcome::Page, at: read_at }, body)
}

/// Writes the trace of a read of unknown outcome durably. `reason` is one line.
pub(super) fn write_unknown(
    disk: &SpoolDisk,
    dir: &Path,
    head: &Head,
    at: Timestamp,
    reason: &str,
    came: &[u8],
) -> Result<PathBuf, SpoolError> {
    let seal = Seal { outcome: Outcome::Unknown(reason.to_owned()), at };
    write(disk, dir.join(head.file_name(UNKNOWN)), head, seal, came)
}

fn write(disk: &SpoolDisk, path: PathBuf, head: &Head, seal: Seal, body: &[u8]) -> Result<PathBuf, SpoolError> {
    // A failed attempt may have left a file, even a whole one. It goes when there is another: a crash must never leave
    // less than before. If this one fails too, recovery keeps whichever is whole.
    let first = disk.size(&path).is_ok().then(|| path.clone());
    let path = if first.is_some() { path.with_extension(format!("again.{PAGE}")) } else { path };
    disk.remove(&path)?;
    let file = disk.create(&path)?;
    let head = head.render();
    disk::write_at(&*file, &path, 0, &head)?;
    disk::write_at(&*file, &path, HEAD, &seal.render(&head, body))?;
    fail_point::reach("writing");
    disk::write_at(&*file, &path, BODY, body)?;
    disk::sync_data(&*file, &path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    first.map_or(Ok(()), |first| disk.remove(&first))?;
    Ok(path)
}

/// Makes a page, which turned out to be none, the trace of a read of unknown outcome.
pub(super) fn disown(
    disk: &SpoolDisk,
    path: &Path,
    head: &Head,
    at: Timestamp,
    reason: String,
    body: &[u8],
) -> Result<UnknownRead, SpoolError> {
    let seal = Seal { outcome: Outcome::Unknown(reason.clone()), at };
    let file = disk.open_for_writing(path)?;
    disk::write_at(&*file, path, HEAD, &seal.render(&head.render(), body))?;
    disk::sync_data(&*file, path)?;
    let named = path.with_file_name(head.file_name(UNKNOWN));
    disk.rename(path, &named)?;
    disk.sync_dir(named.parent().unwrap_or(Path::new(".")))?;
    Ok(UnknownRead::new(head.clone(), reason, None, Place::File(named)))
}

/// Removes a file durably, even across a power failure: a page that came back would be older than what has become of its
/// orders since.
pub(super) fn remove(disk: &SpoolDisk, path: &Path) -> Result<(), SpoolError> {
    disk.remove(path)?;
    match disk.sync_dir(path.parent().unwrap_or(Path::new("."))) {
        // Somebody removed the folder and the file with it: go on, so that pages still in memory get published.
        Err(error) if error.is_missing() => Ok(()),
        synced => synced,
    }
}
