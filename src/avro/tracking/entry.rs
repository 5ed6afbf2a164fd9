//! A fast decoder for the part of a tracking record that the index keeps: it skips the schema and the full struct.
//! There may be a million records to load at each start.
//!
//! It handles only records written with exactly our own schema, and only well-formed ones. All others are left to the
//! general decoder, which also reports what is wrong.

use std::str;

use super::{OrderState, OrderTracking};
use crate::avro::binary::Reader;
use crate::avro::event::{ContentHash, Reason, Revision};
use crate::order::ids::ReadId;

/// A tracking record without the fields that its key holds, and without the partition of its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackingEntry {
    /// The state of the order.
    pub state: OrderState,
    /// Revision of the latest event, if there is one.
    pub revision: Option<Revision>,
    /// Why the latest event was published, or why publishing was attempted.
    pub reason: Reason,
    /// The read that led to this record.
    pub read_id: ReadId,
    /// Content hash of the latest event, if there is one.
    pub content_hash: Option<ContentHash>,
    /// When this record was written, in milliseconds since 1970 UTC.
    pub published_at: i64,
    /// When the order was placed, in milliseconds since 1970 UTC, if known.
    pub order_created_at: Option<i64>,
}

impl From<&OrderTracking> for TrackingEntry {
    fn from(record: &OrderTracking) -> Self {
        let OrderTracking { state, revision, reason, read_id, content_hash, published_at, order_created_at, .. } =
            *record;
        Self { state, revision, reason, read_id, content_hash, published_at, order_created_at }
    }
}

impl TrackingEntry {
    /// Decodes a datum that was written with the schema of [`ORDER_TRACKING`](crate::avro::contract::ORDER_TRACKING).
    /// `None` if anything is unusual, for example if the record does not belong to `key`.
    #[must_use]
    pub fn read(key: &[u8], datum: &[u8]) -> Option<Self> {
        let mut datum = Reader::of(datum);
        let (store, id) = (datum.text()?, datum.text()?);
        let (key_store, key_id) = (key.get(..store.len())?, key.get(store.len() + 1..)?);
        // guard: a record is its key's
        if key_store != store || key_id != id || key[store.len()] != b'/' {
            return None;
        }
        let mut entry = Self {
            state: match datum.long()? {
                1 => OrderState::Published,
                2 => OrderState::DeadLettered,
                3 => OrderState::Gone,
                _ => return None,
            },
            revision: datum.optional(|datum| Revision::try_from(i32::try_from(datum.long()?).ok()?).ok())?,
            reason: *Reason::WRITTEN.get(usize::try_from(datum.long()?.checked_sub(1)?).ok()?)?,
            read_id: str::from_utf8(datum.text()?).ok()?.parse().ok()?,
            content_hash: datum.optional(|datum| str::from_utf8(datum.text()?).ok()?.parse().ok())?,
            published_at: datum.long()?,
            order_created_at: None,
        };
        datum.optional(|datum| i32::try_from(datum.long()?).ok())?;
        entry.order_created_at = datum.optional(Reader::long)?;
        datum.is_at_end().then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::avro::contract::ORDER_TRACKING;
    use crate::avro::framing::Frame;

    fn generally(datum: &[u8]) -> Option<OrderTracking> {
        ORDER_TRACKING.read(ORDER_TRACKING.schema(), datum).ok()
    }

    prop_compose! {
        fn record()(
            id in "[0-9A-Z/ñ]{1,20}",
            state in 0..3_usize,
            reason in 0..5_usize,
            revision in proptest::option::of(1..=i32::MAX),
            content in any::<Option<u8>>(),
            published_at: i64,
            event_partition: Option<i32>,
            order_created_at: Option<i64>,
        ) -> OrderTracking {
            OrderTracking {
                store: "bogota".parse().unwrap(),
                order_id: id.parse().unwrap(),
                state: [OrderState::Published, OrderState::DeadLettered, OrderState::Gone][state],
                revision: revision.map(|revision| Revision::try_from(revision).unwrap()),
                reason: Reason::WRITTEN[reason],
                read_id: ReadId::fresh(),
                content_hash: content.map(|byte| ContentHash::of_bytes(&[byte])),
                published_at,
                event_partition,
                order_created_at,
            }
        }
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_is_read_generally(record in record()) {
            let message = record.to_message(ORDER_TRACKING.frame());
            let (_, datum) = Frame::split(&message).unwrap();
            let key = record.key().to_string();
            prop_assert_eq!(TrackingEntry::read(key.as_bytes(), datum), Some(TrackingEntry::from(&record)));
            prop_assert_eq!(TrackingEntry::read(b"quito/7", datum), None, "the key is another order's");
        }

        #[test]
        fn a_damaged_record_is_read_as_generally_or_left_to_that(record in record(), at: prop::sample::Index, byte: u8) {
            let message = record.to_message(ORDER_TRACKING.frame());
            let mut datum = Frame::split(&message).unwrap().1.to_vec();
            let at = at.index(datum.len());
            datum[at] = byte;
            if let Some(entry) = TrackingEntry::read(record.key().to_string().as_bytes(), &datum) {
                prop_assert_eq!(generally(&datum).as_ref().map(TrackingEntry::from), Some(entry));
            }
            prop_assert_eq!(TrackingEntry::read(record.key().to_string().as_bytes(), &datum[..at]), None);
        }

        #[test]
        fn no_bytes_make_it_panic(key: Vec<u8>, datum: Vec<u8>) {
            prop_assert_eq!(TrackingEntry::read(&key, &datum).is_some() && generally(&datum).is_none(), false);
        }
    }
}
