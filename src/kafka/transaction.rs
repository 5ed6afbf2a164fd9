//! One lane's transactional producer.
//!
//! Four facts about librdkafka shape this file:
//! - A producer that has no connection yet looks for its coordinator half a second later. So `open` first waits for a
//!   connection.
//! - `commit_transaction` flushes in steps of 100 ms. So `deliver` first awaits every delivery, and `commit` then waits
//!   for the count of records in flight, which falls a moment after the delivery report.
//! - After a transactional error, aborting does not reliably bring the producer back into a usable state. So there is
//!   no abort here: the caller drops the producer, and `init_transactions` of the next one settles the open
//!   transaction.
//! - librdkafka silently repeats an EndTxn after a broken connection. The first one may be answered late, and that
//!   answer would end a *later* transaction. So a producer whose connection broke inside a transaction begins no other
//!   one: see [`Transactions::must_be_replaced`]. Outside of a transaction no EndTxn is on its way, so connections may
//!   come and go: a cluster with one broker down must not stop a lane.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, thread};

use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::statistics::Statistics;

use super::reasons::Reasons;
use super::{Connection, KafkaFault};

/// Length of the first attempt to take over the lane; then it is checked whether that can succeed at all, and each
/// further attempt is twice as long.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How long a new producer may take to connect before it goes on without: as long as librdkafka takes for its second
/// attempt.
const CONNECTING: Duration = Duration::from_millis(500);
/// How long one poll of the producer lasts, whatever happens meanwhile. `BaseProducer::poll` spends the last millisecond of
/// it without a pause: the 100 ms of `ThreadedProducer` would be 1 % of a core for each idle lane.
const POLL: Duration = Duration::from_secs(1);

/// A record for the producer.
#[derive(Debug, Clone, Default)]
pub struct OutgoingRecord<'a> {
    pub topic: &'a str,
    /// A fixed partition, or `None` to choose it by the key's hash.
    pub partition: Option<i32>,
    pub key: Option<Cow<'a, [u8]>>,
    /// Value; `None` is a tombstone.
    pub value: Option<Cow<'a, [u8]>>,
    pub headers: Vec<(&'static str, Cow<'a, str>)>,
}

/// The position of a delivered record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    pub partition: i32,
    pub offset: i64,
}

type Report = (usize, Result<Delivered, RDKafkaErrorCode>);

/// Delivery reports of the current batch. They are passed on together, or at the first failure: waking the lane for
/// each one takes longer than all other work on it.
#[derive(Default)]
struct Reports {
    awaited: usize,
    so_far: Vec<Report>,
}

struct Context {
    reports: Mutex<Reports>,
    all_in: Sender<Vec<Report>>,
    /// How many errors of connections there were. librdkafka reports them at once.
    broken: AtomicU64,
    /// How many requests timed out. The statistics report it up to a second later.
    timed_out: AtomicU64,
    /// No broker has answered since one was last needed.
    all_brokers_down: AtomicBool,
    reasons: Reasons,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.broken.fetch_add(1, Ordering::Relaxed);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.all_brokers_down.store(true, Ordering::Relaxed);
        }
        tracing::debug!(code = ?error.rdkafka_error_code(), "producer's connection");
        self.reasons.error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let brokers = statistics.brokers.values();
        self.timed_out.store(brokers.map(|broker| broker.req_timeouts).sum(), Ordering::Relaxed);
    }

    fn log(&self, _level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        // The text can contain messages of a broker and values of settings, so only the facility is logged.
        tracing::trace!(facility, "librdkafka");
        self.reasons.log(facility, message);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, index: usize) {
        let report = match result {
            Ok(message) => Ok(Delivered { partition: message.partition(), offset: message.offset() }),
            // The second half of the pair is the record with its payload: only the code may leave this function.
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        let failed = report.is_err();
        let mut reports = self.reports();
        reports.so_far.push((index, report));
        let complete = reports.so_far.len() == reports.awaited;
        // The receiver is gone while the producer is being dropped.
        if (complete || failed) && self.all_in.send(mem::take(&mut reports.so_far)).is_err() {
            tracing::trace!("delivery report after the producer's end");
        }
    }
}

impl Context {
    fn reports(&self) -> MutexGuard<'_, Reports> {
        // No code panics between two related changes, so a poisoned lock is still consistent.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lane's transactions, one at a time. All calls block.
pub struct Transactions {
    producer: Arc<BaseProducer<Context>>,
    reports: Receiver<Vec<Report>>,
    connection: Connection,
    lane: i32,
    /// Counts of connection errors and timed-out requests when the last transaction began.
    counts_at_begin: Cell<(u64, u64)>,
    broke_inside: Cell<bool>,
}

impl Transactions {
    /// Creates the producer, fences any former owner of the lane, and settles the transaction that it may have left
    /// open. `topic` has a partition for the lane, whose leader is asked to get a connection.
    pub fn open(connection: &Connection, lane: i32, topic: &str, deadline: Duration) -> Result<Self, KafkaFault> {
        Self::open_named(connection, &lane.to_string(), lane, Some(topic), deadline)
    }

