//! The log: pages and traces of all stores, one behind the other, in files of one size that are used again.
//!
//! `frame.rs` has the format, `replay.rs` what it means, `group_commit.rs` who syncs, `manifest.rs` which files there are.
//! This file appends, and gives back segments of which nothing is needed any more.
//!
//! Segments are given back in their order, the oldest first, and only when a sync has covered the frames that say so.
//! So no frame of an older segment can outlive the frame that ends it. A read that keeps the oldest segment for long is
//! written once more at the end of the log.

pub(super) mod frame;
mod group_commit;
pub(super) mod manifest;
pub(super) mod replay;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::corrupt::{CorruptFile, TORN, put_aside, put_bytes_aside, torn};
use super::disk::{self, SpoolDisk};
use super::error::SpoolError;
use super::format::Head;
use super::{SEGMENT, has_suffix};
use crate::marketplace::body::Pending;
use crate::order::ids::StoreName;
use crate::platform::disk::DiskFile;
use crate::platform::fail_point;
use frame::{BLOCK, Contents, Frame};
use group_commit::Commits;
use manifest::Manifest;
use replay::{Live, What};

/// A segment holds so many pages of the reserved size.
const PAGES: usize = 16;
/// So many unused segments are kept.
const SPARES: usize = 4;
/// Beyond so many segments, what keeps the oldest one is moved.
const SEGMENTS: usize = 8;

pub(super) use group_commit::Ticket;

#[derive(Debug)]
pub(super) struct Log {
    disk: SpoolDisk,
    dir: PathBuf,
    /// Bytes of a segment.
    segment: usize,
    /// Bytes of the largest frame.
    frame: usize,
    manifest: Manifest,
    state: Mutex<State>,
    /// Somebody else's sync is over.
    synced: Notify,
    /// There is something for [`Log::upkeep`].
    pub(super) wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// Files of zeros.
    spares: Vec<Arc<SegmentFile>>,
    retired: VecDeque<Retired>,
    live: BTreeMap<u64, Live>,
    /// Reads that may bring a page.
    claims: usize,
    next_segment: u64,
    next_file: u64,
    commits: Commits,
    /// Whether anything was appended since the last look.
    was_busy: bool,
}

/// A file of which nothing is needed any more.
#[derive(Debug)]
struct Retired {
    file: Arc<SegmentFile>,
    /// Where its frames end; zeros follow.
    end: usize,
    /// The frames that say so are durable with this one.
    ticket: Ticket,
}

#[derive(Debug)]
struct SegmentFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    file: Arc<SegmentFile>,
    /// Where the next frame goes.
    end: usize,
    /// How many live reads are in it.
    pins: usize,
}

/// A segment as it was found.
struct Read {
    file: Arc<SegmentFile>,
    bytes: Vec<u8>,
    contents: Contents,
}

