//! The folder that `stores_dir` names: which files count, and whether one of them has changed.
//!
//! A file counts if its name ends in `.toml` and does not begin with a dot. So a file can be written beside them under
//! another name, and be renamed when it is whole. Folders in the folder are not looked into.

use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3Default;

use super::error::ConfigError;
use super::stamp::Stamp;

/// The texts of all files, in the order of their names.
pub(super) struct Folder {
    pub(super) files: Vec<(PathBuf, Result<String, ConfigError>)>,
    pub(super) version: FolderVersion,
}

impl Folder {
    /// # Errors
    /// The folder can't be listed. A file that can't be read is an error of its own.
    pub(super) fn read(dir: &Path) -> Result<Self, ConfigError> {
        // The version first: a file that changes in between is read once too often, never once too few.
        let listed = list(dir).map_err(|reason| ConfigError::UnreadableStores { path: dir.to_owned(), reason })?;
        let version = FolderVersion::of(&listed);
        let mut files = Vec::with_capacity(listed.len());
        for (path, _) in listed {
            match fs::read_to_string(&path) {
                Ok(text) => files.push((path, Ok(text))),
                // It was removed since it was listed.
                Err(reason) if reason.kind() == io::ErrorKind::NotFound => {}
                Err(reason) => files.push((path.clone(), Err(ConfigError::UnreadableStores { path, reason }))),
            }
        }
        Ok(Self { files, version })
    }
}

/// The files that count, with the version of each.
fn list(dir: &Path) -> io::Result<Vec<(PathBuf, Option<Stamp>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "toml") {
            let stamp = Stamp::of(&path).ok();
            files.push((path, stamp));
        }
    }
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(files)
}

/// Identifies the state of all files of a folder: it differs as soon as one of them is added, changed or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FolderVersion(u64);

impl FolderVersion {
    /// Looks at the names and the metadata of all files, and opens none.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub fn now(dir: &Path) -> io::Result<Self> {
        list(dir).map(|listed| Self::of(&listed))
    }

    fn of(listed: &[(PathBuf, Option<Stamp>)]) -> Self {
        let mut hasher = Xxh3Default::new();
        listed.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Sees that a folder has changed.
#[derive(Debug)]
pub struct FolderWatch {
    dir: PathBuf,
    /// The state that is taken up, or was found to be of no use.
    taken_up: Option<FolderVersion>,
    /// The state at the last look; none if the folder could not be listed.
    last: Option<FolderVersion>,
}

impl FolderWatch {
    /// `taken_up`: the state that is in force.
    #[must_use]
    pub fn new(dir: PathBuf, taken_up: Option<FolderVersion>) -> Self {
        Self { dir, taken_up, last: taken_up }
    }

    /// Looks, and returns true once for each change. A folder that is still changing counts at a later look, so that a
    /// file that is written in place is mostly whole when it is read.
    pub fn look(&mut self) -> bool {
        let now = FolderVersion::now(&self.dir).ok();
        let is_at_rest = mem::replace(&mut self.last, now) == now;
        is_at_rest && mem::replace(&mut self.taken_up, now) != now
    }
}
