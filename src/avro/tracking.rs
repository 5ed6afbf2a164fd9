//! The records of the tracking topic: just enough of an order to tell a new one from a published one. They have no
//! personal data.

mod entry;

use serde::{Deserialize, Serialize};

use crate::avro::binary::Writer;
use crate::avro::event::{ContentHash, Reason, Revision};
use crate::avro::framing::Frame;
use crate::order::ids::{OrderId, OrderKey, ReadId, StoreName};

pub use entry::TrackingEntry;

/// The state of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderState {
    /// Its event is in the orders topic.
    Published,
    /// It could not be mapped and is in the dead-letter topic.
    DeadLettered,
    /// The marketplace no longer has it.
    Gone,
    /// A state that a later version added; never written.
    #[default]
    #[serde(other)]
    Unknown,
}

impl OrderState {
    /// The symbol's index in the schema.
    fn symbol(self) -> i32 {
        match self {
            Self::Unknown => 0,
            Self::Published => 1,
            Self::DeadLettered => 2,
            Self::Gone => 3,
        }
    }
}

/// A record of the tracking topic. Only the latest one of each key counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTracking {
    pub store: StoreName,
    pub order_id: OrderId,
    #[serde(default)]
    pub state: OrderState,
    /// Revision of the latest event, if there is one.
    pub revision: Option<Revision>,
    /// Why the latest event was published, or why publishing was attempted.
    #[serde(default)]
    pub reason: Reason,
    /// The read that led to this record.
    pub read_id: ReadId,
    /// Content hash of the latest event, if there is one.
    pub content_hash: Option<ContentHash>,
    /// When this record was written, in milliseconds since 1970 UTC.
    pub published_at: i64,
    /// Partition of the orders topic that holds the latest event. Only records of earlier versions tell it.
    pub event_partition: Option<i32>,
    /// When the order was placed, in milliseconds since 1970 UTC, if known.
    pub order_created_at: Option<i64>,
}

impl OrderTracking {
    /// The message key.
    #[must_use]
    pub fn key(&self) -> OrderKey {
        OrderKey { store: self.store.clone(), id: self.order_id.clone() }
    }

