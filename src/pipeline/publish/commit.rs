//! The commit: the one place that mints its proof.

use super::release::Released;
use crate::kafka::KafkaFault;
use crate::kafka::broker::Producer;
use crate::spool::committed::Committed;

/// Commits what was delivered. Needs the proof that the pages of the transaction before have left the spool.
///
/// # Errors
/// See [`KafkaFault`]; the outcome is then open.
pub(super) async fn commit(producer: &dyn Producer, _before: Released) -> Result<Committed, KafkaFault> {
    // guard: the release after the commit
    producer.commit().await?;
    Ok(Committed::seen())
}