    /// Opens a producer as a lane does, but under an ID that no lane has, and drops it: tests whether that is possible.
    pub(crate) fn try_out(connection: &Connection, name: &str, deadline: Duration) -> Result<(), KafkaFault> {
        Self::open_named(connection, name, -1, None, deadline).map(drop)
    }

    fn open_named(
        connection: &Connection,
        name: &str,
        lane: i32,
        topic: Option<&str>,
        deadline: Duration,
    ) -> Result<Self, KafkaFault> {
        let (all_in, reports) = channel();
        let context = Context {
            reports: Mutex::default(),
            all_in,
            broken: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            all_brokers_down: AtomicBool::new(false),
            reasons: Reasons::default(),
        };
        let producer = BaseProducer::from_config_and_context(&connection.producer(name)?, context)
            .map_err(|error| KafkaFault::of("making the producer", lane, &error))?;
        let producer = Arc::new(producer);
        poll_in_background(&producer, lane)?;
        if let Some(topic) = topic {
            // guard: a lane opens once there is a connection
            connect(&producer, topic, lane);
        }
        take_over(&producer, lane, deadline).map_err(|fault| fault.lacking(|| connection.acl_to_produce()))?;
        // While connecting, the first address of a host may refuse before the second one answers; that does not count.
        producer.context().all_brokers_down.store(false, Ordering::Relaxed);
        producer.context().reasons.answered();
        Ok(Self {
            producer,
            reports,
            connection: connection.clone(),
            lane,
            counts_at_begin: Cell::new((0, 0)),
            broke_inside: Cell::new(false),
        })
    }

    pub fn begin(&self) -> Result<(), KafkaFault> {
        self.counts_at_begin.set(self.fault_counts());
        self.producer.begin_transaction().map_err(|error| self.failed("beginning a transaction", &error))
    }

    /// Sends `records` and waits until the broker has acknowledged each one. The results are in the order of the
    /// records. After an error the transaction is lost.
    pub fn deliver(&self, records: &[OutgoingRecord<'_>]) -> Result<Vec<Delivered>, KafkaFault> {
        let mut delivered = vec![Delivered { partition: -1, offset: -1 }; records.len()];
        if records.is_empty() {
            return Ok(delivered);
        }
        *self.producer.context().reports() =
            Reports { awaited: records.len(), so_far: Vec::with_capacity(records.len()) };
        for (index, record) in records.iter().enumerate() {
            self.send(index, record).map_err(|code| self.undelivered(code, record))?;
        }
        let reports = self.reports.recv().map_err(|_| self.passing("the producer's thread has ended"))?;
        for (index, report) in reports {
            delivered[index] = report.map_err(|code| self.undelivered(code, &records[index]))?;
        }
        Ok(delivered)
    }

    /// Commits the transaction. An error says nothing about the outcome.
    pub fn commit(&self) -> Result<(), KafkaFault> {
        self.wait_until_none_in_flight();
        // While no broker can be reached, librdkafka itself would wait without end. After the transaction's time-out the
        // broker has aborted it, unless the commit had reached it: the next producer finds out.
        // guard: a commit does not wait for a dead broker without end
        self.producer
            .commit_transaction(self.connection.transaction_timeout)
            .map_err(|error| self.failed("committing a transaction", &error))?;
        self.broke_inside.set(self.fault_counts().0 > self.counts_at_begin.get().0);
        Ok(())
    }

    /// Whether a connection broke or a request timed out inside the last transaction. Then a repeated EndTxn may still
    /// be on its way, and the next transaction needs a new producer.
    #[must_use]
    pub fn must_be_replaced(&self) -> bool {
        self.broke_inside.get() || self.fault_counts().1 > self.counts_at_begin.get().1
    }

    /// Whether no broker answered when one was last needed. The lane should learn that now, not with orders in hand.
    #[must_use]
    pub fn all_brokers_are_down(&self) -> bool {
        self.producer.context().all_brokers_down.load(Ordering::Relaxed)
    }

    fn fault_counts(&self) -> (u64, u64) {
        let context = self.producer.context();
        (context.broken.load(Ordering::Relaxed), context.timed_out.load(Ordering::Relaxed))
    }

    fn failed(&self, what: &'static str, error: &KafkaError) -> KafkaFault {
        self.fatal(what)
            .unwrap_or_else(|| self.explain(KafkaFault::of(what, self.lane, error)))
            .lacking(|| self.connection.acl_to_produce())
    }

    /// The producer's fatal error, if any. A fenced producer reports its records as purged; only the fatal error tells
    /// why.
    fn fatal(&self, what: &'static str) -> Option<KafkaFault> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(KafkaFault::of_code(what, self.lane, Some(code), &reason))
    }

    /// Why records were purged. A producer that can only abort reports all its records as purged, and its next call
    /// fails with the reason. Beginning another transaction inside the open one is such a call and does no harm.
    fn why_purged(&self, what: &'static str) -> KafkaFault {
        let refused = || match self.producer.begin_transaction() {
            Err(error) => KafkaFault::of(what, self.lane, &error),
            Ok(()) => KafkaFault::Passing { what, why: "the transaction was given up".to_owned() },
        };
        self.fatal(what).unwrap_or_else(refused)
    }

    fn send(&self, index: usize, record: &OutgoingRecord<'_>) -> Result<(), RDKafkaErrorCode> {
        let mut base = BaseRecord::<[u8], [u8], usize>::with_opaque_to(record.topic, index);
        base.partition = record.partition;
        base.key = record.key.as_deref();
        base.payload = record.value.as_deref();
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            base.headers = Some(
                record
                    .headers
                    .iter()
                    .fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(value.as_ref()) })),
            );
        }
        // The second half of the pair is the record: drop it.
        self.producer.send(base).map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown))
    }

    /// The fault of an undelivered record. The client gives up the whole transaction and does not tell which topic may not
    /// be written to.
    fn undelivered(&self, code: RDKafkaErrorCode, record: &OutgoingRecord<'_>) -> KafkaFault {
        let fault = match code {
            RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize => {
                KafkaFault::TooLarge { bytes: record.value.as_ref().map_or(0, |value| value.len()) }
            }
            // guard: a transaction that was given up says why
            RDKafkaErrorCode::PurgeQueue => self.why_purged("delivering a record"),
            _ => self.fatal("delivering a record").unwrap_or_else(|| {
                self.explain(KafkaFault::of_code("delivering a record", self.lane, Some(code), &code.to_string()))
            }),
        };
        fault.lacking(|| self.connection.acl_to_produce())
    }

    fn explain(&self, fault: KafkaFault) -> KafkaFault {
        self.producer.context().reasons.explain(fault)
    }

    fn passing(&self, why: &str) -> KafkaFault {
        KafkaFault::Passing { what: "delivering records", why: why.to_owned() }
    }

    /// Waits until no record is in flight. A delivery is reported before its record is counted down, and a commit that
    /// finds a record in flight waits 100 ms.
    fn wait_until_none_in_flight(&self) {
        let deadline = Instant::now() + Duration::from_millis(50);
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            thread::yield_now();
        }
    }
}