    /// Encodes the record as a message value.
    #[must_use]
    pub fn to_message(&self, frame: Frame) -> Vec<u8> {
        // Destructuring names each field in the schema's order, so that the compiler reports a forgotten one.
        let Self {
            store,
            order_id,
            state,
            revision,
            reason,
            read_id,
            content_hash,
            published_at,
            event_partition,
            order_created_at,
        } = self;
        let mut datum = Writer::framed(frame, 192);
        datum.text(store.as_str());
        datum.text(order_id.as_str());
        datum.number(state.symbol());
        datum.optional(revision.map(i32::from), Writer::number);
        datum.number(reason.symbol());
        read_id.with_text(|text| datum.text(text));
        datum.optional(*content_hash, |datum, hash| hash.with_text(|text| datum.text(text)));
        datum.number(*published_at);
        datum.optional(*event_partition, Writer::number);
        datum.optional(*order_created_at, Writer::number);
        datum.into_message()
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::Schema;
    use apache_avro::reader::datum::GenericDatumReader;
    use apache_avro::types::Value;
    use apache_avro::writer::datum::GenericDatumWriter;
    use proptest::prelude::*;

    use super::*;
    use crate::avro::contract::{ContractError, ORDER_TRACKING};

    fn published() -> OrderTracking {
        OrderTracking {
            store: "bogota".parse().unwrap(),
            order_id: "000/7".parse().unwrap(),
            state: OrderState::Published,
            revision: Revision::FIRST.next(),
            reason: Reason::Resynced,
            read_id: "0192f0c1-2345-7000-8000-000000000001".parse().unwrap(),
            content_hash: Some(ContentHash::of_bytes(b"x")),
            published_at: 1_764_000_000_000,
            event_partition: Some(3),
            order_created_at: Some(1_763_999_000_000),
        }
    }

    fn gone() -> OrderTracking {
        OrderTracking {
            state: OrderState::Gone,
            revision: None,
            reason: Reason::Reconciled,
            content_hash: None,
            event_partition: None,
            order_created_at: None,
            ..published()
        }
    }

    fn read(message: &[u8]) -> Result<OrderTracking, ContractError> {
        let (frame, datum) = Frame::split(message).unwrap();
        assert_eq!(frame, ORDER_TRACKING.frame());
        ORDER_TRACKING.read(ORDER_TRACKING.schema(), datum)
    }

    #[test]
    fn a_record_survives_the_way_to_a_message_and_back() {
        for record in [published(), gone()] {
            assert_eq!(read(&record.to_message(ORDER_TRACKING.frame())), Ok(record));
        }
    }

    #[test]
    fn what_is_written_is_what_the_library_writes_by_the_schema() {
        let reasons = [Reason::Unknown, Reason::Drained, Reason::Resynced, Reason::Updated, Reason::Republished];
        let states = [OrderState::Unknown, OrderState::Published, OrderState::DeadLettered, OrderState::Gone];
        let reasons = reasons.map(|reason| OrderTracking { reason, ..published() });
        let states = states.map(|state| OrderTracking { state, ..gone() });
        let writer = GenericDatumWriter::builder(ORDER_TRACKING.schema()).build().unwrap();
        for record in reasons.into_iter().chain(states) {
            let message = record.to_message(ORDER_TRACKING.frame());
            assert_eq!(Frame::split(&message).unwrap().1, writer.write_ser_to_vec(&record).unwrap());
        }
    }

    #[test]
    fn a_record_that_is_cut_or_has_a_tail_is_refused() {
        let message = published().to_message(ORDER_TRACKING.frame());
        for end in 10..message.len() {
            assert_eq!(read(&message[..end]), Err(ContractError::Read("OrderTracking")), "{end}");
        }
        assert_eq!(read(&[&message[..], b"xy"].concat()), Err(ContractError::LeftOver("OrderTracking", 2)));
    }

    #[test]
    fn a_record_of_a_later_version_keeps_what_this_one_knows() {
        let later = ORDER_TRACKING
            .text()
            .replace(r#""UNKNOWN","PUBLISHED""#, r#""ARCHIVED","UNKNOWN","PUBLISHED""#)
            .replace(r#"{"name":"read_id""#, r#"{"name":"note","type":"string","default":"new"},{"name":"read_id""#);
        let later = Schema::parse_str(&later).unwrap();
        ORDER_TRACKING.check_writer(&later).unwrap();
        let writer = GenericDatumWriter::builder(&later).build().unwrap();
        let datum = writer.write_ser_to_vec(&published()).unwrap();
        assert_eq!(ORDER_TRACKING.read(&later, &datum), Ok(published()));

        let reader = GenericDatumReader::builder(&later).build().unwrap();
        let Value::Record(mut fields) = reader.read_value(&mut &datum[..]).unwrap() else { panic!("no record") };
        let state = fields.iter_mut().find(|(name, _)| name == "state").unwrap();
        state.1 = Value::Enum(0, "ARCHIVED".to_owned());
        let datum = writer.write_value_to_vec(Value::Record(fields)).unwrap();
        let unknown = OrderTracking { state: OrderState::Unknown, ..published() };
        assert_eq!(ORDER_TRACKING.read(&later, &datum), Ok(unknown));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(datum in any::<Vec<u8>>()) {
            ORDER_TRACKING.read::<OrderTracking>(ORDER_TRACKING.schema(), &datum).ok();
        }

        #[test]
        fn no_damage_makes_reading_panic(at in 0_usize..200, byte: u8) {
            let mut message = published().to_message(ORDER_TRACKING.frame());
            let at = 10 + at % (message.len() - 10);
            message[at] = byte;
            read(&message).ok();
        }
    }
}
