//! Looks whether others than the owner can get at the spool.

use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::CORRUPT;
use super::disk::SpoolDisk;
use super::error::SpoolError;

/// What of a spool other users can get at. The program creates all of it for its owner alone, so somebody else made the
/// folder, or opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The first folder or file, and how many there are.
    pub path: PathBuf,
    pub count: usize,
    dir: PathBuf,
}

impl Exposure {
    /// What is the matter, and what to do about it.
    #[must_use]
    pub fn found(&self) -> String {
        let others = match self.count - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("other users can get at {}{others}: the spool holds buyers' names and addresses", self.path.display())
    }

    /// The command that closes it.
    #[must_use]
    pub fn cure(&self) -> String {
        format!("chmod -R go= {}", self.dir.display())
    }
}

/// `None` if the folder and its files are for their owner alone, or are not there.
pub(super) fn look(disk: &SpoolDisk, dir: &Path) -> Result<Option<Exposure>, SpoolError> {
    let Some(folder) = disk.permissions(dir)? else { return Ok(None) };
    // Who does not own the folder comes in through its group, as with the volumes of Kubernetes.
    let others = if folder.owner == geteuid().as_raw() { 0o077 } else { 0o007 };
    let corrupt = dir.join(CORRUPT);
    let mut all = vec![dir.to_owned(), corrupt.clone()];
    all.extend(disk.list(dir)?);
    all.extend(disk.list(&corrupt)?);
    let mut exposed = Vec::new();
    for path in all {
        if disk.permissions(&path)?.is_some_and(|found| found.mode & others != 0) {
            exposed.push(path);
        }
    }
    let count = exposed.len();
    Ok(exposed.into_iter().next().map(|path| Exposure { path, count, dir: dir.to_owned() }))
}
