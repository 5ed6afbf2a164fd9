//! The tracking partition into the index.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::runtime::Handle;

use super::LaneError;
use crate::decoder::{DecodeError, Decoder};
use crate::index::{Entry, Index};
use crate::jobs::in_place;
use crate::kafka::broker::TrackingLog;
use crate::tracking::{Brief, OrderTracking};
use crate::tracking_memory::TrackingMemory;

/// Brings the index up to the end of its partition. Blocks: for a thread that may, within a runtime.
///
/// # Errors
/// Anything but an index that was read to its end: from any less nobody may conclude that an order is missing.
pub fn catch_up(
    index: &mut Index,
    reader: &mut dyn TrackingLog,
    decoder: &mut Decoder,
    memory: &TrackingMemory,
) -> Result<(), LaneError> {
    let (start, lane) = (Instant::now(), reader.lane());
    reader.try_each(|key, value| {
        memory.check_placed(key, lane)?;
        let entry = match value {
            None => None,
            Some(value) => Some(match decoder.datum_of_ours(value).and_then(|datum| Brief::read(key, datum)) {
                Some(brief) => brief.into(),
                None => Entry::from(&decoded(decoder, value)?),
            }),
        };
        index.apply(key, entry);
        Ok::<_, LaneError>(())
    })?;
    memory.check_not_emptied(lane, reader.position() == 0)?;
    tracing::debug!(lane, orders = index.len(), took = ?start.elapsed(), "index is up to date");
    Ok(())
}

/// Waits only for a schema that was never seen before.
pub(super) fn decoded(decoder: &mut Decoder, value: &[u8]) -> Result<OrderTracking, DecodeError> {
    let mut decoding = pin!(decoder.decode(value));
    match decoding.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(decoded) => decoded,
        Poll::Pending => in_place(|| Handle::current().block_on(decoding)),
    }
}
