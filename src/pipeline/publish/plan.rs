//! The plan of one transaction: turns pages into events, dead letters and tracking records. Each order is decided by
//! the index and by what the plan already holds.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::decide::{Candidate, Decision, Source, decide};
use super::reading::{Mapped, MappedRecord};
use super::{LaneError, LaneParts, Work};
use crate::avro::event::{ContentHash, Event, Reason, Revision, dead_letter_headers};
use crate::avro::schemas::Frames;
use crate::avro::tracking::{OrderState, OrderTracking};
use crate::kafka::{Delivered, OutgoingRecord};
use crate::order::country::Country;
use crate::order::ids::{OrderId, OrderKey, ReadId, StoreName};
use crate::order::{DeadLetter, Order};
use crate::pipeline::counters::Tally;
use crate::pipeline::index::{Index, IndexEntry};
use crate::platform::clock;

/// The common origin of the orders of one read.
struct Origin<'a> {
    store: &'a StoreName,
    country: Country,
    read_id: ReadId,
    read_at: Timestamp,
    source: Source,
}

/// A tracking record without its event's partition, which is known only after delivery.
struct Mark {
    tracking: OrderTracking,
    /// Position of its event among the plan's records.
    event: Option<usize>,
}

/// Orders of a page, or of an operator's command, that were never published before.
pub(super) struct FirstSeen {
    pub(super) store: StoreName,
    pub(super) read_id: ReadId,
    /// When they were placed, for those that have a date.
    pub(super) created: Vec<Timestamp>,
}

/// Whether a piece of work went into the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    Taken,
    /// It brings an order that another read already brought to this plan. The index remembers only an order's last
    /// read. So after a kill, the first of two such pages would be replayed and no longer recognised as published.
    NextTransaction,
}

/// The content of one transaction.
pub(super) struct Plan<'a> {
    index: &'a Index,
    parts: &'a LaneParts,
    frames: &'a Frames,
    records: Vec<OutgoingRecord<'a>>,
    marks: Vec<Mark>,
    /// What this plan decides, layered over the index.
    overlay: HashMap<OrderKey, IndexEntry>,
    tallies: Vec<Tally>,
    /// For pages of stores with lost orders, which a person may have brought back.
    first_seen: Vec<FirstSeen>,
    /// Set when the current piece of work brings an order of another read in this plan.
    clash: bool,
}

/// What remains of a plan after its commit.
pub(super) struct Outcome {
    pub(super) entries: HashMap<OrderKey, IndexEntry>,
    pub(super) tallies: Vec<Tally>,
    pub(super) first_seen: Vec<FirstSeen>,
}

impl<'a> Plan<'a> {
    /// Plans as much of the pending work as may share a transaction.
    pub(super) fn of(
        pending: &[Mapped],
        index: &'a Index,
        parts: &'a LaneParts,
        frames: &'a Frames,
    ) -> Result<Self, LaneError> {
        let mut plan = Self {
            index,
            parts,
            frames,
            records: Vec::new(),
            marks: Vec::new(),
            overlay: HashMap::new(),
            tallies: Vec::new(),
            first_seen: Vec::new(),
            clash: false,
        };
        for mapped in pending {
            if plan.take_in(mapped)? == Fit::NextTransaction {
                break;
            }
        }
        Ok(plan)
    }

    /// Events and dead letters, which are delivered first.
    pub(super) fn events_and_dead_letters(&self) -> &[OutgoingRecord<'a>] {
        &self.records
    }

