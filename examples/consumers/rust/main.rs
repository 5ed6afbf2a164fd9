//! Reads the orders topic and prints one JSON line for each new event of an order.
//!
//! `consumer BROKERS REGISTRY_URL TOPIC GROUP [MAX]`; MAX ends it after so many messages, and without it, it goes on
//! until it is stopped.

use std::collections::HashMap;
use std::env;
use std::time::Duration;

use anyhow::{Context, bail};
use imotriz_kafka::avro::contract::ORDER_EVENT;
use imotriz_kafka::avro::decoder::{DecodeError, Decoder};
use imotriz_kafka::avro::event::{OrderEvent, Revision};
use imotriz_kafka::avro::registry::{Registry, RegistryError};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rdkafka::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [brokers, registry, topic, group, most @ ..] = &arguments[..] else {
        bail!("consumer BROKERS REGISTRY_URL TOPIC GROUP [MAX]");
    };
    let most = most.first().map_or(Ok(u64::MAX), |most| most.parse()).context("MAX is a number")?;

    // Finds the schema that wrote an event by the ID in it. Fields find each other by name; amounts become exact
    // decimals, and a reason that this version doesn't know becomes `Reason::Unknown`.
    let registry = Registry::new(registry.parse()?, None, None, Duration::from_secs(10))?;
    let mut decoder = Decoder::new(&ORDER_EVENT, Some(registry));
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        // Events of transactions that were given up are not for us. (It is librdkafka's default; say it all the same.)
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        // Offsets are committed in the background, but only those that are stored, and those we store ourselves.
        .set("enable.auto.offset.store", "false")
        .create()?;
    consumer.subscribe(&[topic])?;

    let mut handled = Handled::default();
    let mut skipped = 0;
    for _ in 0..most {
        let message = consumer.recv().await?;
        match decode(&mut decoder, message.payload()).await? {
            Ok(event) if handled.is_new(&event) => handle(&event, &message)?,
            Ok(_) => {}
            Err(reason) => {
                skipped += 1;
                let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
                eprintln!("{topic}[{partition}]@{offset}: skipped ({skipped} so far): {reason}");
            }
        }
        // Only now: whoever is killed before this line gets the event again, and `is_new` drops it if it was done.
        consumer.store_offset_from_message(&message)?;
    }
    consumer.commit_consumer_state(CommitMode::Sync)?;
    Ok(())
}

/// Why a record can't be decoded, however often it is tried; without anything of the record, which is personal data.
type Undecodable = String;

/// The event in a message. What goes wrong with the registry or the network is an error of the outer kind: to skip
/// records then would be to skip every order.
async fn decode(decoder: &mut Decoder, value: Option<&[u8]>) -> anyhow::Result<Result<OrderEvent, Undecodable>> {
    let Some(value) = value else { return Ok(Err("it has no value".to_owned())) };
    match decoder.decode::<OrderEvent>(value).await {
        Ok(event) if [Some(event.read_at), event.created_at].into_iter().flatten().all(is_date) => Ok(Ok(event)),
        Ok(_) => Ok(Err("a time is outside the years 1 to 9999".to_owned())),
        Err(DecodeError::Registry(RegistryError::UnknownId(_))) => {
            Ok(Err("the registry does not know its schema".to_owned()))
        }
        Err(error @ (DecodeError::Frame(_) | DecodeError::Contract(_) | DecodeError::UnknownFingerprint(_))) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn is_date(millis: i64) -> bool {
    Timestamp::from_millisecond(millis).is_ok_and(|time| (1..=9999).contains(&TimeZone::UTC.to_datetime(time).year()))
}

/// The latest revision of each order. In memory it forgets at a restart: keep the revision where you keep the order,
/// and change both in one transaction, as `../erp` does.
#[derive(Default)]
struct Handled(HashMap<(String, String), Revision>);

impl Handled {
    /// Whether this is a later event of its order than any before.
    fn is_new(&mut self, event: &OrderEvent) -> bool {
        let order = (event.store.clone(), event.order_id.clone());
        let before = self.0.get(&order).copied();
        let new = before.is_none_or(|before| before < event.revision);
        if new {
            self.0.insert(order, event.revision);
        }
        new
    }
}

/// What you do with an order. This prints it, without the buyer: that is personal data.
fn handle(event: &OrderEvent, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
    let time = |millis: i64| Timestamp::from_millisecond(millis).map(|time| format!("{time:.3}"));
    let line = json!({
        "store": event.store,
        "order_id": event.order_id,
        "revision": i32::from(event.revision),
        "reason": event.reason.as_str(),
        // The same, for those who only route.
        "reason_header": header(message, "imotriz-reason"),
        "total": event.total.map(|total| total.to_string()),
        "currency": event.currency,
        "created_at": event.created_at.map(time).transpose()?,
        "read_at": time(event.read_at)?,
    });
    println!("{line}");
    Ok(())
}

fn header<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m str> {
    let header = message.headers()?.iter().find(|header| header.key == name)?;
    std::str::from_utf8(header.value?).ok()
}