/// Reports deliveries and errors as they come, on a thread of its own, which ends within [`POLL`] of the producer's last
/// use. Until then the producer is at worst fenced by its successor.
fn poll_in_background(producer: &Arc<BaseProducer<Context>>, lane: i32) -> Result<(), KafkaFault> {
    let polled = Arc::downgrade(producer);
    let poll = move || {
        while let Some(producer) = polled.upgrade() {
            producer.poll(POLL);
        }
    };
    thread::Builder::new().name(format!("poll-{lane}")).spawn(poll).map(drop).map_err(|error| KafkaFault::Passing {
        what: "making the producer",
        why: format!("the operating system refuses a thread: {error}"),
    })
}

/// Waits until the leader of the lane's partition has answered. If it does not, `init_transactions` tells why.
///
/// An answer to a question about the cluster is not enough: it may come through a bootstrap address, whose connection
/// librdkafka gives up as soon as it knows the brokers, and it makes one to a broker only when it has a question to that
/// one.
fn connect(producer: &BaseProducer<Context>, topic: &str, lane: i32) {
    let client = producer.client();
    let metadata = client.fetch_metadata(Some(topic), CONNECTING);
    if let Err(error) = metadata.and_then(|_| client.fetch_watermarks(topic, lane, CONNECTING)) {
        tracing::debug!(%error, "no connection yet");
    }
}

/// Runs `init_transactions` in several attempts, and checks between them whether it can succeed at all.
fn take_over(producer: &BaseProducer<Context>, lane: i32, deadline: Duration) -> Result<(), KafkaFault> {
    let (start, mut turn) = (Instant::now(), FIRST_LOOK);
    loop {
        let left = deadline.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        let Err(error) = producer.init_transactions(turn.min(left)) else { return Ok(()) };
        let reasons = &producer.context().reasons;
        let fault = reasons.explain(KafkaFault::of("taking over the lane (init_transactions)", lane, &error));
        // After a time-out, the next call continues the same operation.
        let timed_out = error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut);
        match fault {
            KafkaFault::Passing { .. } if timed_out && start.elapsed() < deadline => {
                turn = (turn * 2).min(deadline);
            }
            KafkaFault::Passing { what, why } if !reasons.are_understood() => {
                let why = format!(
                    "{why}. If the broker answers other requests, its transaction log can't be created: on a single \
                     broker set transaction.state.log.replication.factor and transaction.state.log.min.isr to 1"
                );
                return Err(KafkaFault::Passing { what, why });
            }
            fault => return Err(fault),
        }
    }
}
