//! The bytes of a segment: a block that says its number, then frames. Pure: no disk, no clock.
//!
//! A frame is a block of text, padded with zeros, and the body that it announces, padded to whole blocks. The text has
//! exactly one valid rendering, as in [`super::super::format`]; its checks cover the text and the body.

use std::fmt::{self, Write as _};
use std::ops::Range;

use jiff::Timestamp;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::super::format::{Head, field, padded, text};
use crate::marketplace::body::Pending;
use crate::order::ids::{ReadId, StoreName};

/// Frames begin at multiples of this. A disk writes a sector of this size whole or not at all.
pub(in crate::spool) const BLOCK: usize = 512;

const MAGIC: &str = "imotriz-spool/2 ";

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::spool) enum Frame {
    /// A read is about to be made, after an answer that left so many orders pending.
    Reading { head: Head, pending: Option<Pending> },
    /// An answer, which is the body. `next`: the read that may follow it without another frame.
    Page { head: Head, read_at: Timestamp, next: Option<(u64, ReadId)> },
    /// A read of unknown outcome. The body is the reason, a line end, and the bytes that came.
    Unknown { head: Head, at: Timestamp, pending: Option<Pending> },
    /// Reads with which nothing is left to do: published, settled, or over without an answer that needs a file. The body
    /// is their sequence numbers.
    Done,
}

impl Frame {
    fn kind(&self) -> &'static str {
        match self {
            Self::Reading { .. } => "reading",
            Self::Page { .. } => "page",
            Self::Unknown { .. } => "unknown",
            Self::Done => "done",
        }
    }

    /// The block before the body.
    pub(in crate::spool) fn render(&self, segment: u64, body: &[u8]) -> Vec<u8> {
        self.render_checked(segment, body.len(), xxh3_128(body))
    }

    fn render_checked(&self, segment: u64, length: usize, check: u128) -> Vec<u8> {
        let mut text = format!("{MAGIC}{}\nsegment: {segment}\n", self.kind());
        let mut line =
            |args: fmt::Arguments<'_>| writeln!(text, "{args}").expect("a String takes all that is written to it");
        if let Self::Reading { head, .. } | Self::Page { head, .. } | Self::Unknown { head, .. } = self {
            let Head { seq, store, read_id, reserved_at } = head;
            line(format_args!("seq: {seq}\nstore: {store}\nread: {read_id}\nreserved: {reserved_at}"));
        }
        match self {
            Self::Page { read_at, next, .. } => {
                line(format_args!("read at: {read_at}"));
                match next {
                    Some((seq, read_id)) => line(format_args!("next: {seq} {read_id}")),
                    None => line(format_args!("next: none")),
                }
            }
            Self::Unknown { at, .. } => line(format_args!("read at: {at}")),
            Self::Reading { .. } | Self::Done => {}
        }
        if let Self::Reading { pending, .. } | Self::Unknown { pending, .. } = self {
            match pending {
                Some(Pending { orders, at }) => line(format_args!("pending: {orders} {at}")),
                None => line(format_args!("pending: ?")),
            }
        }
        line(format_args!("length: {length}\nbody: {check:032x}"));
        checked(text)
    }

    fn parse(block: &[u8]) -> Option<Header> {
        let mut lines = text(block)?.lines();
        let kind = lines.next()?.strip_prefix(MAGIC)?;
        let segment = field(lines.next(), "segment: ")?;
        let mut head = || {
            Some(Head {
                seq: field(lines.next(), "seq: ")?,
                store: field(lines.next(), "store: ")?,
                read_id: field(lines.next(), "read: ")?,
                reserved_at: field(lines.next(), "reserved: ")?,
            })
        };
        let frame = match kind {
            "reading" => Self::Reading { head: head()?, pending: parse_pending(lines.next()?)? },
            "page" => {
                let head = head()?;
                Self::Page { head, read_at: field(lines.next(), "read at: ")?, next: parse_next(lines.next()?)? }
            }
            "unknown" => {
                let head = head()?;
                Self::Unknown { head, at: field(lines.next(), "read at: ")?, pending: parse_pending(lines.next()?)? }
            }
            "done" => Self::Done,
            _ => return None,
        };
        let length = field(lines.next(), "length: ")?;
        let check = u128::from_str_radix(lines.next()?.strip_prefix("body: ")?, 16).ok()?;
        (frame.render_checked(segment, length, check) == block).then_some(Header { frame, segment, length, check })
    }
}

/// A frame's block as it was parsed.
struct Header {
    frame: Frame,
    segment: u64,
    length: usize,
    check: u128,
}

fn parse_pending(line: &str) -> Option<Option<Pending>> {
    match line.strip_prefix("pending: ")? {
        "?" => Some(None),
        known => {
            let (orders, at) = known.split_once(' ')?;
            Some(Some(Pending { orders: orders.parse().ok()?, at: at.parse().ok()? }))
        }
    }
}

fn parse_next(line: &str) -> Option<Option<(u64, ReadId)>> {
    match line.strip_prefix("next: ")? {
        "none" => Some(None),
        next => {
            let (seq, read_id) = next.split_once(' ')?;
            Some(Some((seq.parse().ok()?, read_id.parse().ok()?)))
        }
    }
}

fn checked(mut text: String) -> Vec<u8> {
    let check = xxh3_64(text.as_bytes());
    writeln!(text, "check: {check:016x}").expect("a String takes all that is written to it");
    padded(text, BLOCK)
}

/// The first block of a segment.
pub(in crate::spool) fn segment_head(number: u64) -> Vec<u8> {
    checked(format!("{MAGIC}segment\nsegment: {number}\n"))
}

