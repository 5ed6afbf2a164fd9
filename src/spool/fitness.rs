//! Checks whether a folder can serve as a spool: writes, syncs and measures, without disturbing a running program.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::statvfs;

use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use super::lock;
use crate::platform::disk::DiskFile;

/// Number of measure_syncs syncs; the median counts.
const SYNCS: usize = 5;

/// The result of the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitness {
    /// Whether the folder exists. If not, its nearest_existing existing parent was measure_syncs.
    pub exists: bool,
    /// How long it takes to make a small write durable.
    pub sync: Duration,
    /// Bytes that this user may still write.
    pub free: u64,
    pub holder: Holder,
}

/// Which process holds the lock of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    /// A process, with its ID if the lock file could be read.
    Process(Option<u32>),
}

/// Removes the file that it writes.
pub(super) fn measure(dir: &Path) -> Result<Fitness, SpoolError> {
    let there = nearest_existing(dir);
    let free = statvfs(&there).map_err(|cause| SpoolError::disk("look at", &there)(cause.into()))?;
    Ok(Fitness {
        exists: there == dir,
        sync: sync(&there)?,
        free: free.f_bavail.saturating_mul(free.f_frsize),
        holder: holder(dir)?,
    })
}

fn nearest_existing(dir: &Path) -> PathBuf {
    let found = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."));
    if found.as_os_str().is_empty() { PathBuf::from(".") } else { found.to_owned() }
}

fn sync(dir: &Path) -> Result<Duration, SpoolError> {
    let path = dir.join(format!(".fitness-{}", std::process::id()));
    let disk = SpoolDisk::real();
    disk.remove(&path)?;
    let file = disk.create(&path)?;
    let measure_syncs = measure_syncs(&*file, &path);
    disk.remove(&path)?;
    measure_syncs
}

fn measure_syncs(file: &dyn DiskFile, path: &Path) -> Result<Duration, SpoolError> {
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let start = Instant::now();
        disk::write_at(file, path, 0, &[7; 4096])?;
        disk::sync_data(file, path)?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    Ok(took[SYNCS / 2])
}

/// Takes a shared lock for a moment, so that two concurrent checks don't see each other.
pub(super) fn holder(dir: &Path) -> Result<Holder, SpoolError> {
    let path = dir.join(lock::NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Holder::Nobody),
        Err(cause) => return Err(SpoolError::disk("open", &path)(cause)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Holder::Nobody),
        Err(TryLockError::WouldBlock) => Ok(Holder::Process(lock::holder(&SpoolDisk::real(), &path))),
        Err(TryLockError::Error(cause)) => Err(SpoolError::disk("lock", &path)(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Spool, SpoolOptions};

    #[test]
    fn a_folder_that_is_not_there_is_measured_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("not/yet");
        let fitness = measure(&spool).unwrap();
        assert!(!fitness.exists && fitness.free > 0 && fitness.holder == Holder::Nobody);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_spool_at_work_is_told_with_its_process_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(SpoolOptions::new(dir.path())).unwrap();
        let holder = measure(dir.path()).unwrap().holder;
        assert_eq!(holder, Holder::Process(Some(std::process::id())));
        drop(spool);
        assert_eq!(measure(dir.path()).unwrap().holder, Holder::Nobody);
        Spool::open(SpoolOptions::new(dir.path())).unwrap();
    }
}
