//! The bytes of a spool file. Pure: no disk, no clock.
//!
//! Head and seal are text with exactly one valid rendering. Parsing takes the fields out, renders them again and
//! compares all bytes, padding included. A block that does not render to the same bytes is rejected.

use std::fmt::Write;
use std::ops::Range;
use std::str::FromStr;

use jiff::Timestamp;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::order::ids::{ReadId, StoreName};

/// Bytes of the head. It is a block of its own, so writing a page never rewrites the head.
pub(super) const HEAD: usize = 4096;
/// Bytes of the seal, right after the head.
pub(super) const SEAL: usize = 512;
/// Offset of the body.
pub(super) const BODY: usize = HEAD + SEAL;

const PAGE_MAGIC: &str = "imotriz-spool/1 page";
const FREE_MAGIC: &str = "imotriz-spool/1 free";
/// Maximum bytes of a reason, so that the seal always fits its block.
const REASON: usize = 240;

/// The part of a file that is known before the read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) store: StoreName,
    pub(super) read_id: ReadId,
    pub(super) reserved_at: Timestamp,
}

impl Head {
    pub(super) fn render(&self) -> Vec<u8> {
        let Self { seq, store, read_id, reserved_at } = self;
        let mut text = format!("{PAGE_MAGIC}\nseq: {seq}\nstore: {store}\nread: {read_id}\nreserved: {reserved_at}\n");
        let check = xxh3_64(text.as_bytes());
        line(&mut text, format_args!("check: {check:016x}"));
        padded(text, HEAD)
    }

    fn parse(block: &[u8]) -> Option<Self> {
        let mut lines = text(block)?.lines();
        lines.next().filter(|magic| *magic == PAGE_MAGIC)?;
        let head = Self {
            seq: field(lines.next(), "seq: ")?,
            store: field(lines.next(), "store: ")?,
            read_id: field(lines.next(), "read: ")?,
            reserved_at: field(lines.next(), "reserved: ")?,
        };
        (head.render() == block).then_some(head)
    }

    /// Files sorted by name are in the order of their reservation.
    pub(super) fn file_name(&self, suffix: &str) -> String {
        format!("{:012}-{}-{}.{suffix}", self.seq, self.store, self.read_id)
    }
}

/// The head of a file that belongs to no read.
pub(super) fn free_head() -> Vec<u8> {
    padded(format!("{FREE_MAGIC}\n"), HEAD)
}

/// Store and read ID from a file's name: a fallback for files whose head can't be read.
pub(super) fn named(stem: &str) -> Option<(StoreName, ReadId)> {
    let (_, rest) = stem.split_once('-')?;
    let (store, read_id) = rest.split_at_checked(rest.len().checked_sub(36)?)?;
    Some((store.strip_suffix('-')?.parse().ok()?, read_id.parse().ok()?))
}

/// How a read ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer was read to its end.
    Page,
    /// It was not; the reason.
    Unknown(String),
}

/// The part of a file that is known after the read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) outcome: Outcome,
    pub(super) at: Timestamp,
}

impl Seal {
    /// The checksum covers head, seal and body, so a seal is valid for one body under one head.
    pub(super) fn render(&self, head: &[u8], body: &[u8]) -> Vec<u8> {
        let outcome = match &self.outcome {
            Outcome::Page => "page".to_owned(),
            Outcome::Unknown(reason) => format!("unknown\nreason: {reason}"),
        };
        let mut text = format!("read at: {}\nlength: {}\noutcome: {outcome}\n", self.at, body.len());
        let mut check = Xxh3Default::new();
        for part in [head, text.as_bytes(), body] {
            check.update(part);
        }
        line(&mut text, format_args!("check: {:032x}", check.digest128()));
        padded(text, SEAL)
    }

    /// Returns the seal and its body's length, neither checked against the checksum yet.
    pub(super) fn parse(block: &[u8]) -> Option<(Self, usize)> {
        let mut lines = text(block)?.lines();
        let at = field(lines.next(), "read at: ")?;
        let length = field(lines.next(), "length: ")?;
        let outcome = match lines.next()?.strip_prefix("outcome: ")? {
            "page" => Outcome::Page,
            "unknown" => Outcome::Unknown(field(lines.next(), "reason: ")?),
            _ => return None,
        };
        Some((Self { outcome, at }, length))
    }
}

/// What a file contains.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Belongs to no read: released, discarded, or made in advance.
    Free,
    /// All zeros: its creation was cut short.
    Blank,
    /// Reserved, and nothing written since.
    Unfinished(Head),
    /// Sealed and whole; the range of the body.
    Sealed(Head, Seal, Range<usize>),
    /// Partly written or damaged; the range of the bytes, and the reason.
    Torn(Head, Range<usize>, &'static str),
    /// The head can't be read.
    Corrupt(&'static str),
}

/// Classifies a file by its bytes alone.
pub(super) fn examine(file: &[u8]) -> Found {
    if file.iter().all(|byte| *byte == 0) {
        return Found::Blank;
    }
    let Some((head_block, rest)) = file.split_at_checked(HEAD) else {
        return Found::Corrupt("the file ends within its head");
    };
    if head_block == free_head() {
        return Found::Free;
    }
    let Some(head) = Head::parse(head_block) else {
        return Found::Corrupt("the head is damaged, or was written by another version");
    };
    match seal_of(head_block, rest) {
        Ok((seal, body)) => Found::Sealed(head, seal, body),
        Err(_) if rest.iter().all(|byte| *byte == 0) => Found::Unfinished(head),
        Err(why) => {
            let end = file.iter().rposition(|byte| *byte != 0).map_or(BODY, |last| last + 1);
            Found::Torn(head, BODY.min(file.len())..end.max(BODY.min(file.len())), why)
        }
    }
}

fn seal_of(head: &[u8], rest: &[u8]) -> Result<(Seal, Range<usize>), &'static str> {
    let (block, space) = rest.split_at_checked(SEAL).ok_or("the file ends within its seal")?;
    let (seal, length) = Seal::parse(block).ok_or("there is no readable seal")?;
    let body = space.get(..length).ok_or("the file ends within its body")?;
    // guard: a torn page is no page
    if seal.render(head, body) != block {
        return Err("the checksum does not fit");
    }
    Ok((seal, BODY..BODY + length))
}

/// A reason as a seal stores it: one line, cut to fit.
pub(super) fn one_line(reason: &str) -> String {
    let printable: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    printable[..printable.floor_char_boundary(REASON)].to_owned()
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all that is written to it");
}

pub(super) fn padded(text: String, size: usize) -> Vec<u8> {
    let mut block = text.into_bytes();
    debug_assert!(block.len() <= size);
    block.resize(size, 0);
    block
}

pub(super) fn text(block: &[u8]) -> Option<&str> {
    let end = block.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(&block[..end]).ok()
}

pub(super) fn field<T: FromStr>(line: Option<&str>, name: &str) -> Option<T> {
    line?.strip_prefix(name)?.parse().ok()
}
