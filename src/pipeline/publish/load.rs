//! Loads the tracking partition into the index.

use std::pin::pin;
use std::sync::mpsc::{self, SyncSender};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use std::{mem, thread};

use tokio::runtime::Handle;

use super::LaneError;
use crate::avro::decoder::{DecodeError, Decoder};
use crate::avro::framing::Frame;
use crate::avro::tracking::{OrderTracking, TrackingEntry};
use crate::kafka::broker::TrackingLog;
use crate::pipeline::index::{Fingerprint, Index, IndexEntry, IndexUpdate};
use crate::pipeline::tracking_memory::TrackingMemory;
use crate::platform::jobs::in_place;

/// Batches of records for the thread that applies them to the index. Nearly every record means a wait for memory, which
/// would slow down the reading.
struct Batches {
    next: Vec<IndexUpdate>,
    filled: SyncSender<Vec<IndexUpdate>>,
}

impl Batches {
    const SIZE: usize = 1024;

    fn push(&mut self, record: IndexUpdate) {
        self.next.push(record);
        if self.next.len() == Self::SIZE {
            self.send();
        }
    }

    fn send(&mut self) {
        let batch = mem::replace(&mut self.next, Vec::with_capacity(Self::SIZE));
        self.filled.send(batch).expect("the other thread takes them over until there are no more");
    }
}

impl Drop for Batches {
    // guard: what was read before a connection broke is in the index
    /// Sends the last batch, also after an error: the reader's position is already past those records.
    fn drop(&mut self) {
        self.send();
    }
}

/// A tracking record, as it is read.
#[derive(Debug, Clone, Copy)]
pub struct SeenRecord<'a> {
    pub offset: i64,
    pub key: &'a [u8],
    pub order: Fingerprint,
    /// None for a tombstone.
    pub entry: Option<TrackingEntry>,
}

