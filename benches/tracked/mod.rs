//! Tracking records of orders that were published long ago, as the program writes them.

use std::ops::Range;
use std::time::Duration;

use imotriz_kafka::avro::contract::ORDER_TRACKING;
use imotriz_kafka::avro::event::{ContentHash, Reason, Revision};
use imotriz_kafka::avro::tracking::{OrderState, OrderTracking};
use imotriz_kafka::order::ids::{ReadId, StoreName};
use imotriz_kafka::pipeline::tracking_memory::lane_of;
use imotriz_kafka::platform::clock;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::Kafka;

const DEADLINE: Duration = Duration::from_secs(300);

/// The ID of the first order.
pub const FIRST_ID: usize = 4_810_000;

/// Writes a record of each of these orders to a tracking topic with so many partitions. The stores take turns.
pub fn fill(kafka: &Kafka, topic: &str, lanes: usize, stores: &[StoreName], orders: Range<usize>) {
    let mut config = kafka.client();
    config.set("compression.type", "lz4").set("linger.ms", "5").set("queue.buffering.max.kbytes", "262144");
    let producer: BaseProducer = config.create().unwrap();
    let lanes = i32::try_from(lanes).unwrap();
    for number in orders {
        let record = OrderTracking {
            store: stores[number % stores.len()].clone(),
            order_id: (FIRST_ID + number).to_string().parse().unwrap(),
            state: OrderState::Published,
            revision: Some(Revision::FIRST),
            reason: Reason::Drained,
            read_id: ReadId::fresh(),
            content_hash: Some(ContentHash::of_bytes(&number.to_be_bytes())),
            published_at: clock::now().as_millisecond(),
            event_partition: Some(3),
            order_created_at: Some(1_763_999_000_000),
        };
        let (key, value) = (record.key().to_string(), record.to_message(ORDER_TRACKING.frame()));
        let mut message = BaseRecord::to(topic).partition(lane_of(&record.store, lanes)).key(&key).payload(&value);
        while let Err((error, unsent)) = producer.send(message) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
            producer.poll(Duration::from_millis(10));
            message = unsent;
        }
    }
    producer.flush(DEADLINE).unwrap();
}
