//! The notes of pending orders that earlier versions left, `STORE.pending`: read once, at the first start.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::marketplace::body::Pending;
use crate::order::ids::{ReadId, StoreName};
use crate::platform::disk::{Disk, gone_is_as_good};

const SUFFIX: &str = "pending";

/// What was pending when a store last answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PendingNote {
    /// The read that follows the answer. `None` if no read was made since.
    pub(super) next: Option<ReadId>,
    /// What the answer reported, if it did.
    pub(super) pending: Option<Pending>,
}

/// The note of a store; `None` if there is none, or it can't be read.
pub(super) fn note(disk: &dyn Disk, dir: &Path, store: &StoreName) -> Option<PendingNote> {
    parse(&disk.read(&dir.join(format!("{store}.{SUFFIX}"))).ok()?)
}

fn parse(bytes: &[u8]) -> Option<PendingNote> {
    let (text, check) = std::str::from_utf8(bytes).ok()?.trim_end().split_once(" check: ")?;
    if format!("{:016x}", xxh3_64(text.as_bytes())) != check {
        return None;
    }
    let (next, rest) = text.strip_prefix("next read: ")?.split_once(" pending: ")?;
    let (orders, at) = rest.split_once(" at: ")?;
    let next = if next == "none" { None } else { Some(next.parse().ok()?) };
    let pending =
        if orders == "?" { None } else { Some(Pending { orders: orders.parse().ok()?, at: at.parse().ok()? }) };
    Some(PendingNote { next, pending })
}

/// Removes all notes, once the account holds what they say. A note that stays behind is ignored: its read is known.
pub(super) fn remove_notes(disk: &dyn Disk, dir: &Path) {
    let notes = disk.list(dir).unwrap_or_default();
    for note in notes.iter().filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX)) {
        remove(disk, note);
    }
}

fn remove(disk: &dyn Disk, note: &Path) {
    if let Err(error) = gone_is_as_good(disk.remove(note)) {
        tracing::warn!(file = %note.display(), %error, "a note of an earlier version can't be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_and_one_that_is_damaged_says_nothing() {
        let text = "next read: none pending: 65 at: 2026-11-24T10:00:00.123Z";
        let mut line = format!("{text} check: {:016x}\n", xxh3_64(text.as_bytes())).into_bytes();
        line.resize(256, b' ');
        let pending = Some(Pending { orders: 65, at: "2026-11-24T10:00:00.123Z".parse().unwrap() });
        assert_eq!(parse(&line), Some(PendingNote { next: None, pending }));
        for index in 0..text.len() {
            let mut damaged = line.clone();
            damaged[index] ^= 1;
            assert_eq!(parse(&damaged), None, "byte {index}");
        }
    }
}
