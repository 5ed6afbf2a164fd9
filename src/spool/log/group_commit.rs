//! Group commit: one sync for all who wait. Who comes first syncs, on its own thread, all that was appended until then;
//! the others wait for that, and one of them makes the next sync.

use std::pin::pin;
use std::sync::Arc;

use super::{Log, SegmentFile};
use crate::platform::jobs::in_place;
use crate::spool::SpoolError;

/// The number of a frame, in the order in which frames were appended by this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::spool) struct Ticket(u64);

/// How far the log is durable.
#[derive(Debug, Default)]
pub(super) struct Commits {
    appended: u64,
    durable: u64,
    /// Files with frames that no sync has covered. The last one is written to.
    unsynced: Vec<Arc<SegmentFile>>,
    is_syncing: bool,
    /// Frames that a failed sync should have covered, up to this one, and why it failed. After a failure nobody knows
    /// which bytes are on the disk, so no later sync makes up for it.
    failures: Vec<(u64, u64, SpoolError)>,
}

impl Commits {
    pub(super) fn appended(&mut self, file: &Arc<SegmentFile>) -> Ticket {
        self.appended += 1;
        if !self.unsynced.last().is_some_and(|last| Arc::ptr_eq(last, file)) {
            self.unsynced.push(file.clone());
        }
        Ticket(self.appended)
    }

    pub(super) fn last(&self) -> Ticket {
        Ticket(self.appended)
    }

    pub(super) fn covers(&self, Ticket(frame): Ticket) -> bool {
        frame <= self.durable
    }

    fn failure(&self, Ticket(frame): Ticket) -> Option<SpoolError> {
        let failed = self.failures.iter().find(|(after, upto, _)| *after < frame && frame <= *upto);
        failed.map(|(.., error)| error.again())
    }
}

impl Log {
    /// The last frame, if no sync has covered it.
    pub(in crate::spool) fn unsynced(&self) -> Option<Ticket> {
        let commits = &self.state().commits;
        (commits.durable < commits.appended).then(|| commits.last())
    }

    /// Waits until a frame, and all before it, is durable.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]: nobody knows whether it is.
    pub(in crate::spool) async fn durable(&self, ticket: Ticket) -> Result<(), SpoolError> {
        loop {
            let mut synced = pin!(self.synced.notified());
            // From here on no notification is missed.
            synced.as_mut().enable();
            let Some(files) = self.begin_sync(ticket) else {
                if self.state().commits.covers(ticket) {
                    return self.state().commits.failure(ticket).map_or(Ok(()), Err);
                }
                synced.await;
                continue;
            };
            in_place(|| self.sync(files));
        }
    }

    /// The files to sync, and up to which frame; `None` if somebody else syncs or nothing is to be done.
    fn begin_sync(&self, ticket: Ticket) -> Option<(Vec<Arc<SegmentFile>>, u64)> {
        let commits = &mut self.state().commits;
        if commits.is_syncing || commits.covers(ticket) {
            return None;
        }
        commits.is_syncing = true;
        let files = std::mem::take(&mut commits.unsynced);
        // The last one goes on taking frames.
        commits.unsynced.extend(files.last().cloned());
        Some((files, commits.appended))
    }

    fn sync(&self, (files, upto): (Vec<Arc<SegmentFile>>, u64)) {
        // guard: the page is durable before the next read
        let result = files.iter().try_for_each(|file| file.sync());
        let mut state = self.state();
        state.commits.is_syncing = false;
        if let Err(error) = result {
            // What was appended meanwhile shares the fate: it is in the same file.
            let upto = state.commits.appended;
            let after = std::mem::replace(&mut state.commits.durable, upto);
            state.commits.failures.push((after, upto, error));
            state.commits.unsynced.clear();
            if let Some(last) = state.segments.back_mut() {
                last.end = self.segment;
            }
        } else {
            state.commits.durable = upto;
            if state.commits.appended == upto {
                state.commits.unsynced.clear();
            }
        }
        drop(state);
        self.synced.notify_waiters();
    }
}
