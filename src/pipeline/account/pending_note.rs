//! The number of orders that were pending when a store last answered. It is written before each read, so that recovery
//! finds it if the read is killed.
//!
//! The note of a store is a small file, overwritten in place, that names the read that follows it. It is synced only at
//! the first read of a process, when nothing is pending, and at the end. In between the write stays in the page cache,
//! which a kill does not harm, so a page costs no sync. After a power failure the file may hold an older note: it names
//! another read and is ignored.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::error::AccountError;
use super::gap::Pending;
use crate::order::ids::{ReadId, StoreName};
use crate::platform::disk::{Disk, DiskFile};

/// Bytes of a note, which is written as a whole.
const LENGTH: usize = 256;

/// A note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PendingNote {
    /// The read that follows the answer. `None` if no read was made since.
    pub(super) next: Option<ReadId>,
    /// What the answer reported, if it did.
    pub(super) pending: Option<Pending>,
}

impl PendingNote {
    fn render(self) -> Vec<u8> {
        let next = self.next.map_or_else(|| "none".to_owned(), |read| read.to_string());
        let (orders, at) = self
            .pending
            .map_or_else(|| ("?".to_owned(), "?".to_owned()), |known| (known.orders.to_string(), known.at.to_string()));
        let text = format!("next read: {next} pending: {orders} at: {at}");
        let mut line = format!("{text} check: {:016x}\n", xxh3_64(text.as_bytes())).into_bytes();
        line.resize(LENGTH, b' ');
        line
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_prefix("next read: ")?;
        let (next, rest) = text.split_once(" pending: ")?;
        let (orders, rest) = rest.split_once(" at: ")?;
        let (at, _) = rest.split_once(" check: ")?;
        let next = if next == "none" { None } else { Some(next.parse().ok()?) };
        let pending =
            if orders == "?" { None } else { Some(Pending { orders: orders.parse().ok()?, at: at.parse().ok()? }) };
        let note = Self { next, pending };
        (note.render() == bytes).then_some(note)
    }
}

/// The note of one store.
#[derive(Debug)]
pub(super) struct PendingNotes {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    pub(super) last: Option<Pending>,
    noted: Option<PendingNote>,
}

impl PendingNotes {
    fn path(dir: &Path, store: &StoreName) -> PathBuf {
        dir.join(format!("{store}.pending"))
    }

    /// The note that a former process left; `None` if it can't be read.
    pub(super) fn left(disk: &dyn Disk, dir: &Path, store: &StoreName) -> Option<PendingNote> {
        PendingNote::parse(&disk.read(&Self::path(dir, store)).ok()?)
    }

    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, store: &StoreName, last: Option<Pending>) -> Self {
        Self { disk, path: Self::path(dir, store), file: None, last, noted: None }
    }

    /// Writes the note. Syncs it if no read follows, if it is the first of this process or follows a final one, or if
    /// nothing is pending.
    pub(super) fn note(&mut self, next: Option<ReadId>) -> Result<(), AccountError> {
        let note = PendingNote { next, pending: self.last };
        if self.noted == Some(note) {
            return Ok(());
        }
        let durable = next.is_none()
            || self.noted.is_none_or(|noted| noted.next.is_none())
            || self.last.is_some_and(|pending| pending.orders == 0);
        self.write(&note.render(), durable).map_err(AccountError::io(&self.path))?;
        self.noted = Some(note);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], durable: bool) -> std::io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(match self.disk.open(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => self.disk.create(&self.path)?,
                opened => opened?,
            }),
        };
        file.write_at(0, bytes)?;
        if durable { file.sync_data() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_and_one_that_is_damaged_says_nothing() {
        let pending = Some(Pending { orders: 65, at: "2026-11-24T10:00:00.123Z".parse().unwrap() });
        for note in [
            PendingNote { next: None, pending },
            PendingNote { next: Some(ReadId::fresh()), pending },
            PendingNote { next: Some(ReadId::fresh()), pending: None },
        ] {
            let bytes = note.render();
            assert_eq!((PendingNote::parse(&bytes), bytes.len()), (Some(note), LENGTH));
            for index in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[index] ^= 1;
                assert_eq!(PendingNote::parse(&damaged), None, "byte {index}");
            }
            assert_eq!(PendingNote::parse(&bytes[..LENGTH - 1]), None);
        }
    }
}
