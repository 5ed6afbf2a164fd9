//! The spool's segments, read independently of the program.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

pub const BLOCK: usize = 512;
const MAGIC: &[u8] = b"imotriz-spool/2 ";

/// A frame whose text is whole.
pub struct Frame<'a> {
    text: &'a str,
    /// If it is whole.
    pub body: Option<&'a [u8]>,
}

/// A read with which something is left to do.
pub struct Live<'a> {
    pub store: String,
    pub read: String,
    /// Of a whole page.
    pub page: Option<&'a [u8]>,
    /// Whether it is announced, and nothing else is known of it.
    pub is_announced: bool,
}

impl<'a> Frame<'a> {
    /// The frame that begins with this block, if any does.
    pub fn at(bytes: &'a [u8], offset: usize) -> Option<Self> {
        let block = bytes.get(offset..offset + BLOCK).filter(|block| block.starts_with(MAGIC))?;
        let end = block.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&block[..end]).ok()?;
        let (checked, check) = text.trim_end().rsplit_once("check: ")?;
        if u64::from_str_radix(check, 16) != Ok(xxh3_64(checked.as_bytes())) {
            return None;
        }
        let frame = Self { text, body: None };
        let Some(length) = frame.field("length: ") else { return Some(frame) };
        let start = offset + BLOCK;
        let body = bytes.get(start..start + length.parse::<usize>().ok()?);
        let is_whole = |body: &&[u8]| format!("{:032x}", xxh3_128(body)) == frame.field("body: ").unwrap();
        Some(Self { body: body.filter(is_whole), ..frame })
    }

    pub fn is(&self, kind: &str) -> bool {
        self.text.as_bytes()[MAGIC.len()..].starts_with(kind.as_bytes())
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        self.text.lines().find_map(|line| line.strip_prefix(name))
    }

    fn number(&self, name: &str) -> u64 {
        self.field(name).unwrap().parse().unwrap()
    }

    /// The reads that it ends.
    pub fn done(&self) -> Vec<u64> {
        let body = self.body.filter(|_| self.is("done")).unwrap_or_default();
        std::str::from_utf8(body).unwrap().split_ascii_whitespace().map(|seq| seq.parse().unwrap()).collect()
    }
}

/// The frames of a segment.
fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let number = number(bytes);
    let found = (1..bytes.len() / BLOCK).filter_map(|block| Frame::at(bytes, block * BLOCK));
    found.filter(move |frame| number.is_none_or(|number| frame.number("segment: ") == number))
}

/// Of a segment that is in use.
pub fn number(bytes: &[u8]) -> Option<u64> {
    Frame::at(bytes, 0).filter(|head| head.is("segment")).map(|head| head.number("segment: "))
}

/// By sequence number.
pub fn live<'a>(segments: impl Iterator<Item = &'a [u8]>) -> BTreeMap<u64, Live<'a>> {
    let mut segments: Vec<&[u8]> = segments.filter(|bytes| Frame::at(bytes, 0).is_some()).collect();
    segments.sort_by_key(|bytes| Frame::at(bytes, 0).unwrap().number("segment: "));
    let (mut live, mut done) = (BTreeMap::new(), BTreeSet::new());
    for frame in segments.into_iter().flat_map(frames) {
        if frame.is("done") {
            done.extend(frame.done());
            continue;
        }
        let (seq, store) = (frame.number("seq: "), frame.field("store: ").unwrap().to_owned());
        let read = frame.field("read: ").unwrap().to_owned();
        let next = frame.field("next: ").filter(|next| *next != "none" && frame.body.is_some());
        if let Some((next, read)) = next.and_then(|next| next.split_once(' ')) {
            let (store, read) = (store.clone(), read.to_owned());
            live.entry(next.parse().unwrap()).or_insert(Live { store, read, page: None, is_announced: true });
        }
        let is_announced = frame.is("reading");
        let page = frame.body.filter(|_| frame.is("page"));
        let found = Live { store, read, page, is_announced };
        if is_announced {
            live.entry(seq).or_insert(found);
        } else {
            live.insert(seq, found);
        }
    }
    live.retain(|seq, _| !done.contains(seq));
    live
}
