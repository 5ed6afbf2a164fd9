//! What the reads of one spool have in common.

use std::path::Path;

use super::disk::SpoolDisk;
use super::error::SpoolError;
use crate::order::ids::{ReadId, ReadIds};
use crate::platform::disk::replace;

const FILE: &str = "read-ids";

/// The IDs of this spool's reads, which stay alike for as long as the folder exists.
pub(super) fn read_ids(disk: &SpoolDisk, dir: &Path) -> Result<ReadIds, SpoolError> {
    let path = dir.join(FILE);
    let known = disk.read(&path).ok().and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
    let id = match known {
        Some(id) => id,
        None => {
            let id = ReadId::fresh();
            replace(&*disk.0, &path, format!("{id}\n").as_bytes()).map_err(SpoolError::disk("write", &path))?;
            id
        }
    };
    Ok(ReadIds::like(id))
}