    /// Tracking records, which are delivered last, when the events' partitions are known.
    pub(super) fn tracking_records(&self, delivered: &[Delivered]) -> Vec<OutgoingRecord<'a>> {
        let record = |mark: &Mark| {
            let event_partition = mark.event.and_then(|event| delivered.get(event)).map(|at| at.partition);
            let tracking = OrderTracking { event_partition, ..mark.tracking.clone() };
            OutgoingRecord {
                topic: &self.parts.topics.tracking,
                partition: Some(self.parts.lane),
                key: Some(tracking.key().to_string().into_bytes()),
                value: Some(tracking.to_message(self.frames.tracking)),
                headers: Vec::new(),
            }
        };
        self.marks.iter().map(record).collect()
    }

    /// Whether the plan holds the order with this key.
    pub(super) fn tracks(&self, key: &[u8]) -> bool {
        self.marks.iter().any(|mark| mark.tracking.key().to_string().as_bytes() == key)
    }

    /// Whether the index knows none of the plan's orders.
    pub(super) fn is_news(&self) -> bool {
        self.marks.iter().all(|mark| self.index.get(&mark.tracking.key()).is_none())
    }

    /// The tombstone that removes an order from the tracking topic.
    pub(super) fn tombstone(&self, key: &[u8]) -> OutgoingRecord<'a> {
        let (topic, partition) = (&self.parts.topics.tracking, Some(self.parts.lane));
        OutgoingRecord { topic, partition, key: Some(key.to_vec()), value: None, headers: Vec::new() }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        Outcome { entries: self.overlay, tallies: self.tallies, first_seen: self.first_seen }
    }

    /// Plans a piece of work as a whole, or not at all.
    fn take_in(&mut self, mapped: &Mapped) -> Result<Fit, LaneError> {
        let origin = match &mapped.work {
            Work::Page(page) => self.origin(page.store(), page.read_id(), page.read_at(), Source::Drain)?,
            Work::Unspooled(page) => self.origin(&page.store, page.read_id, page.read_at, Source::Drain)?,
            Work::Fetched(fetched) => self.origin(&fetched.store, fetched.read_id, fetched.read_at, fetched.source)?,
            Work::FindMissing(_) => {
                self.tallies.push(Tally::default());
                return Ok(Fit::Taken);
            }
        };
        let (records, marks) = (self.records.len(), self.marks.len());
        self.tallies.push(Tally::default());
        self.clash = false;
        let first_seen = self.first_seen(&origin, mapped);
        self.records_of(&origin, mapped)?;
        if !self.clash {
            self.first_seen.extend(first_seen);
            return Ok(Fit::Taken);
        }
        self.records.truncate(records);
        for mark in self.marks.drain(marks..) {
            self.overlay.remove(&mark.tracking.key());
        }
        self.tallies.pop();
        Ok(Fit::NextTransaction)
    }

    /// The orders of this work that were never published before. A replayed page gives the same orders again.
    fn first_seen(&self, origin: &Origin<'_>, mapped: &Mapped) -> Option<FirstSeen> {
        let by_page = origin.source == Source::Drain;
        if !(by_page || origin.source == Source::Operator) || !self.parts.account.expects_orders(origin.store) {
            return None;
        }
        let mut created = BTreeMap::new();
        for record in &mapped.records {
            let MappedRecord::Order { order, .. } = record else { continue };
            let key = OrderKey { store: origin.store.clone(), id: order.id.clone() };
            let by_this_read =
                |known: IndexEntry| known.read == origin.read_id.into() && known.revision == Some(Revision::FIRST);
            let date = order.created_at.as_ref().and_then(|date| date.epoch_millis);
            if self.known(&key).is_none_or(by_this_read)
                && let Some(date) = date.and_then(|millis| Timestamp::from_millisecond(millis).ok())
            {
                created.insert(key.id, date);
            }
        }
        let created: Vec<Timestamp> = created.into_values().collect();
        // A page can be replayed, and its orders must count once. A command's orders come in many pieces, so each gets
        // its own ID.
        let read_id = if by_page { origin.read_id } else { ReadId::fresh() };
        (!created.is_empty()).then(|| FirstSeen { store: origin.store.clone(), read_id, created })
    }

    fn records_of(&mut self, origin: &Origin<'_>, mapped: &Mapped) -> Result<(), LaneError> {
        for record in &mapped.records {
            match record {
                MappedRecord::Order { order, content } => self.order(origin, order, *content)?,
                MappedRecord::Letter(letter) => self.decide_dead_letter(origin, letter),
            }
        }
        if let Work::Fetched(fetched) = &mapped.work {
            fetched.gone.iter().for_each(|id| self.gone(origin, id));
        }
        Ok(())
    }

    /// Tracks an order as gone from the marketplace, unless it has come another way meanwhile.
    fn gone(&mut self, origin: &Origin<'_>, id: &OrderId) {
        let key = OrderKey { store: origin.store.clone(), id: id.clone() };
        if self.known(&key).is_some() {
            self.tally().skipped += 1;
            return;
        }
        let tracking = OrderTracking { reason: Reason::Reconciled, ..tracking(origin, &key, OrderState::Gone) };
        self.mark(key, Mark { tracking, event: None });
        self.tally().gone += 1;
    }

    fn origin<'o>(
        &self,
        store: &'o StoreName,
        read_id: ReadId,
        read_at: Timestamp,
        source: Source,
    ) -> Result<Origin<'o>, LaneError> {
        let facts = self.parts.stores.get(store).ok_or_else(|| LaneError::UnknownStore(store.clone()))?;
        Ok(Origin { store, country: facts.country, read_id, read_at, source })
    }

    fn order(&mut self, origin: &Origin<'_>, order: &Order, content: ContentHash) -> Result<(), LaneError> {
        let key = OrderKey { store: origin.store.clone(), id: order.id.clone() };
        match self.decide(&key, origin, content) {
            Decision::Publish { reason, revision } => self.event(origin, key, order, content, reason, revision),
            Decision::Replayed | Decision::NothingToDo => {
                self.tally().skipped += 1;
                Ok(())
            }
        }
    }

    fn known(&self, key: &OrderKey) -> Option<IndexEntry> {
        self.overlay.get(key).copied().or_else(|| self.index.get(key))
    }

    fn decide(&mut self, key: &OrderKey, origin: &Origin<'_>, content: ContentHash) -> Decision {
        // guard: an order of two pages is in two transactions
        if self.overlay.get(key).is_some_and(|entry| entry.read != origin.read_id.into()) {
            // guard: an order that waits for the next transaction is in it
            self.clash = true;
            return Decision::NothingToDo;
        }
        let candidate = Candidate {
            source: origin.source,
            read: origin.read_id.into(),
            read_at: origin.read_at.into(),
            now: clock::now().into(),
            content: content.into(),
        };
        decide(self.known(key), candidate, self.parts.resync)
    }

    fn event(
        &mut self,
        origin: &Origin<'_>,
        key: OrderKey,
        order: &Order,
        content: ContentHash,
        reason: Reason,
        revision: Revision,
    ) -> Result<(), LaneError> {
        let event = Event {
            store: origin.store,
            country: origin.country,
            revision,
            reason,
            read_id: origin.read_id,
            read_at: origin.read_at,
            order,
            content_hash: content,
        };
        let value = event.to_message(self.frames.order)?;
        let mark = Mark {
            tracking: OrderTracking {
                revision: Some(revision),
                reason,
                content_hash: Some(content),
                order_created_at: order.created_at.as_ref().and_then(|date| date.epoch_millis),
                ..tracking(origin, &key, OrderState::Published)
            },
            event: Some(self.records.len()),
        };
        self.records.push(OutgoingRecord {
            topic: &self.parts.topics.orders,
            partition: None,
            key: Some(key.id.as_str().as_bytes().to_vec()),
            value: Some(value),
            headers: event.headers(),
        });
        self.mark(key, mark);
        self.tally().published.count(reason);
        Ok(())
    }

    /// A dead letter is published once per read, like an event. One without an ID can't be tracked, so a replayed page
    /// publishes it again.
    fn decide_dead_letter(&mut self, origin: &Origin<'_>, letter: &DeadLetter) {
        let content = ContentHash::of_bytes(&letter.json);
        let Some(id) = letter.id.clone() else { return self.dead_letter(origin, letter) };
        let key = OrderKey { store: origin.store.clone(), id };
        let Decision::Publish { reason, .. } = self.decide(&key, origin, content) else {
            self.tally().skipped += 1;
            return;
        };
        let mark = Mark {
            tracking: OrderTracking {
                // No event is published, so the revision stays.
                revision: self.known(&key).and_then(|known| known.revision),
                reason,
                content_hash: Some(content),
                ..tracking(origin, &key, OrderState::DeadLettered)
            },
            event: None,
        };
        self.mark(key, mark);
        self.dead_letter(origin, letter);
    }

    fn dead_letter(&mut self, origin: &Origin<'_>, letter: &DeadLetter) {
        tracing::warn!(
            store = %origin.store, read = %origin.read_id, reason = letter.reason, pointer = letter.pointer,
            "order can't be mapped: it goes to the dead-letter topic"
        );
        let headers = dead_letter_headers(letter, origin.store, origin.read_id, clock::now());
        self.records.push(OutgoingRecord {
            topic: &self.parts.topics.dead_letter,
            partition: None,
            key: letter.id.as_ref().map(|id| id.as_str().as_bytes().to_vec()),
            value: Some(letter.json.clone()),
            headers,
        });
        self.tally().dead_letters += 1;
    }

    fn mark(&mut self, key: OrderKey, mark: Mark) {
        self.overlay.insert(key, IndexEntry::from(&mark.tracking));
        self.marks.push(mark);
    }

    fn tally(&mut self) -> &mut Tally {
        self.tallies.last_mut().expect("each piece of work begins with its tally")
    }
}

fn tracking(origin: &Origin<'_>, key: &OrderKey, state: OrderState) -> OrderTracking {
    OrderTracking {
        store: key.store.clone(),
        order_id: key.id.clone(),
        state,
        revision: None,
        reason: Reason::Unknown,
        read_id: origin.read_id,
        content_hash: None,
        published_at: clock::now().as_millisecond(),
        event_partition: None,
        order_created_at: None,
    }
}
