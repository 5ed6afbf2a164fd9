//! Reports when a store's drain last found nothing pending: the reconciler needs that before it may call an order
//! missing.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// The drain's end of the channel.
#[derive(Debug, Clone)]
pub struct CaughtUpSender {
    read_began: watch::Sender<Option<Instant>>,
    read_requested: Arc<Notify>,
}

/// The reconciler's end of the channel.
#[derive(Debug)]
pub struct CaughtUpReceiver {
    read_began: watch::Receiver<Option<Instant>>,
    read_requested: Arc<Notify>,
}

/// Creates the channel for one store.
#[must_use]
pub fn caught_up() -> (CaughtUpSender, CaughtUpReceiver) {
    let (sender, receiver) = watch::channel(None);
    let read_requested = Arc::<Notify>::default();
    (
        CaughtUpSender { read_began: sender, read_requested: read_requested.clone() },
        CaughtUpReceiver { read_began: receiver, read_requested },
    )
}

impl CaughtUpSender {
    /// Reports that a read that began at this time or a little later found nothing pending, and that the lane has every
    /// page before it.
    pub(super) fn nothing_pending(&self, read_began: Instant) {
        self.read_began.send_replace(Some(read_began));
    }

    /// Returns when the reconciler requests a read before the next poll.
    pub(super) async fn read_requested(&self) {
        self.read_requested.notified().await;
    }
}

impl CaughtUpReceiver {
    /// Returns once a read that *began* at `moment` or later has found nothing pending; `false` if the drain ends first. A
    /// read that was in flight at `moment` proves nothing: an order placed after that read looked would pass for not
    /// pending.
    pub async fn after(&mut self, moment: Instant) -> bool {
        self.read_requested.notify_one();
        self.read_began.wait_for(|began| began.is_some_and(|began| began >= moment)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_that_began_before_the_moment_proves_nothing() {
        let (report, mut watch) = caught_up();
        let before = Instant::now();
        let moment = before + std::time::Duration::from_nanos(1);
        report.nothing_pending(before);
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), watch.after(moment));
        assert!(waiting.await.is_err());
        report.nothing_pending(moment);
        assert!(watch.after(moment).await);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_drain_that_is_gone() {
        let (report, mut watch) = caught_up();
        drop(report);
        assert!(!watch.after(Instant::now()).await);
    }
}
