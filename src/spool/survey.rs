//! Measures how full a spool is, without the lock.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{Access, access, statvfs};

use super::SpoolError;
use super::inspect::{FileState, inspect};
use crate::order::ids::StoreName;

/// How full a spool is, and whether it can take more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Whole pages that are not published yet.
    pub pages: u64,
    /// The same by store.
    pub pages_of: BTreeMap<StoreName, u64>,
    /// When the oldest of them was read.
    pub oldest: Option<Timestamp>,
    /// Reads of unknown outcome.
    pub unknown: u64,
    /// Damaged parts, and what was put aside in `corrupt/`.
    pub damaged: u64,
    /// Bytes that this process may still write.
    pub free_bytes: u64,
}

/// Pages come and go meanwhile: one that is gone is not counted, and one that is being written counts once it is whole.
pub(super) fn survey(dir: &Path) -> Result<Survey, SpoolError> {
    access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| SpoolError::disk("write to", dir)(errno.into()))?;
    let space = statvfs(dir).map_err(|errno| SpoolError::disk("look at", dir)(errno.into()))?;
    let mut survey = Survey { free_bytes: space.f_bavail.saturating_mul(space.f_frsize), ..Survey::default() };
    for entry in inspect(dir)? {
        match entry.state {
            FileState::Page { read_at, .. } => {
                survey.pages += 1;
                if let Some(store) = entry.store {
                    *survey.pages_of.entry(store).or_default() += 1;
                }
                survey.oldest = Some(survey.oldest.map_or(read_at, |oldest| oldest.min(read_at)));
            }
            FileState::Unknown { .. } => survey.unknown += 1,
            FileState::Corrupt { .. } => survey.damaged += 1,
            FileState::Unfinished => {}
        }
    }
    Ok(survey)
}
