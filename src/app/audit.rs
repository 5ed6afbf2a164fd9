//! Looks into the reads of unknown outcome that this instance made for a lane that is another instance's by now.
//!
//! What such a read had marked is found by the lane's owner, who knows nothing of this spool. An audit finds out that it
//! was, and changes nothing in Kafka or on the marketplace. In particular it needs no producer: to borrow the lane would
//! fence its owner for the sake of a list.
//!
//! # One audit
//! 1. **See which traces the spool has.** No read of this process is in flight: the lane's stores have ended before an
//!    audit begins, and the lane is served again after the audit has ended.
//! 2. **Take the list** of each store. Each listed order is pending or marked.
//! 3. **Read the tracking partition to its end**, committed records only. A listed order that is tracked has reached
//!    Kafka, whoever brought it, and whoever owned the lane meanwhile.
//! 4. **Wait for the others.** They may be pending, or missing: only the owner can tell, who brings the first by its
//!    drain and the second by its reconciler. Of one list ever fewer orders are missing, so it is kept, and the partition
//!    is read on until none is; a new list would name new pending orders each time. It is given up when the owner has
//!    had the time for a pass: an order that has grown too old for the owner's lists would be waited for in vain.
//! 5. **Record** in the account what was looked for, as a pass does, then remove the traces.
//!
//! This proves what a pass proves: nothing is missing that the list names. Of the orders that were found, nobody here can
//! tell which of them this instance's reads had marked, since its owner has lost reads of its own. So none is credited,
//! and whatever an entry lacks stays possible. Nor is it called certain as far as those orders may be it.
//!
//! One lane at a time is loaded, its index is dropped at once, and what is read on is small.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::AppError;
use super::lanes::Shared;
use super::serve::by_store;
use crate::avro::decoder::Decoder;
use crate::avro::event::Reason;
use crate::config;
use crate::kafka::broker::TrackingLog;
use crate::order::ids::{OrderIds, ReadId, ReadIds, StoreName};
use crate::pipeline::account::KnownBefore;
use crate::pipeline::index::{Fingerprint, Index, diff};
use crate::pipeline::publish::{self, LaneError, OPEN_DEADLINE, SeenRecord};
use crate::pipeline::reconcile::{Books, ReconcileError};
use crate::pipeline::tracking_memory::TrackingMemory;
use crate::platform::backoff::Backoff;
use crate::platform::clock;
use crate::platform::jobs::Job;
use crate::platform::shutdown::cancelled_within;
use crate::spool::UnknownRead;

/// Before the first audit of a lane: its owner has only just got it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at what the owner has published since.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// An audit of one lane's stores.
pub(super) struct Audit {
    pub(super) lane: i32,
    pub(super) shared: Arc<Shared>,
    /// Those of which something is to be looked for.
    pub(super) stores: Vec<(StoreName, Arc<config::Store>)>,
    pub(super) stop: CancellationToken,
}

/// The tracking partition, as far as it was read.
struct Partition {
    log: Box<dyn TrackingLog>,
    decoder: Decoder,
}

/// A store's list.
struct List {
    store: StoreName,
    unsettled: Vec<UnknownRead>,
    /// Listed orders that are not tracked, as far as the partition was read: all of them before.
    missing: OrderIds,
    taken: Timestamp,
    /// Passes of this instance that were killed.
    passes: Vec<ReadId>,
    /// How many orders those had published.
    earlier: u64,
    known: Vec<KnownBefore>,
    /// Orders that the reconcilers of other instances found.
    found_by_others: HashSet<Fingerprint>,
}

impl Audit {
    /// The pauses before the audits of one lane.
    pub(super) fn pauses(shared: &Shared) -> Backoff {
        Backoff::new(FIRST_PAUSE, shared.reconcile.interval)
    }

    /// Makes one audit after the pause. What can't be looked into now is left to the next one.
    pub(super) async fn run(self, pause: Duration) {
        if cancelled_within(&self.stop, pause).await {
            return;
        }
        if let Err(error) = self.audit().await {
            tracing::warn!(
                lane = self.lane, %error,
                "reads of unknown outcome of a lane that is another instance's could not be looked into; trying again"
            );
        }
    }

