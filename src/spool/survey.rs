//! Measures how full a spool is: cheap enough for every scrape of the metrics, without the lock, and without reading
//! page bodies.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{Access, access, statvfs};

use super::disk::SpoolDisk;
use super::error::SpoolError;
use super::format::{HEAD, Outcome, SEAL, Seal};
use super::{CORRUPT, PAGE, UNKNOWN, has_suffix};

/// How full a spool is, and whether it can take more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Whole pages that are not published yet.
    pub pages: u64,
    /// When the oldest of them was read.
    pub oldest: Option<Timestamp>,
    /// Reads of unknown outcome.
    pub unknown: u64,
    /// Damaged files in `corrupt/`.
    pub damaged: u64,
    /// Bytes that this process may still write.
    pub free_bytes: u64,
}

/// Files come and go meanwhile: one that is gone is not counted, and one that is being written counts once it is whole.
pub(super) fn survey(dir: &Path) -> Result<Survey, SpoolError> {
    access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| SpoolError::disk("write to", dir)(errno.into()))?;
    let space = statvfs(dir).map_err(|errno| SpoolError::disk("look at", dir)(errno.into()))?;
    let mut survey = Survey { free_bytes: space.f_bavail.saturating_mul(space.f_frsize), ..Survey::default() };
    for path in SpoolDisk::real().list(dir)? {
        if has_suffix(&path, UNKNOWN) {
            survey.unknown += 1;
        } else if has_suffix(&path, PAGE)
            && let Some(read_at) = read_at(&path)?
        {
            survey.pages += 1;
            survey.oldest = Some(survey.oldest.map_or(read_at, |oldest| oldest.min(read_at)));
        }
    }
    survey.damaged = SpoolDisk::real().list(&dir.join(CORRUPT))?.len() as u64;
    Ok(survey)
}

/// Returns `None` for a reservation, which has no seal.
fn read_at(path: &Path) -> Result<Option<Timestamp>, SpoolError> {
    let mut seal = [0; SEAL];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut seal, HEAD as u64));
    match read {
        Ok(()) => {}
        Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => return Ok(None),
        Err(cause) => return Err(SpoolError::disk("read", path)(cause)),
    }
    let page = Seal::parse(&seal).filter(|(seal, _)| seal.outcome == Outcome::Page);
    Ok(page.map(|(seal, _)| seal.at))
}