impl Log {
    /// Replays the segments in `dir`. Also returns what could not be read, and the highest sequence number.
    pub(super) fn open(disk: &SpoolDisk, dir: &Path, page: usize) -> Result<(Self, Vec<CorruptFile>, u64), SpoolError> {
        let frame = frame::size(page);
        let segment = BLOCK + PAGES * frame;
        let mut state = State::default();
        let mut found = Vec::new();
        let mut corrupt = Vec::new();
        let mut paths = disk.list(dir)?;
        paths.retain(|path| has_suffix(path, SEGMENT));
        let manifest = Manifest::read(disk, dir, &paths);
        // A name that is gone is not used again.
        let names = manifest.gone.iter().map(Path::new).chain(paths.iter().map(PathBuf::as_path));
        state.next_file = names.filter_map(ordinal).max().unwrap_or(0);
        for path in paths {
            match disk.read(&path) {
                Ok(bytes) => {
                    let file = Arc::new(SegmentFile { file: disk.open_for_writing(&path)?, path });
                    match frame::scan(&bytes) {
                        Some(contents) => found.push(Read { file, bytes, contents }),
                        None => state.retired.push_back(Retired { file, end: segment, ticket: Ticket::default() }),
                    }
                }
                Err(SpoolError::Disk { cause, .. }) if cause.raw_os_error() == Some(disk::IO_ERROR) => {
                    corrupt.push(put_aside(disk, dir, path, cause.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|read| read.contents.number);
        corrupt.extend(manifest.missing(&found).into_iter().map(|missing| {
            let why =
                format!("{missing}, and with it perhaps pages of any store: a pass over each looks for their orders");
            CorruptFile { path: dir.to_owned(), why, store: None, read_id: None }
        }));
        let replay = replay::replay(found.iter().map(|read| (&read.contents, &read.bytes[..])));
        for damage in replay.damaged {
            let Read { file, bytes, .. } = &found[damage.index];
            let put =
                put_bytes_aside(disk, dir, file.stem(), &bytes[damage.bytes.clone()], (damage.store, damage.read_id));
            if put.is_ok() {
                file.erase(damage.bytes)?;
            }
            corrupt.push(put.unwrap_or_else(|corrupt| corrupt));
        }
        for (index, bytes) in replay.torn {
            found[index].file.erase(bytes)?;
        }
        for Read { file, bytes, contents } in found {
            if !contents.has_head {
                file.write(0, &frame::segment_head(contents.number), &[])?;
            }
            // The bytes may be in memory only: the process can have been killed between its write and its fdatasync.
            file.sync()?;
            state.next_segment = state.next_segment.max(contents.number + 1);
            let pins = replay.live.values().filter(|live| live.segment == contents.number).count();
            let end = contents.end.min(bytes.len());
            state.segments.push_back(Segment { number: contents.number, file, end, pins });
        }
        state.live = replay.live;
        // A full disk must not keep the program from publishing.
        manifest.begin(state.files()).ok();
        let (disk, dir) = (disk.clone(), dir.to_owned());
        let (state, synced, wanted) = (Mutex::new(state), Notify::new(), Notify::new());
        let log = Self { disk, dir, segment, frame, manifest, state, synced, wanted };
        Ok((log, corrupt, replay.last_seq))
    }

    /// Forgets which files were gone when it was opened, once that is noted elsewhere.
    pub(super) fn forget_gone(&self) -> Result<(), SpoolError> {
        self.manifest.forget_gone()
    }

    /// Claims space for a page, before the read that may bring it.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]: nothing may be read.
    pub(super) fn claim(&self) -> Result<(), SpoolError> {
        let mut state = self.state();
        if let Some(last) = state.segments.back() {
            // A file that somebody removed takes every write, and nobody finds it again.
            // guard: a spool that was taken away is met before the read
            self.disk.size(&last.file.path)?;
        }
        // Besides what is claimed, there is always room for one frame: releasing pages must not need new space.
        while self.room(&state) < state.claims + 2 {
            let spare = self.create_spare(&mut state)?;
            state.spares.push(spare);
        }
        state.claims += 1;
        Ok(())
    }

    pub(super) fn unclaim(&self) {
        self.state().claims -= 1;
    }

    /// Whether a page of this length has been given space by a claim.
    pub(super) fn fits(&self, length: usize) -> bool {
        frame::size(length) <= self.frame
    }

    /// Appends a frame; [`Self::durable`] makes it durable.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]. Some of it may be on the disk.
    pub(super) fn append(&self, frame: &Frame, body: &[u8]) -> Result<Ticket, SpoolError> {
        let mut state = self.state();
        self.append_to(&mut state, frame, body)
    }

    fn append_to(&self, state: &mut State, frame: &Frame, body: &[u8]) -> Result<Ticket, SpoolError> {
        let size = frame::size(body.len());
        if state.segments.back().is_none_or(|last| last.end + size > self.segment) {
            self.begin_segment(state)?;
        }
        let segment = state.segments.back_mut().expect("one was begun");
        let (at, number, file) = (segment.end, segment.number, segment.file.clone());
        if let Err(error) = file.write(at, &frame.render(number, body), body) {
            // Nobody knows what is there now.
            segment.end = self.segment;
            return Err(error);
        }
        segment.end += size;
        state.was_busy = true;
        let ticket = state.commits.appended(&file);
        let body_at = at + BLOCK..at + BLOCK + body.len();
        state.note(number, frame, body_at, body);
        Ok(ticket)
    }

    fn begin_segment(&self, state: &mut State) -> Result<(), SpoolError> {
        let file = match state.spares.pop() {
            Some(spare) => spare,
            None => self.create_spare(state)?,
        };
        let number = state.next_segment;
        file.write(0, &frame::segment_head(number), &[])?;
        state.next_segment += 1;
        state.segments.push_back(Segment { number, file, end: BLOCK, pins: 0 });
        self.wanted.notify_one();
        Ok(())
    }

    /// How many frames of the largest size still fit.
    fn room(&self, state: &State) -> usize {
        let left = state.segments.back().map_or(0, |last| self.segment.saturating_sub(last.end) / self.frame);
        left + state.spares.len() * PAGES
    }

    /// A file of zeros: later writes change bytes and no metadata.
    fn create_spare(&self, state: &mut State) -> Result<Arc<SegmentFile>, SpoolError> {
        if let Some(Retired { file, end, .. }) = take_retired(state) {
            file.blank(end)?;
            return Ok(file);
        }
        state.next_file += 1;
        self.create_file(state.next_file)
    }

    fn create_file(&self, ordinal: u64) -> Result<Arc<SegmentFile>, SpoolError> {
        let path = self.dir.join(format!("{ordinal:012}.{SEGMENT}"));
        let file = self.disk.create(&path)?;
        let file = Arc::new(SegmentFile { path, file });
        match file.blank(self.segment).and_then(|()| self.manifest.add(&file)) {
            Ok(()) => Ok(file),
            Err(error) => {
                self.disk.remove(&file.path).ok();
                Err(error)
            }
        }
    }

    /// Gives back what is not needed, moves what keeps the oldest segment, and prepares a spare one. Call it now and then,
    /// and when [`Self::wanted`] says so.
    pub(super) fn upkeep(&self) -> Result<(), SpoolError> {
        let mut state = self.state();
        if state.segments.len() > SEGMENTS {
            self.move_oldest(&mut state)?;
        }
        let was_busy = std::mem::take(&mut state.was_busy);
        let is_idle = !was_busy && state.claims == 0;
        while let Some(oldest) = state.segments.front()
            && oldest.pins == 0
            && (state.segments.len() > 1 || (is_idle && state.live.is_empty()))
        {
            let Segment { file, end, .. } = state.segments.pop_front().expect("it was looked at");
            let ticket = state.commits.last();
            state.retired.push_back(Retired { file, end, ticket });
        }
        drop(state);
        self.prepare_spares(was_busy)
    }

    /// Without the lock: zeros and their sync take as long as some pages.
    fn prepare_spares(&self, one_is_needed: bool) -> Result<(), SpoolError> {
        loop {
            let mut state = self.state();
            let file = match take_retired(&mut state) {
                Some(Retired { file, end, .. }) if state.spares.len() < SPARES => {
                    drop(state);
                    file.blank(end)?;
                    file
                }
                Some(Retired { file, .. }) => {
                    drop(state);
                    self.manifest.take_off(&[&file])?;
                    self.disk.remove(&file.path)?;
                    continue;
                }
                None if state.spares.is_empty() && one_is_needed => {
                    state.next_file += 1;
                    let ordinal = state.next_file;
                    drop(state);
                    // Whoever needs the space meets the error.
                    let Ok(file) = self.create_file(ordinal) else { return Ok(()) };
                    file
                }
                None => return Ok(()),
            };
            self.state().spares.push(file);
        }
    }

    fn move_oldest(&self, state: &mut State) -> Result<(), SpoolError> {
        let Some(oldest) = state.segments.front() else { return Ok(()) };
        let (number, path) = (oldest.number, oldest.file.path.clone());
        let moved: Vec<Live> = state.live.values().filter(|live| live.segment == number).cloned().collect();
        if moved.is_empty() {
            return Ok(());
        }
        let bytes = self.disk.read(&path)?;
        for Live { head, what, bytes: range, .. } in moved {
            let bytes = bytes.get(range).unwrap_or_default();
            let (frame, body) = match what {
                What::Reading { pending } => (Frame::Reading { head, pending }, Bytes::new()),
                What::Page { read_at } => (Frame::Page { head, read_at, next: None }, Bytes::copy_from_slice(bytes)),
                What::Torn { pending } => {
                    let at = head.reserved_at;
                    (Frame::Unknown { head, at, pending }, frame::render_unknown(&torn(TORN), bytes).into())
                }
                What::Unknown { reason, pending } => {
                    let at = head.reserved_at;
                    (Frame::Unknown { head, at, pending }, frame::render_unknown(&reason, bytes).into())
                }
            };
            self.append_to(state, &frame, &body)?;
        }
        Ok(())
    }

    /// Says how many orders are pending before a read that is about to be made, for a frame that repeats it.
    pub(super) fn expect(&self, seq: u64, before: Option<Pending>) {
        if let Some(Live { what: What::Reading { pending }, .. }) = self.state().live.get_mut(&seq) {
            *pending = before;
        }
    }

    /// The reads with which something is left to do.
    pub(super) fn live(&self, is_wanted: &dyn Fn(&StoreName) -> bool) -> Vec<Live> {
        self.state().live.values().filter(|live| is_wanted(&live.head.store)).cloned().collect()
    }

    /// Ends reads. They are gone for good once the ticket is durable.
    pub(super) fn done(&self, reads: &[u64]) -> Result<Ticket, SpoolError> {
        self.append(&Frame::Done, &frame::render_done(reads))
    }

    /// Says that nobody knows what a read marked that a former process left. If that can't be written, the frames that
    /// told so tell it again.
    pub(super) fn leave_unknown(&self, left: &Live, reason: &str) -> Result<(), SpoolError> {
        let Live { head, what, segment, bytes } = left;
        let (came, pending) = match what {
            What::Torn { pending } => (self.part(*segment, bytes)?, *pending),
            What::Reading { pending } => (Vec::new(), *pending),
            What::Page { .. } | What::Unknown { .. } => return Ok(()),
        };
        let frame = Frame::Unknown { head: head.clone(), at: head.reserved_at, pending };
        self.append(&frame, &frame::render_unknown(reason, &came)).map(drop)
    }

    fn part(&self, segment: u64, bytes: &std::ops::Range<usize>) -> Result<Vec<u8>, SpoolError> {
        let path = self.state().segments.iter().find(|it| it.number == segment).map(|it| it.file.path.clone());
        path.map_or(Ok(Vec::new()), |path| self.disk.read_part(&path, bytes.start, bytes.len()))
    }

    /// The bytes of a read that is still live.
    pub(super) fn bytes(&self, seq: u64) -> Result<Bytes, SpoolError> {
        let place = |state: &State| {
            let live = state.live.get(&seq)?;
            let segment = state.segments.iter().find(|segment| segment.number == live.segment)?;
            Some((segment.file.path.clone(), live.bytes.clone()))
        };
        loop {
            let Some((path, range)) = place(&self.state()) else {
                return Err(SpoolError::Damaged { path: self.dir.clone(), why: "the spool holds no such read" });
            };
            let read = self.disk.read_part(&path, range.start - BLOCK.min(range.start), range.len() + BLOCK);
            // It may have been moved meanwhile.
            if place(&self.state()).is_some_and(|now| now != (path.clone(), range.clone())) {
                continue;
            }
            let read = Bytes::from(read?);
            return match frame::body_of(&read) {
                Some(body) => Ok(read.slice(body)),
                None => Err(SpoolError::Damaged { path, why: "the checksum does not fit" }),
            };
        }
    }

    /// Removes the files of which nothing is needed: all of them, if nothing is left to do. Recovery removes those that a
    /// killed process leaves. Returns whether no read can be under way.
    pub(super) fn close(&self) -> bool {
        let state = self.state();
        let is_over = state.live.is_empty();
        let needed = if is_over { 0 } else { state.segments.len() };
        // Segments go in their order.
        let retired = state.retired.iter().map(|retired| &retired.file);
        let rest = state.segments.iter().skip(needed).map(|segment| &segment.file).chain(&state.spares);
        let files: Vec<&SegmentFile> = retired.chain(rest).map(|file| &**file).collect();
        if self.manifest.take_off(&files).is_ok() {
            for file in files {
                self.disk.remove(&file.path).ok();
            }
        }
        state.claims == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every statement leaves it consistent, so a poisoned lock is safe to use.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn files(&self) -> impl Iterator<Item = &SegmentFile> {
        let segments = self.segments.iter().map(|segment| &segment.file);
        let files = segments.chain(&self.spares).chain(self.retired.iter().map(|retired| &retired.file));
        files.map(|file| &**file)
    }

    fn note(&mut self, segment: u64, frame: &Frame, bytes: std::ops::Range<usize>, body: &[u8]) {
        match frame {
            Frame::Reading { head, pending } => {
                let what = What::Reading { pending: *pending };
                self.insert(Live { head: head.clone(), what, segment, bytes });
            }
            Frame::Page { head, read_at, next } => {
                self.insert(Live {
                    head: head.clone(),
                    what: What::Page { read_at: *read_at },
                    segment,
                    bytes: bytes.clone(),
                });
                if let Some((seq, read_id)) = *next {
                    let next = Head { seq, store: head.store.clone(), read_id, reserved_at: *read_at };
                    self.insert(Live { head: next, what: What::Reading { pending: None }, segment, bytes });
                }
            }
            Frame::Unknown { head, pending, .. } => {
                let (reason, start) = frame::parse_unknown(body).unwrap_or(("", 0));
                let what = What::Unknown { reason: reason.to_owned(), pending: *pending };
                self.insert(Live { head: head.clone(), what, segment, bytes: bytes.start + start..bytes.end });
            }
            Frame::Done => {
                for seq in frame::parse_done(body).unwrap_or_default() {
                    let gone = self.live.remove(&seq);
                    self.unpin(gone);
                }
            }
        }
    }

    fn insert(&mut self, mut live: Live) {
        live.follow(self.live.get(&live.head.seq));
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == live.segment) {
            segment.pins += 1;
        }
        let before = self.live.insert(live.head.seq, live);
        self.unpin(before);
    }

    fn unpin(&mut self, live: Option<Live>) {
        if let Some(live) = live
            && let Some(segment) = self.segments.iter_mut().find(|segment| segment.number == live.segment)
        {
            segment.pins -= 1;
        }
    }
}

impl SegmentFile {
    fn write(&self, at: usize, block: &[u8], body: &[u8]) -> Result<(), SpoolError> {
        disk::write_at(&*self.file, &self.path, at, block)?;
        if body.is_empty() {
            return Ok(());
        }
        fail_point::reach("writing");
        disk::write_at(&*self.file, &self.path, at + block.len(), body)
    }

    fn sync(&self) -> Result<(), SpoolError> {
        disk::sync_data(&*self.file, &self.path)
    }

    /// Zeros, so that nothing is taken for a frame, and so that the buyers' data is erased.
    fn blank(&self, size: usize) -> Result<(), SpoolError> {
        disk::write_at(&*self.file, &self.path, 0, &vec![0; size])?;
        self.sync()
    }

    fn erase(&self, bytes: std::ops::Range<usize>) -> Result<(), SpoolError> {
        disk::write_at(&*self.file, &self.path, bytes.start, &vec![0; bytes.len()])
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn stem(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }
}

fn take_retired(state: &mut State) -> Option<Retired> {
    // Otherwise a power failure could leave a part of a page whose end is forgotten: a trace of a read that was none.
    state.retired.pop_front_if(|retired| state.commits.covers(retired.ticket))
}

fn ordinal(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}
