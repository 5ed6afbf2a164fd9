//! The delivery of a plan's records, and which store's record Kafka refuses.

use super::LaneError;
use super::parking::Parking;
use super::plan::Plan;
use crate::kafka::broker::Producer;
use crate::kafka::{Delivered, KafkaFault};

/// A record that Kafka does not take.
pub(super) struct Refused {
    /// The piece of pending work that brought it, if it is known.
    pub(super) work: Option<usize>,
    pub(super) fault: KafkaFault,
}

/// Delivers the plan's records; events and dead letters one by one if a record was refused a short while ago. `may_park`:
/// whether a store whose record is refused waits alone.
///
/// # Errors
/// Kafka's. A refused record is none, if its store may be parked. In either case the transaction is lost.
pub(super) async fn deliver(
    parking: &Parking,
    may_park: bool,
    producer: &dyn Producer,
    plan: &Plan<'_>,
) -> Result<Result<Vec<Delivered>, Refused>, LaneError> {
    let records = plan.records();
    if !parking.is_looking() {
        return match producer.deliver(records).await {
            // guard: a record that is refused stops its store alone
            Err(fault @ KafkaFault::TooLarge { .. }) if may_park => Ok(Err(Refused { work: None, fault })),
            delivered => Ok(Ok(delivered?)),
        };
    }
    let mut delivered = Vec::with_capacity(records.len());
    let (looked_at, tracking) = records.split_at(plan.events_and_dead_letters());
    for (at, record) in looked_at.chunks(1).enumerate() {
        match producer.deliver(record).await {
            Err(fault @ KafkaFault::TooLarge { .. }) if may_park => {
                return Ok(Err(Refused { work: Some(plan.work_of(at)), fault }));
            }
            one => delivered.extend(one?),
        }
    }
    delivered.extend(producer.deliver(tracking).await?);
    Ok(Ok(delivered))
}
