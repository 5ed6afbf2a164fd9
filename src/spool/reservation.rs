//! A reservation: the space for a page, and the announcement of the read that may bring it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use jiff::Timestamp;

use super::Inner;
use super::error::{SpoolError, WriteFailed};
use super::format::{Head, one_line};
use super::log::frame::Frame;
use super::page::{Durable, Place, UnknownRead};
use super::page_file;
use crate::marketplace::body::Pending;
use crate::order::ids::{ReadId, StoreName};
use crate::platform::clock;

/// Space on the disk for one page.
///
/// If it is dropped without being written or cancelled, the next recovery reports a read of unknown outcome: nobody can
/// tell whether a read used it.
#[derive(Debug)]
#[must_use = "a reservation that is dropped is reported as a read of unknown outcome after the next start"]
pub struct Reservation {
    spool: Arc<Inner>,
    head: Head,
    is_announced: bool,
    /// Whether it was said what became of its read.
    is_over: bool,
}

impl Reservation {
    pub(super) fn new(spool: Arc<Inner>, head: Head, is_announced: bool) -> Self {
        Self { spool, head, is_announced, is_over: false }
    }

    #[must_use]
    pub fn read_id(&self) -> ReadId {
        self.head.read_id
    }

    #[must_use]
    pub fn store(&self) -> &StoreName {
        &self.head.store
    }

    /// Announces the read durably. `pending`: what the last answer left, if it is known. Costs no sync after a page, which
    /// announces the next read.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]: the read must not be made.
    pub async fn announce(&mut self, pending: Option<Pending>) -> Result<(), SpoolError> {
        if self.is_announced {
            self.spool.log.expect(self.head.seq, pending);
            return Ok(());
        }
        let ticket = self.spool.log.append(&Frame::Reading { head: self.head.clone(), pending }, &[])?;
        // Before it is durable: from now on it may be found.
        self.is_announced = true;
        // guard: a read is announced durably before it is made
        self.spool.log.durable(ticket).await
    }

    /// Whether a read after "nothing is pending" may go without an announcement. It may not if this process can't leave
    /// word that it did not end well.
    #[must_use]
    pub fn may_poll(&self) -> bool {
        self.spool.lock.begin_polls()
    }

    /// Makes a complete answer durable, and announces the read after it. Returns the page, and the reservation for that
    /// read if there is space.
    ///
    /// # Errors
    /// [`WriteFailed`], with the body.
    pub async fn write(mut self, read_at: Timestamp, body: Bytes) -> Result<(Durable, Option<Self>), WriteFailed> {
        self.is_over = true;
        let head = self.head.clone();
        if !self.spool.log.fits(body.len()) {
            return match page_file::write_page(&self.spool.disk, &self.spool.dir, &head, read_at, &body) {
                Ok(path) => {
                    self.end().map_err(|error| WriteFailed { head: head.clone().into(), body: body.clone(), error })?;
                    Ok((Durable::new(&self.spool, head, read_at, Place::File(path), body), None))
                }
                Err(error) => Err(WriteFailed { head: head.into(), body, error }),
            };
        }
        let next = self.spool.log.claim().ok().map(|()| self.spool.next_head(&head.store));
        let next = next.map(|next| Self::new(self.spool.clone(), next, true));
        let announced = next.as_ref().map(|next| (next.head.seq, next.head.read_id));
        let frame = Frame::Page { head: head.clone(), read_at, next: announced };
        let written = match self.spool.log.append(&frame, &body) {
            Ok(ticket) => self.spool.log.durable(ticket).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => Ok((Durable::new(&self.spool, head, read_at, Place::Log, body), next)),
            Err(error) => {
                if let Some(next) = next {
                    next.cancel().ok();
                }
                Err(WriteFailed { head: head.into(), body, error })
            }
        }
    }

    /// Writes a durable trace of a read of unknown outcome, with the bytes that came. `reason` is cut after 240 bytes
    /// and must hold no personal data.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]. If the read was announced, the next start reports it.
    pub async fn write_unknown(mut self, reason: &str, came: &[u8]) -> Result<UnknownRead, SpoolError> {
        let trace = self.spool.trace(self.head.clone(), clock::now(), one_line(reason), came).await?;
        self.is_over = true;
        Ok(trace)
    }

    /// Ends a reservation of which no read is left to report: none was made, or its answer needs no file. Durable within
    /// a second.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the next start may then report it as a read of unknown outcome.
    pub fn cancel(mut self) -> Result<(), SpoolError> {
        self.is_over = true;
        self.end()
    }

    fn end(&self) -> Result<(), SpoolError> {
        if self.is_announced { self.spool.log.done(&[self.head.seq]).map(drop) } else { Ok(()) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.spool.log.unclaim();
        if !self.is_over {
            self.spool.is_abandoned.store(true, Ordering::Relaxed);
        }
    }
}
