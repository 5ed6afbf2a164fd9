//! Reserves spool files before they are needed.

use std::sync::Arc;

use crate::order::ids::{ReadId, StoreName};
use crate::platform::jobs::{Job, Jobs};
use crate::spool::{Reservation, Spool, SpoolError};

/// Reserved files: the next one is made while a page is fetched, so that no read waits for it.
pub(super) struct ReservationPrefetch {
    jobs: Arc<dyn Jobs>,
    spool: Spool,
    store: StoreName,
    ready: Option<Reservation>,
    coming: Option<Job<Result<Reservation, SpoolError>>>,
    /// Why a reservation failed; returned to the next caller of `take`.
    failed: Option<SpoolError>,
}

impl ReservationPrefetch {
    pub(super) fn new(jobs: Arc<dyn Jobs>, spool: Spool, store: StoreName) -> Self {
        Self { jobs, spool, store, ready: None, coming: None, failed: None }
    }

    /// Takes a reserved file for the next read.
    pub(super) async fn take(&mut self) -> Result<Reservation, SpoolError> {
        if let Some(reservation) = self.ready.take() {
            return Ok(reservation);
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let coming = self.coming.take().unwrap_or_else(|| self.reserve());
        coming.ended().await
    }

    /// The ID of the next read, if a file for it was requested and could be reserved.
    pub(super) async fn next(&mut self) -> Option<ReadId> {
        if let Some(coming) = self.coming.take() {
            match coming.ended().await {
                Ok(reservation) => self.ready = Some(reservation),
                Err(error) => self.failed = Some(error),
            }
        }
        self.ready.as_ref().map(Reservation::read_id)
    }

    /// Starts reserving the file after the one that was taken.
    pub(super) fn reserve_next(&mut self) {
        if self.ready.is_none() && self.coming.is_none() && self.failed.is_none() {
            self.coming = Some(self.reserve());
        }
    }

    /// A read that brought nothing leaves its reservation to the next one, so that files are used in their order.
    pub(super) fn give_back(&mut self, reservation: Reservation) {
        self.ready = Some(reservation);
    }

    fn reserve(&self) -> Job<Result<Reservation, SpoolError>> {
        let (spool, store) = (self.spool.clone(), self.store.clone());
        Job::start(&*self.jobs, move || spool.reserve(&store))
    }

    pub(super) async fn discard(mut self) -> Result<(), SpoolError> {
        if let Some(coming) = self.coming.take() {
            // An error no longer matters here, for example that the disk is full by now.
            if let Ok(reservation) = coming.ended().await {
                reservation.discard()?;
            }
        }
        self.ready.take().map_or(Ok(()), Reservation::discard)
    }
}
