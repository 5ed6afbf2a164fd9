//! What can go wrong in the spool, said so that whoever reads it knows what to do next.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

/// A failure of the spool. No message holds a byte of a page.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// Another process has the spool open.
    #[error(
        "the spool {} is in use by another process{}: stop that one first. A program that is to work beside it needs a \
         spool.dir, stores, a tracking topic and a kafka.transactional_id_prefix of its own",
        dir.display(), shown(*pid)
    )]
    Locked {
        /// The spool's folder.
        dir: PathBuf,
        /// The process that holds it, where it could be read.
        pid: Option<u32>,
    },
    /// The disk refused.
    #[error("cannot {doing} {}: {cause}; {}", path.display(), advice(cause))]
    Disk {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the operating system answered.
        cause: io::Error,
    },
    /// A page that was whole once no longer is.
    #[error("{} is damaged: {why}; keep the file, and let the reconciler fetch its orders again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: &'static str,
    },
}

impl SpoolError {
    pub(super) fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Disk { doing, path: path.to_owned(), cause }
    }

    /// Whether making room on the disk, and nothing else, would help.
    #[must_use]
    pub fn disk_is_full(&self) -> bool {
        matches!(self, Self::Disk { cause, .. } if is_full(cause))
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Disk { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// A page or a trace could not be made durable. Its file is not to be trusted any more, whatever a second try may say:
/// after a failed fsync the kernel forgets what it could not write. The bytes are still here: write them to a new
/// file with [`Spool::rescue`](super::Spool::rescue) or publish them from memory, then stop.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct WriteFailed {
    /// What was to be written.
    pub body: Bytes,
    /// Why it was not.
    pub error: SpoolError,
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

fn advice(cause: &io::Error) -> String {
    if cause.kind() == io::ErrorKind::PermissionDenied {
        let user = rustix::process::geteuid().as_raw();
        return format!("let user {user}, as whom this program runs, read and write there");
    }
    let advice = match cause.kind() {
        _ if is_full(cause) => "make room on that disk, then start again",
        io::ErrorKind::ReadOnlyFilesystem => "make that disk writable, or set spool.dir to a folder on another one",
        io::ErrorKind::NotFound => "something took it away: see who else works in the spool's folder, then start again",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "set spool.dir to a folder",
        _ => "check the health of that disk before you start again",
    };
    advice.to_owned()
}

fn shown(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
