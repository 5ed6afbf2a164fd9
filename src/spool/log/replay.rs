//! What segments say, taken together: which reads are not done with, and where. Pure: no disk, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use jiff::Timestamp;

use super::super::format::Head;
use super::frame::{BLOCK, Contents, Found, Frame, parse_done, parse_unknown};
use crate::marketplace::body::{Page, Pending};
use crate::order::ids::{ReadId, StoreName};

/// A read with which something is left to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::spool) struct Live {
    pub(in crate::spool) head: Head,
    pub(in crate::spool) what: What,
    /// The number of its segment.
    pub(in crate::spool) segment: u64,
    /// Its bytes there: the answer, or what came of it. Of a read without an answer, those of the page that announced it.
    pub(in crate::spool) bytes: Range<usize>,
}

/// What is known of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::spool) enum What {
    /// It was made, or is about to be made.
    Reading { pending: Option<Pending> },
    /// Its answer is whole.
    Page { read_at: Timestamp },
    /// Its answer, or the trace of it, is not whole.
    Torn { pending: Option<Pending> },
    /// Nobody knows what it marked.
    Unknown { reason: String, pending: Option<Pending> },
}

impl Live {
    /// What was pending before a read stays known when it has ended.
    pub(in crate::spool) fn follow(&mut self, earlier: Option<&Self>) {
        if let (
            What::Unknown { pending: pending @ None, .. } | What::Torn { pending },
            Some(What::Reading { pending: known } | What::Torn { pending: known }),
        ) = (&mut self.what, earlier.map(|live| &live.what))
        {
            *pending = *known;
        }
    }
}

/// Damage in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::spool) struct Damage {
    /// Its place in the list of segments.
    pub(in crate::spool) index: usize,
    pub(in crate::spool) bytes: Range<usize>,
    pub(in crate::spool) store: Option<StoreName>,
    pub(in crate::spool) read_id: Option<ReadId>,
}

/// All that the segments say.
#[derive(Debug, Default)]
pub(in crate::spool) struct Replay {
    /// By sequence number.
    pub(in crate::spool) live: BTreeMap<u64, Live>,
    pub(in crate::spool) damaged: Vec<Damage>,
    /// Places that were being written when the power failed, by segment.
    pub(in crate::spool) torn: Vec<(usize, Range<usize>)>,
    /// The highest sequence number of all.
    pub(in crate::spool) last_seq: u64,
}

/// Plays segments, which are sorted by their numbers.
pub(in crate::spool) fn replay<'a>(segments: impl IntoIterator<Item = (&'a Contents, &'a [u8])>) -> Replay {
    let (mut replay, mut done) = (Replay::default(), BTreeSet::new());
    let segments: Vec<(&Contents, &[u8])> = segments.into_iter().collect();
    for (index, (contents, bytes)) in segments.iter().enumerate() {
        for found in &contents.found {
            match found {
                Found::Frame { frame, body, is_whole } => {
                    let body = body.start..body.end.min(bytes.len());
                    replay.play((index, contents.number), (frame, *is_whole), body, bytes, &mut done);
                }
                Found::Damaged { bytes, store, read_id } => {
                    let (bytes, store, read_id) = (bytes.clone(), store.clone(), *read_id);
                    replay.damaged.push(Damage { index, bytes, store, read_id });
                }
                Found::Torn { bytes } => replay.torn.push((index, bytes.clone())),
            }
        }
    }
    // guard: a page that is let go stays gone
    replay.live.retain(|seq, _| !done.contains(seq));
    for live in replay.live.values_mut() {
        // The page that announced the read tells how many orders it left pending.
        if let What::Reading { pending: pending @ None } = &mut live.what
            && let Some((_, bytes)) = segments.iter().find(|(contents, _)| contents.number == live.segment)
        {
            *pending = counted(&bytes[live.bytes.clone()], live.head.reserved_at);
        }
    }
    replay
}

impl Replay {
    fn play(
        &mut self,
        (index, segment): (usize, u64),
        (frame, is_whole): (&Frame, bool),
        body: Range<usize>,
        all: &[u8],
        done: &mut BTreeSet<u64>,
    ) {
        let live = |head: &Head, what, bytes| Live { head: head.clone(), what, segment, bytes };
        match frame {
            Frame::Reading { head, pending } => {
                let what = What::Reading { pending: *pending };
                self.insert(live(head, what, body.start..body.start), false);
            }
            Frame::Page { head, read_at, next } if is_whole => {
                self.insert(live(head, What::Page { read_at: *read_at }, body.clone()), true);
                if let Some((seq, read_id)) = *next {
                    let next = Head { seq, store: head.store.clone(), read_id, reserved_at: *read_at };
                    let what = What::Reading { pending: None };
                    self.insert(Live { head: next, what, segment, bytes: body }, false);
                }
            }
            Frame::Page { head, .. } | Frame::Unknown { head, .. } if !is_whole => {
                let what = What::Torn { pending: None };
                let end = all[body.clone()]
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(body.start, |last| body.start + last + 1);
                self.insert(live(head, what, body.start..end), true);
            }
            Frame::Unknown { head, pending, .. } => {
                let (reason, start) = parse_unknown(&all[body.clone()]).unwrap_or(("", 0));
                let what = What::Unknown { reason: reason.to_owned(), pending: *pending };
                self.insert(live(head, what, body.start + start..body.end), true);
            }
            Frame::Page { .. } => unreachable!("whole or not"),
            Frame::Done if is_whole => {
                let reads = parse_done(&all[body]).unwrap_or_default();
                self.last_seq = reads.iter().copied().fold(self.last_seq, u64::max);
                done.extend(reads);
            }
            // What it released comes back, and the index knows it.
            Frame::Done => {
                self.damaged.push(Damage { index, bytes: body.start - BLOCK..body.end, store: None, read_id: None });
            }
        }
    }

    /// `concludes`: replaces what is known of the read.
    fn insert(&mut self, mut live: Live, concludes: bool) {
        let seq = live.head.seq;
        self.last_seq = self.last_seq.max(seq);
        if concludes {
            live.follow(self.live.get(&seq));
            self.live.insert(seq, live);
        } else {
            self.live.entry(seq).or_insert(live);
        }
    }
}

/// How many orders a page left pending, if it is one and says so.
fn counted(page: &[u8], at: Timestamp) -> Option<Pending> {
    let orders = Page::parse(page).ok()?.counted().after?;
    Some(Pending { orders, at })
}
