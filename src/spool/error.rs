//! Errors of the spool. Each message says what to do next.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use super::format::Head;
use crate::order::ids::ReadId;

/// An error of the spool. No message holds a byte of a page.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// Another process has the spool open.
    #[error(
        "the spool {} is in use by another process{}: stop that one first. A program that is to work beside it needs a \
         spool.dir, stores, a tracking topic and a kafka.transactional_id_prefix of its own",
        dir.display(), process_suffix(*pid)
    )]
    Locked {
        dir: PathBuf,
        /// The ID of the process that holds the lock, if the lock file could be read.
        pid: Option<u32>,
    },
    /// A disk operation failed.
    #[error("cannot {doing} {}: {cause}; {}", path.display(), advice(cause))]
    Disk {
        /// The operation, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// A page that was whole before is damaged.
    #[error("{} is damaged: {why}; keep the file, and let the reconciler fetch its orders again", path.display())]
    Damaged { path: PathBuf, why: &'static str },
}

impl SpoolError {
    /// The same error for somebody else who waited for the same sync.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Locked { dir, pid } => Self::Locked { dir: dir.clone(), pid: *pid },
            Self::Disk { doing, path, cause } => {
                let cause = match cause.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::new(cause.kind(), cause.to_string()),
                };
                Self::Disk { doing, path: path.clone(), cause }
            }
            Self::Damaged { path, why } => Self::Damaged { path: path.clone(), why },
        }
    }

    pub(super) fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Disk { doing, path: path.to_owned(), cause }
    }

    /// Whether freeing space on the disk would be enough.
    #[must_use]
    pub fn disk_is_full(&self) -> bool {
        matches!(self, Self::Disk { cause, .. } if is_full(cause))
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Disk { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// A page could not be made durable. Don't trust what is on the disk, even if a retry succeeds: after a failed fsync the
/// kernel drops what it could not write. This error still holds the bytes. Write them to a file of their own with [`Spool::rescue`](super::Spool::rescue), or publish them from memory, then stop.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct WriteFailed {
    pub(super) head: Box<Head>,
    /// The bytes that were to be written.
    pub body: Bytes,
    pub error: SpoolError,
}

impl WriteFailed {
    /// The read that brought the page.
    #[must_use]
    pub fn read_id(&self) -> ReadId {
        self.head.read_id
    }

    /// The read's number, for [`Spool::release_unwritten`](super::Spool::release_unwritten).
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.head.seq
    }
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

fn process_suffix(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
