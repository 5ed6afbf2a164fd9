//! Releases committed pages from the spool. The release is written at once; the lane's next transaction runs meanwhile,
//! and waits only before its commit until the release is durable. By then somebody has synced it mostly: whoever makes
//! the next page durable.

use crate::platform::fail_point;
use crate::spool::committed::Committed;
use crate::spool::{Durable, Removal, Spool, SpoolError};

/// The release of the last transaction's pages.
pub(super) struct Releasing {
    spool: Spool,
    removal: Option<Removal>,
    /// Why an earlier page could not be released.
    failed: Option<SpoolError>,
}

/// Proof that no page of an earlier transaction can come back as new: all have left the spool, or have no order in
/// common with the next commit. Only [`Releasing`] creates it, and a commit consumes it.
pub(super) struct Released(());

impl Releasing {
    pub(super) fn new(spool: Spool) -> Self {
        Self { spool, removal: None, failed: None }
    }

    /// Writes that the pages have left.
    pub(super) fn begin(&mut self, pages: Vec<Durable>, committed: &Committed) {
        match self.spool.release(pages, committed) {
            Ok(removal) => self.removal = Some(removal),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
        fail_point::reach("released");
    }

    /// Waits until the pages have left for good.
    ///
    /// # Errors
    /// [`SpoolError::Disk`]; the next start then finds the pages again.
    pub(super) async fn wait(&mut self) -> Result<Released, SpoolError> {
        if let Some(removal) = self.removal.take() {
            // guard: pages have left the spool before the next commit
            let ended = self.spool.durable(removal).await;
            self.failed = self.failed.take().or(ended.err());
        }
        self.failed.take().map_or(Ok(Released(())), Err)
    }

    /// Continues although a page could not be released, because the next commit brings only orders that no page brought
    /// before. The next [`wait`](Self::wait) fails again.
    pub(super) fn in_spite_of(&mut self, error: SpoolError) -> Released {
        self.failed = Some(error);
        Released(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::platform::clock;
    use crate::spool::SpoolOptions;

    #[tokio::test]
    async fn the_pages_of_the_last_commit_have_left_for_good_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(SpoolOptions::new(dir.path().join("spool"))).unwrap();
        let reservation = spool.reserve(&"bogota".parse().unwrap()).unwrap();
        let (page, next) = reservation.write(clock::now(), Bytes::from_static(b"page")).await.unwrap();
        next.unwrap().cancel().unwrap();
        let mut releasing = Releasing::new(spool.clone());
        releasing.begin(vec![page], &Committed::seen());
        assert!(spool.has_unsynced());
        let Released(()) = releasing.wait().await.unwrap();
        assert!(!spool.has_unsynced());
    }

    #[tokio::test]
    async fn a_page_that_did_not_leave_is_told_of_again_by_whoever_goes_on_in_spite_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(SpoolOptions::new(dir.path().join("spool"))).unwrap();
        let mut releasing = Releasing::new(spool);
        let Released(()) = releasing.in_spite_of(SpoolError::Locked { dir: "spool".into(), pid: None });
        assert!(releasing.wait().await.is_err());
    }
}