/// Reads the tracking partition from the log's position to its end. What is loaded without a producer says what was
/// tracked at that time, and nothing about what the lane's owner publishes meanwhile. Blocks, like [`catch_up`].
///
/// # Errors
/// Those of [`catch_up`].
pub fn load(
    log: &mut dyn TrackingLog,
    decoder: &mut Decoder,
    memory: &TrackingMemory,
    seen: &mut dyn FnMut(SeenRecord<'_>),
) -> Result<Index, LaneError> {
    let mut index = Index::default();
    catch_up(&mut index, log, decoder, memory, seen)?;
    Ok(index)
}

/// Reads the tracking partition to its end into the index. Blocks: call it within a runtime, from a thread that may
/// block. `seen` is told of each record.
///
/// # Errors
/// Returns an error unless the index was read to its end: from an incomplete index nobody may conclude that an order is
/// missing.
pub fn catch_up(
    index: &mut Index,
    reader: &mut dyn TrackingLog,
    decoder: &mut Decoder,
    memory: &TrackingMemory,
    seen: &mut dyn FnMut(SeenRecord<'_>),
) -> Result<(), LaneError> {
    let (start, lane) = (Instant::now(), reader.lane());
    thread::scope(|scope| {
        let (filled, batches) = mpsc::sync_channel::<Vec<IndexUpdate>>(4);
        thread::Builder::new()
            .name(format!("index-{lane}"))
            .spawn_scoped(scope, || batches.into_iter().flatten().for_each(|record| index.apply(record)))
            .map_err(LaneError::Thread)?;
        // Created after the thread: its `drop` sends to it.
        let mut batches = Batches { next: Vec::new(), filled };
        reader.try_each(|offset, key, value| {
            memory.check_placed(key, lane)?;
            let entry = match value {
                None => None,
                Some(value) => Some(read_tracking_entry(decoder, key, value)?),
            };
            let order = Fingerprint::of(key);
            seen(SeenRecord { offset, key, order, entry });
            batches.push(IndexUpdate::at(order, entry.map(IndexEntry::from)));
            Ok::<_, LaneError>(())
        })
    })?;
    memory.check_not_emptied(lane, reader.position() == 0)?;
    tracing::debug!(lane, orders = index.len(), took = ?start.elapsed(), "index is up to date");
    Ok(())
}

/// Decodes a tracking record. Waits only for a schema that was never seen before.
///
/// A registry that lost its schemas must not keep the program from its own records for ever. So if the registry does
/// not know a record's schema, or has another one under its ID, the record counts as ours on two conditions: our schema
/// fits it to its last byte, and it names the order of its key.
pub(super) fn read_tracking_entry(
    decoder: &mut Decoder,
    key: &[u8],
    value: &[u8],
) -> Result<TrackingEntry, DecodeError> {
    if let Some(entry) = decoder.datum_of_ours(value).and_then(|datum| TrackingEntry::read(key, datum)) {
        return Ok(entry);
    }
    let error = match decoded(decoder, value) {
        Ok(record) => return Ok(TrackingEntry::from(&record)),
        Err(error) => error,
    };
    let (frame, datum) = Frame::split(value)?;
    // guard: a record that its key does not name is nobody's
    let entry = error.is_of_no_schema_of_ours().then(|| TrackingEntry::read(key, datum)).flatten().ok_or(error)?;
    tracing::warn!(
        ?frame,
        "the schema registry does not know the schema of tracking records: they are read by this program's own; restore the \
         registry from a backup, or consumers can't read the events of that time"
    );
    decoder.know(frame);
    Ok(entry)
}

fn decoded(decoder: &mut Decoder, value: &[u8]) -> Result<OrderTracking, DecodeError> {
    let mut decoding = pin!(decoder.decode(value));
    match decoding.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(decoded) => decoded,
        Poll::Pending => in_place(|| Handle::current().block_on(decoding)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::contract::{ORDER_EVENT, ORDER_TRACKING};
    use crate::avro::event::Reason;
    use crate::avro::registry::Registry;
    use crate::avro::tracking::OrderState;
    use crate::kafka::KafkaFault;
    use crate::kafka::broker::Apply;
    use crate::order::ids::ReadId;

    /// A log of orders 0 to `end`, whose connection breaks once.
    struct Log {
        position: i64,
        end: i64,
        breaks_at: Option<i64>,
    }

    impl TrackingLog for Log {
        fn lane(&self) -> i32 {
            0
        }

        fn position(&self) -> i64 {
            self.position
        }

        fn read_to_end(&mut self, apply: &mut Apply<'_>) -> Result<(), KafkaFault> {
            while self.position < self.end {
                if self.breaks_at.take_if(|at| *at == self.position).is_some() {
                    return Err(KafkaFault::Passing { what: "reading", why: "it broke".to_owned() });
                }
                let record = tracked(self.position);
                let (key, value) = (record.key().to_string(), record.to_message(ORDER_TRACKING.frame()));
                if apply(self.position, key.as_bytes(), Some(&value)).is_break() {
                    return Ok(());
                }
                self.position += 1;
            }
            Ok(())
        }
    }

    fn tracked(number: i64) -> OrderTracking {
        OrderTracking {
            store: "bogota".parse().unwrap(),
            order_id: number.to_string().parse().unwrap(),
            state: OrderState::Gone,
            revision: None,
            reason: Reason::Reconciled,
            read_id: ReadId::fresh(),
            content_hash: None,
            published_at: 0,
            event_partition: None,
            order_created_at: None,
        }
    }

    #[test]
    fn what_was_read_before_a_connection_broke_is_in_the_index_and_the_rest_follows() {
        let dir = tempfile::tempdir().unwrap();
        let memory = TrackingMemory::open(dir.path(), "t", 1).unwrap();
        let mut decoder = Decoder::new(&ORDER_TRACKING, None);
        for breaks_at in [0, 1, 1023, 1024, 2500] {
            let (mut index, mut log) = (Index::default(), Log { position: 0, end: 3000, breaks_at: Some(breaks_at) });
            let error = catch_up(&mut index, &mut log, &mut decoder, &memory, &mut |_| {}).unwrap_err();
            assert!(error.to_string().contains("it broke"), "{error}");
            assert_eq!((log.position, index.len()), (breaks_at, breaks_at as usize));
            catch_up(&mut index, &mut log, &mut decoder, &memory, &mut |_| {}).unwrap();
            assert_eq!(index.len(), 3000);
        }
    }

    #[test]
    fn a_registry_that_forgot_or_names_another_schema_does_not_keep_a_program_from_its_own_records() {
        let record = tracked(7);
        let (key, frame) = (record.key().to_string(), Frame::Confluent { id: 3 });
        let value = record.to_message(frame);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let missing = (404, serde_json::json!({ "error_code": 40403 }));
        let another = (200, serde_json::json!({ "schema": ORDER_EVENT.text() }));
        for (status, body) in [missing, another] {
            let registry = runtime.block_on(registry(status, body));
            let mut decoder = Decoder::new(&ORDER_TRACKING, Some(registry));
            runtime.block_on(async {
                // A record that does not match its key is not accepted.
                read_tracking_entry(&mut decoder, b"bogota/8", &value).unwrap_err();
                assert_eq!(
                    read_tracking_entry(&mut decoder, key.as_bytes(), &value).unwrap(),
                    TrackingEntry::from(&record)
                );
            });
            // The frame is known from now on.
            assert!(decoder.datum_of_ours(&value).is_some());
        }
        let away = runtime.block_on(registry(503, serde_json::Value::Null));
        let mut decoder = Decoder::new(&ORDER_TRACKING, Some(away));
        runtime.block_on(async { read_tracking_entry(&mut decoder, key.as_bytes(), &value).unwrap_err() });
    }

    /// A registry that gives this answer for every ID.
    async fn registry(status: u16, body: serde_json::Value) -> Registry {
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        let app = axum::Router::new().fallback(move || async move { (status, axum::Json(body)) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Registry::new(base, None, None, std::time::Duration::from_secs(10)).unwrap()
    }
}
