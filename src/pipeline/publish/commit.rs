//! The commit: the only place that creates its proof.

use super::release::Released;
use crate::kafka::KafkaFault;
use crate::kafka::broker::Producer;
use crate::spool::committed::Committed;

/// Commits the delivered records. Needs the proof that the pages of the previous transaction have left the spool.
///
/// # Errors
/// [`KafkaFault`]; the outcome of the transaction is then open.
pub(super) async fn commit(producer: &dyn Producer, _before: Released) -> Result<Committed, KafkaFault> {
    // guard: the release after the commit
    producer.commit().await?;
    Ok(Committed::seen())
}