fn number_in(block: &[u8]) -> Option<u64> {
    let number = field(text(block)?.lines().nth(1), "segment: ")?;
    (segment_head(number) == block).then_some(number)
}

/// The body of a frame that begins here, if it is whole.
pub(in crate::spool) fn body_of(frame: &[u8]) -> Option<Range<usize>> {
    let header = Frame::parse(frame.get(..BLOCK)?)?;
    let body = BLOCK..BLOCK.checked_add(header.length)?;
    (xxh3_128(frame.get(body.clone())?) == header.check).then_some(body)
}

/// How many bytes a frame with such a body takes.
pub(in crate::spool) fn size(body: usize) -> usize {
    BLOCK + body.next_multiple_of(BLOCK)
}

/// The body of [`Frame::Done`].
pub(in crate::spool) fn render_done(reads: &[u64]) -> Vec<u8> {
    reads.iter().fold(String::new(), |list, seq| list + &seq.to_string() + " ").into_bytes()
}

pub(in crate::spool) fn parse_done(body: &[u8]) -> Option<Vec<u64>> {
    std::str::from_utf8(body).ok()?.split_ascii_whitespace().map(|seq| seq.parse().ok()).collect()
}

/// The body of [`Frame::Unknown`]. `reason` is one line.
pub(in crate::spool) fn render_unknown(reason: &str, partial: &[u8]) -> Vec<u8> {
    [reason.as_bytes(), b"\n", partial].concat()
}

/// The reason, and where the bytes that came begin.
pub(in crate::spool) fn parse_unknown(body: &[u8]) -> Option<(&str, usize)> {
    let end = body.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&body[..end]).ok()?, end + 1))
}

/// Something in a segment, at this offset.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::spool) enum Found {
    /// A frame whose text is whole, with the range of its body. `is_whole`: the body is, too.
    Frame { frame: Frame, body: Range<usize>, is_whole: bool },
    /// Bytes that no whole frame covers. Where a frame's text is damaged, what can still be read of it.
    Damaged { bytes: Range<usize>, store: Option<StoreName>, read_id: Option<ReadId> },
    /// The rest of a frame that never got its text: it was being written when the power failed.
    Torn { bytes: Range<usize> },
}

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::spool) struct Contents {
    pub(in crate::spool) number: u64,
    /// Whether the first block says so.
    pub(in crate::spool) has_head: bool,
    pub(in crate::spool) found: Vec<Found>,
    /// Where the next frame goes.
    pub(in crate::spool) end: usize,
}

/// Reads a segment; `None` if nothing was ever written to it.
pub(in crate::spool) fn scan(segment: &[u8]) -> Option<Contents> {
    let blocks = || segment.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0));
    let named = segment.get(..BLOCK).and_then(number_in);
    // Each frame repeats the number, so that damage to the first block costs nothing.
    let number = named.or_else(|| blocks().filter_map(|(_, block)| Some(Frame::parse(block)?.segment)).max());
    let Some(number) = number else {
        let (first, last) = (blocks().next()?.0, blocks().next_back()?.0);
        let bytes = first * BLOCK..((last + 1) * BLOCK).min(segment.len());
        return Some(Contents { number: 0, has_head: false, end: segment.len(), found: vec![damaged(segment, bytes)] });
    };
    let mut contents = Contents { number, has_head: named.is_some(), found: Vec::new(), end: BLOCK };
    let mut loose: Option<Range<usize>> = None;
    let mut at = if named.is_some() { BLOCK } else { 0 };
    while let Some(block) = segment.get(at..at + BLOCK) {
        let header = Frame::parse(block).filter(|header| header.segment == number);
        let is_zero = block.iter().all(|byte| *byte == 0);
        if (header.is_some() || is_zero)
            && let Some(bytes) = loose.take()
        {
            contents.found.push(loose_bytes(segment, bytes));
        }
        match header {
            Some(Header { frame, length, check, .. }) => {
                let body = at + BLOCK..(at + BLOCK).saturating_add(length);
                // guard: a torn frame is no frame
                let is_whole = segment.get(body.clone()).is_some_and(|body| xxh3_128(body) == check);
                at += size(length).min(segment.len());
                contents.end = at.min(segment.len());
                contents.found.push(Found::Frame { frame, body, is_whole });
                continue;
            }
            None if is_zero => {}
            None => loose = Some(loose.map_or(at, |bytes| bytes.start)..at + BLOCK),
        }
        at += BLOCK;
        if !is_zero {
            contents.end = at;
        }
    }
    contents.found.extend(loose.map(|bytes| loose_bytes(segment, bytes)));
    Some(contents)
}

/// The text is written as one sector. So what has none was being written, unless whole frames follow it.
fn loose_bytes(segment: &[u8], bytes: Range<usize>) -> Found {
    let looks_like_text =
        segment[bytes.start..bytes.start + BLOCK].windows(9).any(|part| part == b"segment: " || part == b"imotriz-s");
    let ends = bytes.end;
    let is_followed = segment[ends..].chunks(BLOCK).any(|block| Frame::parse(block).is_some());
    if looks_like_text || is_followed { damaged(segment, bytes) } else { Found::Torn { bytes } }
}

fn damaged(segment: &[u8], bytes: Range<usize>) -> Found {
    let block = &segment[bytes.start..bytes.end.min(bytes.start + BLOCK)];
    let text = String::from_utf8_lossy(block);
    let named = |name| text.lines().find_map(|line| line.strip_prefix(name));
    let store = named("store: ").and_then(|name| name.parse().ok());
    let read_id = named("read: ").and_then(|id| id.parse().ok());
    Found::Damaged { bytes, store, read_id }
}
