//! The manifest: it names the segments that there are, so that one that is gone is noticed wherever it stood in the log.
//!
//! A file is named, durably, before its first frame, and for as long as it is there. Files are used again and again, so
//! the manifest changes only when the log grows or shrinks: it costs nothing from read to read. Without a manifest nothing
//! is known to be missing: the spool was empty, or a version before wrote it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Read, SegmentFile};
use crate::platform::disk::replace;
use crate::spool::SpoolError;
use crate::spool::disk::SpoolDisk;

const FILE: &str = "manifest";

#[derive(Debug)]
pub(super) struct Manifest {
    disk: SpoolDisk,
    path: PathBuf,
    names: Mutex<BTreeSet<String>>,
    /// What it named and is not there.
    pub(super) gone: BTreeSet<String>,
}

/// The files that the manifest in `dir` names and that are not there. May be asked while a process is at work: it names a
/// file that there is, and takes the name off before the file goes.
pub(in crate::spool) fn gone(disk: &SpoolDisk, dir: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let path = dir.join(FILE);
    let before = named(disk, &path);
    let gone = absent(&before, &disk.list(dir)?);
    Ok(gone.intersection(&named(disk, &path)).map(|name| dir.join(name)).collect())
}

fn named(disk: &SpoolDisk, manifest: &Path) -> BTreeSet<String> {
    let text = disk.read(manifest).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

fn absent(names: &BTreeSet<String>, files: &[PathBuf]) -> BTreeSet<String> {
    names.iter().filter(|name| !files.iter().any(|path| path.ends_with(name))).cloned().collect()
}

impl Manifest {
    /// `files`: those that are there.
    pub(super) fn read(disk: &SpoolDisk, dir: &Path, files: &[PathBuf]) -> Self {
        let path = dir.join(FILE);
        let names = named(disk, &path);
        // guard: a lost segment is noticed
        let gone = absent(&names, files);
        Self { disk: disk.clone(), path, names: names.into(), gone }
    }

    /// What is missing of a log of which these segments are left, sorted by their numbers.
    pub(super) fn missing(&self, left: &[Read]) -> Vec<String> {
        if !self.gone.is_empty() {
            return self.gone.iter().map(|name| format!("the log's file `{name}` is gone")).collect();
        }
        // Segments are given back in their order, so none is missing between two others.
        // guard: a segment that is gone is told
        let gaps = left.windows(2).filter(|pair| pair[0].contents.number + 1 < pair[1].contents.number);
        gaps.map(|pair| {
            format!("what the log had between `{}` and `{}` is gone", pair[0].file.name(), pair[1].file.name())
        })
        .collect()
    }

    /// Names what there is at the start. What is gone stays named until it is [forgotten](Self::forget_gone).
    pub(super) fn begin<'a>(&self, files: impl Iterator<Item = &'a SegmentFile>) -> Result<(), SpoolError> {
        self.change(|names| *names = self.gone.iter().cloned().chain(files.map(SegmentFile::name)).collect())
    }

    /// Before the first frame of a file, whose own name becomes durable with the manifest's.
    pub(super) fn add(&self, file: &SegmentFile) -> Result<(), SpoolError> {
        self.change(|names| names.extend([file.name()]))
    }

    /// Before the files are removed.
    pub(super) fn take_off(&self, files: &[&SegmentFile]) -> Result<(), SpoolError> {
        self.change(|names| names.retain(|name| files.iter().all(|file| file.name() != *name)))
    }

    /// Once it is noted elsewhere that files are gone.
    pub(super) fn forget_gone(&self) -> Result<(), SpoolError> {
        self.change(|names| names.retain(|name| !self.gone.contains(name)))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>)) -> Result<(), SpoolError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = names.clone();
        change(&mut new);
        if new == *names {
            return Ok(());
        }
        if new.is_empty() {
            self.disk.remove(&self.path)?;
        } else {
            let text: String = new.iter().map(|name| format!("{name}\n")).collect();
            replace(&*self.disk.0, &self.path, text.as_bytes()).map_err(SpoolError::disk("write", &self.path))?;
        }
        *names = new;
        Ok(())
    }
}