    async fn audit(&self) -> Result<(), AppError> {
        let (mut lists, failed) = self.take_lists().await?;
        let mut partition = Partition {
            log: self.shared.environment.broker.tracking(self.lane, OPEN_DEADLINE),
            decoder: self.shared.schemas.tracking_decoder(),
        };
        let (began, mut pauses) = (Instant::now(), Backoff::new(FIRST_LOOK, LONGEST_PAUSE));
        while !lists.is_empty() {
            let Some(read) = self.stop.run_until_cancelled(self.read_on(partition, lists)).await else { break };
            (partition, lists) = read?;
            lists = self.settle(lists).await?;
            if began.elapsed() > 2 * self.shared.reconcile.interval {
                lists.iter().for_each(List::warn_missing);
                break;
            }
            if lists.is_empty() || cancelled_within(&self.stop, pauses.pause()).await {
                break;
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Takes the list of each store of which something is left. One store's failure leaves the others.
    async fn take_lists(&self) -> Result<(Vec<List>, Option<ReconcileError>), AppError> {
        let Self { shared, stores, stop, .. } = self;
        let left = shared.left_of(&|store| stores.iter().any(|(name, _)| name == store)).await?;
        let mut unsettled = by_store(left.unknown);
        let (mut lists, mut failed) = (Vec::new(), None);
        for (store, settings) in stores {
            let unsettled = unsettled.remove(store).unwrap_or_default();
            shared.counters.store(store).unsettled_reads.set(unsettled.len() as u64);
            if unsettled.is_empty() && !shared.account.is_to_be_looked_for(store) {
                continue;
            }
            let asker = shared.asker(store, settings)?;
            match stop.run_until_cancelled(asker.order_ids()).await {
                None => return Ok((Vec::new(), None)),
                Some(Err(error)) => failed = Some(ReconcileError::no_list(store, error)),
                // A wrong path answers with an empty list too.
                Some(Ok(ids)) if ids.is_empty() => {}
                Some(Ok(ids)) => lists.push(List {
                    store: store.clone(),
                    unsettled,
                    missing: ids,
                    taken: clock::now(),
                    passes: shared.account.passes_of(store),
                    earlier: 0,
                    known: shared.account.to_be_looked_for(store),
                    found_by_others: HashSet::new(),
                }),
            }
        }
        Ok((lists, failed))
    }

    /// Reads the partition to its end.
    async fn read_on(
        &self,
        mut partition: Partition,
        mut lists: Vec<List>,
    ) -> Result<(Partition, Vec<List>), LaneError> {
        let Shared { environment, scans, memory, spool, .. } = &*self.shared;
        let turn: Option<OwnedSemaphorePermit> = scans.clone().acquire_owned().await.ok();
        let (memory, ours) = (memory.clone(), spool.read_ids());
        let job = Job::start(&*environment.jobs, &format!("lane-{}", self.lane), move || {
            let _turn = turn;
            partition.read_on(&memory, ours, &mut lists).map(|()| (partition, lists))
        });
        job.ended().await
    }

    /// Settles the stores of whose lists nothing is missing; returns the other ones.
    async fn settle(&self, lists: Vec<List>) -> Result<Vec<List>, AppError> {
        let Shared { account, spool, counters, .. } = &*self.shared;
        let mut waiting = Vec::new();
        for mut list in lists {
            // guard: a read of a lane that is another instance's is settled when nothing listed is missing
            if !list.missing.is_empty() {
                waiting.push(list);
                continue;
            }
            let known = list.known();
            let List { store, unsettled, taken, earlier, .. } = &mut list;
            let books = Books { store, account, spool, counters: &counters.store(store) };
            let unaccounted = books.record(*earlier, Some(unsettled.len()), *taken, &known, unsettled).await?;
            books.warn_missing(unaccounted);
        }
        Ok(waiting)
    }
}

impl Partition {
    fn read_on(&mut self, memory: &TrackingMemory, ours: ReadIds, lists: &mut [List]) -> Result<(), LaneError> {
        let mut seen = |record: SeenRecord<'_>| {
            let is_theirs = record.entry.is_some_and(|it| it.reason == Reason::Reconciled && !ours.made(it.read_id));
            if is_theirs && let Some(list) = lists.iter_mut().find(|list| list.has(record.key)) {
                list.found_by_others.insert(record.order);
            }
        };
        let index = publish::load(&mut *self.log, &mut self.decoder, memory, &mut seen)?;
        lists.iter_mut().for_each(|list| list.compare(&index));
        Ok(())
    }
}

impl List {
    /// Whether it is the key of an order of this store.
    fn has(&self, key: &[u8]) -> bool {
        key.strip_prefix(self.store.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// Strikes off what is tracked. `read`: the records that were read last.
    fn compare(&mut self, read: &Index) {
        self.earlier += read.brought_by(&self.passes);
        self.known = diff::known_before(&self.store, &self.missing, read, std::mem::take(&mut self.known));
        self.missing = diff::missing(&self.store, &self.missing, read, false).missing.into_iter().collect();
    }

    fn warn_missing(&self) {
        tracing::warn!(
            store = %self.store, missing = self.missing.len(), unsettled = self.unsettled.len(),
            "listed orders are still not published by the instance that has the store's lane: looking again"
        );
    }

    /// For each entry, how many orders its reads may have marked although nothing is missing.
    fn known(&self) -> Vec<KnownBefore> {
        let found = self.found_by_others.len() as u64;
        self.known.iter().map(|known| KnownBefore { orders: known.orders + found, ..*known }).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::avro::contract::ORDER_TRACKING;
    use crate::avro::event::Revision;
    use crate::avro::tracking::{OrderState, OrderTracking};
    use crate::kafka::KafkaFault;
    use crate::kafka::broker::Apply;
    use crate::order::ids::OrderId;

    /// A partition that is read from where the last reading ended.
    struct Log {
        records: Vec<OrderTracking>,
        position: usize,
    }

    impl TrackingLog for Log {
        fn lane(&self) -> i32 {
            0
        }

        fn position(&self) -> i64 {
            self.position as i64
        }

        fn read_to_end(&mut self, apply: &mut Apply<'_>) -> Result<(), KafkaFault> {
            for record in &self.records[self.position..] {
                let (key, value) = (record.key().to_string(), record.to_message(ORDER_TRACKING.frame()));
                if apply(self.position as i64, key.as_bytes(), Some(&value)).is_break() {
                    break;
                }
                self.position += 1;
            }
            Ok(())
        }
    }

    fn tracked(store: &str, order: &str, reason: Reason, read_id: ReadId, at: Timestamp) -> OrderTracking {
        OrderTracking {
            store: store.parse().unwrap(),
            order_id: order.parse().unwrap(),
            state: OrderState::Published,
            revision: Some(Revision::FIRST),
            reason,
            read_id,
            content_hash: None,
            published_at: at.as_millisecond(),
            event_partition: None,
            order_created_at: None,
        }
    }

    fn ids(list: &OrderIds) -> Vec<&str> {
        list.iter().map(|id| id.as_str()).collect()
    }

    #[test]
    fn of_one_list_ever_fewer_orders_are_missing_and_what_others_found_is_credited_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let memory = TrackingMemory::open(dir.path(), "t", 1).unwrap();
        let (ours, now) = (ReadIds::like(ReadId::fresh()), clock::now());
        let (before, killed, other) = (now - SignedDuration::from_hours(1), ours.fresh(), ReadId::fresh());
        let mut lists = [List {
            store: "bogota".parse().unwrap(),
            unsettled: Vec::new(),
            missing: ["1", "2", "3", "4", "5"].map(|id| id.parse::<OrderId>().unwrap()).into_iter().collect(),
            taken: now,
            passes: vec![killed],
            earlier: 0,
            known: vec![KnownBefore { first_read: ours.fresh(), since: now, orders: 0 }],
            found_by_others: HashSet::new(),
        }];
        let records = [
            tracked("bogota", "1", Reason::Drained, other, before),
            tracked("bogota", "2", Reason::Reconciled, killed, now),
            tracked("bogota", "grown-too-old", Reason::Reconciled, other, now),
            tracked("bogota2", "3", Reason::Reconciled, other, now),
        ];
        let read_on = |records: &[OrderTracking], position, lists: &mut [List]| {
            let log = Box::new(Log { records: records.to_vec(), position });
            let mut partition = Partition { log, decoder: Decoder::new(&ORDER_TRACKING, None) };
            partition.read_on(&memory, ours, lists).unwrap();
        };
        read_on(&records, 0, &mut lists);
        assert_eq!(ids(&lists[0].missing), ["3", "4", "5"]);
        assert_eq!((lists[0].earlier, lists[0].known()[0].orders), (1, 2), "one was known, one was found by others");

        let later = [
            tracked("bogota", "5", Reason::Drained, other, now),
            tracked("bogota", "3", Reason::Reconciled, other, now),
            tracked("bogota", "4", Reason::Reconciled, other, now),
        ];
        let all: Vec<_> = records.iter().cloned().chain(later).collect();
        read_on(&all, records.len(), &mut lists);
        assert_eq!(ids(&lists[0].missing), Vec::<&str>::new());
        assert_eq!((lists[0].earlier, lists[0].known()[0].orders), (1, 4));
    }
}
