//! A transactional producer that has its records in memory and does nothing else.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::Kafka;
use super::program::DEADLINE;
use super::support::consume::{self, Record};
use super::support::topics::{self, Topics};

/// Records of a transaction: two of each order.
const TRANSACTION: usize = 2_000;

pub struct Bare {
    /// Orders a second.
    pub rate: f64,
    /// Bytes of key, value and headers, on average.
    pub event: f64,
    pub tracking_record: f64,
}

/// Sends what is in these topics once more, to topics of its own, with the settings of librdkafka that throughput wants.
pub fn publish(kafka: &Kafka, source: &Topics) -> Bare {
    let target = Topics::unique("bare");
    let (events, tracking) = (consume::committed(kafka, &source.orders), consume::committed(kafka, &source.tracking));
    let (event, tracking_record) = (size(&events), size(&tracking));
    let (mut records, orders) = (Vec::new(), events.len());
    for (topic, of_topic) in [(&target.orders, events), (&target.tracking, tracking)] {
        let partitions = of_topic.iter().map(|record| record.partition).max().unwrap() + 1;
        topics::create(kafka, topic, partitions, &[]);
        records.extend(of_topic.into_iter().map(|record| (topic, record)));
    }
    // Events and tracking records take turns, as in the program's transactions.
    records.sort_by_key(|(_, record)| record.offset);
    let mut config = kafka.client();
    config.set("transactional.id", &target.orders).set("compression.type", "lz4").set("linger.ms", "5");
    // Right after a commit the coordinator asks for a retry, which by default comes after 100 ms.
    config.set("retry.backoff.ms", "5");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    let start = Instant::now();
    for transaction in records.chunks(TRANSACTION) {
        producer.begin_transaction().unwrap();
        transaction.iter().for_each(|(topic, record)| send(&producer, topic, record));
        // A commit would look every 100 ms whether all is delivered.
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        producer.commit_transaction(DEADLINE).unwrap();
    }
    Bare { rate: orders as f64 / start.elapsed().as_secs_f64(), event, tracking_record }
}

fn size(records: &[Record]) -> f64 {
    let of = |record: &Record| {
        let headers = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        headers + record.key.as_ref().map_or(0, String::len) + record.payload.as_ref().map_or(0, Vec::len)
    };
    records.iter().map(of).sum::<usize>() as f64 / records.len() as f64
}

fn send(producer: &BaseProducer, topic: &str, record: &Record) {
    let add =
        |headers: OwnedHeaders, (key, value): &(String, String)| headers.insert(Header { key, value: Some(value) });
    let headers = record.headers.iter().fold(OwnedHeaders::new(), add);
    let mut message = BaseRecord::to(topic).partition(record.partition).headers(headers);
    message.key = record.key.as_deref();
    message.payload = record.payload.as_deref();
    while let Err((error, unsent)) = producer.send(message) {
        assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
        producer.poll(Duration::from_millis(10));
        message = unsent;
    }
}
