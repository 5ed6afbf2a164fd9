//! The traces of what was committed. Each read has a trace: a span from its answer to its commit, in it one of its part of
//! the transaction, and in that one of each record.
//!
//! A record's span is the one that its header `traceparent` names, so that a consumer's spans continue it. Spans are made
//! after the commit, when what they say is true; a transaction that is repeated leaves none of its first attempt. Names
//! and attributes follow OpenTelemetry's conventions for messaging. Nothing in them is personal.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::Work;
use super::plan::Plan;
use super::reading::Mapped;
use crate::kafka::{Delivered, OutgoingRecord};
use crate::platform::clock;
use crate::platform::otlp::Spans;

/// A transaction that is committed.
pub(super) struct CommittedTransaction<'a> {
    pub(super) lane: i32,
    pub(super) began_at: Timestamp,
    pub(super) plan: &'a Plan<'a>,
    /// Where the plan's records are.
    pub(super) delivered: &'a [Delivered],
}

impl CommittedTransaction<'_> {
    /// Sends the spans of the reads in it. `pending`: what the plan was made of.
    pub(super) fn trace(&self, pending: &[Mapped], spans: &Spans) {
        let committed_at = clock::now();
        for (mapped, records) in pending.iter().zip(self.plan.records_of_each_work()) {
            let Some(origin) = mapped.origin.as_ref().filter(|_| !records.is_empty()) else { continue };
            let trace = Trace {
                id: TraceId::from_bytes(*origin.read_id.as_uuid().as_bytes()),
                end: system_time(committed_at),
                scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME")).build(),
            };
            let store = || KeyValue::new("imotriz.store", origin.store.as_str().to_owned());
            let name = if matches!(mapped.work, Work::Fetched(_)) { "fetch" } else { "page" };
            let read = trace.span(random_id(), SpanId::INVALID, name, origin.read_at, vec![store()]);
            let count = KeyValue::new("messaging.batch.message_count", count(records.len()));
            let attributes = vec![store(), KeyValue::new("imotriz.lane", i64::from(self.lane)), count];
            let transaction =
                trace.span(random_id(), read.span_context.span_id(), "transaction", self.began_at, attributes);
            let parent = transaction.span_context.span_id();
            for at in records {
                if let (Some(record), Some(place)) = (self.plan.records().get(at), self.delivered.get(at))
                    && let Some(id) = self.id_of(record)
                {
                    let name = format!("send {}", record.topic);
                    let mut span = trace.span(id, parent, name, self.began_at, sent(record, *place));
                    span.attributes.push(store());
                    span.span_kind = SpanKind::Producer;
                    spans.send(span);
                }
            }
            spans.send(transaction);
            spans.send(read);
        }
    }

    /// None for an event's copy without personal data, which has the event's own context.
    fn id_of(&self, record: &OutgoingRecord<'_>) -> Option<SpanId> {
        match header(record, "traceparent") {
            Some(context) if record.topic == self.plan.orders_topic() => {
                SpanId::from_hex(context.split('-').nth(2)?).ok()
            }
            Some(_) => None,
            None => Some(random_id()),
        }
    }
}

/// What the spans of one read share.
struct Trace {
    id: TraceId,
    end: SystemTime,
    scope: InstrumentationScope,
}

impl Trace {
    fn span(
        &self,
        id: SpanId,
        parent: SpanId,
        name: impl Into<Cow<'static, str>>,
        start: Timestamp,
        attributes: Vec<KeyValue>,
    ) -> SpanData {
        SpanData {
            span_context: SpanContext::new(self.id, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: system_time(start),
            end_time: self.end,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn sent(record: &OutgoingRecord<'_>, place: Delivered) -> Vec<KeyValue> {
    let text = |name: &'static str, value: &str| KeyValue::new(name, value.to_owned());
    let mut attributes = vec![
        text("messaging.system", "kafka"),
        text("messaging.operation.name", "send"),
        text("messaging.operation.type", "send"),
        text("messaging.destination.name", record.topic),
        text("messaging.destination.partition.id", &place.partition.to_string()),
        KeyValue::new("messaging.kafka.offset", place.offset),
        KeyValue::new("messaging.message.body.size", count(record.value.as_deref().map_or(0, <[u8]>::len))),
    ];
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    attributes.extend(key.map(|key| text("messaging.kafka.message.key", key)));
    for (attribute, name) in [("messaging.message.id", "ce_id"), ("imotriz.reason", "imotriz-reason")] {
        attributes.extend(header(record, name).map(|value| text(attribute, value)));
    }
    if header(record, "imotriz.error.reason").is_some() {
        attributes.push(text("error.type", "unmappable"));
    }
    attributes
}

fn header<'a>(record: &'a OutgoingRecord<'_>, name: &str) -> Option<&'a str> {
    record.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::try_from(at.as_duration()).unwrap_or_default()
}

/// A span ID of zeros is invalid.
fn random_id() -> SpanId {
    SpanId::from(fastrand::u64(1..))
}
