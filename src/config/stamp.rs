//! The version of a file: tells whether it has to be read again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Identifies a version of a file: it differs if the content changes or another file takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// Follows symbolic links: Kubernetes mounts settings and secrets as such, and replaces what they lead to.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        let (device, inode, size) = (file.dev(), file.ino(), file.size());
        Ok(Self { device, inode, size, changed: (file.ctime(), file.ctime_nsec()) })
    }
}
