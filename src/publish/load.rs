//! The tracking partition into the index.

use std::time::Instant;

use tokio::runtime::Handle;

use super::LaneError;
use crate::decoder::Decoder;
use crate::index::{Entry, Index};
use crate::kafka::tracking_reader::TrackingReader;
use crate::tracking::{Brief, OrderTracking};
use crate::tracking_memory::TrackingMemory;

/// Brings the index up to the end of its partition. Blocks: not for a thread of the runtime.
///
/// # Errors
/// Anything but an index that was read to its end: from any less nobody may conclude that an order is missing.
pub fn catch_up(
    index: &mut Index,
    reader: &mut TrackingReader,
    decoder: &mut Decoder,
    memory: &TrackingMemory,
    runtime: &Handle,
) -> Result<(), LaneError> {
    let (start, lane) = (Instant::now(), reader.lane());
    reader.read_to_end(|key, value| {
        memory.check_placed(key, lane)?;
        let entry = match value {
            None => None,
            Some(value) => Some(match decoder.datum_of_ours(value).and_then(|datum| Brief::read(key, datum)) {
                Some(brief) => brief.into(),
                None => Entry::from(&runtime.block_on(decoder.decode::<OrderTracking>(value))?),
            }),
        };
        index.apply(key, entry);
        Ok::<_, LaneError>(())
    })?;
    memory.check_not_emptied(lane, reader.position() == 0)?;
    tracing::debug!(lane, orders = index.len(), took = ?start.elapsed(), "index is up to date");
    Ok(())
}
