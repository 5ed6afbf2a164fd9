//! What the coordinator of a consumer group writes down of it, in Kafka's own topic.

use super::{Kafka, consume};

/// Whoever leads a partition of it coordinates the groups that are written there.
pub const GROUPS: &str = "__consumer_offsets";

/// The generation of a group, as often as its coordinator wrote one down: when it has shared out the partitions, and when
/// a static member has come back. An older one may be missing, since the topic is compacted.
pub fn generations(kafka: &Kafka, group: &str) -> Vec<i32> {
    // A `GroupMetadataKey`: its version, and the group's name behind its length.
    let key = format!("\0\u{2}\0{}{group}", char::from(u8::try_from(group.len()).unwrap()));
    let written = consume::committed(kafka, GROUPS).into_iter().filter(|record| record.key.as_ref() == Some(&key));
    written.filter_map(|record| record.payload).map(|value| generation(&value)).collect()
}

/// Of a `GroupMetadataValue`: its version, the protocol's type behind its length, the generation, and more.
fn generation(value: &[u8]) -> i32 {
    let (version, value) = value.split_at(2);
    assert_eq!(version, [0, 3], "of another version: {value:?}");
    let (length, value) = value.split_at(2);
    let (_protocol_type, value) = value.split_at(u16::from_be_bytes([length[0], length[1]]).into());
    i32::from_be_bytes(*value.first_chunk().unwrap())
}
