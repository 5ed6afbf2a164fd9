//! The plan of one transaction: turns pages into events, dead letters and tracking records. Each order is decided by
//! the index and by what the plan already holds.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use jiff::Timestamp;

use super::decide::{Candidate, Decision, Source, decide};
use super::reading::{Mapped, MappedRecord};
use super::superseded::Superseded;
use super::{LaneParts, Work};
use crate::avro::event::{ContentHash, EncodedOrder, Event, Origin, Reason, Revision, dead_letter_headers};
use crate::avro::schemas::Frames;
use crate::avro::tracking::{OrderState, OrderTracking};
use crate::kafka::OutgoingRecord;
use crate::order::DeadLetter;
use crate::order::ids::{OrderId, OrderKey, ReadId, StoreName};
use crate::pipeline::counters::{RecentOrder, RecentOrders, Tally};
use crate::pipeline::index::{Fingerprint, Index, IndexEntry};
use crate::platform::clock;

/// A read, and who made it.
#[derive(Clone, Copy)]
struct Brought<'a> {
    origin: &'a Origin,
    source: Source,
    /// Whether it was found in the spool.
    is_left: bool,
}

/// An order's key, rendered once.
struct Key {
    text: String,
    fingerprint: Fingerprint,
}

impl Key {
    fn of(store: &StoreName, id: &OrderId) -> Self {
        let text = OrderKey::text(store, id);
        Self { fingerprint: Fingerprint::of(text.as_bytes()), text }
    }
}

/// A tracking record that is not encoded yet: a plan may still give it up.
struct Mark {
    key: Key,
    tracking: OrderTracking,
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
    superseded: &'a Superseded,
    records: Vec<OutgoingRecord<'a>>,
    events: Vec<Event<'a>>,
    marks: Vec<Mark>,
    /// What this plan decides, layered over the index.
    overlay: HashMap<Fingerprint, IndexEntry>,
    /// When all of this is decided.
    now: Timestamp,
    tallies: Vec<Tally>,
    /// For each piece of work, how many of the plan's records it and those before it make.
    ends: Vec<usize>,
    /// For pages of stores with lost orders, which a person may have brought back.
    first_seen: Vec<FirstSeen>,
    /// Set when the current piece of work brings an order of another read in this plan.
    clash: bool,
}

/// What remains of a plan after its commit.
pub(super) struct Outcome {
    pub(super) entries: HashMap<Fingerprint, IndexEntry>,
    pub(super) tallies: Vec<Tally>,
    pub(super) first_seen: Vec<FirstSeen>,
    /// The last of the orders that it published.
    pub(super) recent: Vec<RecentOrder>,
}

impl<'a> Plan<'a> {
    /// Plans as much of the pending work as may share a transaction.
    pub(super) fn of(
        pending: &'a [Mapped],
        index: &'a Index,
        superseded: &'a Superseded,
        parts: &'a LaneParts,
        frames: &'a Frames,
    ) -> Self {
        let mut plan = Self {
            index,
            parts,
            frames,
            superseded,
            records: Vec::new(),
            events: Vec::new(),
            marks: Vec::new(),
            overlay: HashMap::new(),
            now: clock::now(),
            tallies: Vec::new(),
            ends: Vec::new(),
            first_seen: Vec::new(),
            clash: false,
        };
        for mapped in pending {
            if plan.take_in(mapped) == Fit::NextTransaction {
                break;
            }
            plan.ends.push(plan.records.len());
        }
        plan
    }

    /// All records of the transaction: events and dead letters, and behind them what [`track`](Self::track) added.
    pub(super) fn records(&self) -> &[OutgoingRecord<'a>] {
        &self.records
    }

    /// How many of them are events and dead letters.
    pub(super) fn events_and_dead_letters(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Which piece of the pending work brought this one of the events and dead letters.
    pub(super) fn work_of(&self, record: usize) -> usize {
        self.ends.partition_point(|end| *end <= record)
    }

    /// Which of the events and dead letters each piece of the pending work brought, as far as it is in the plan.
    pub(super) fn records_of_each_work(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| start..*end)
    }

    /// The topic of the events, as they are meant for everybody who may see buyers.
    pub(super) fn orders_topic(&self) -> &str {
        &self.parts.topics.orders
    }

    /// Adds the tracking records, and a tombstone for each of the orders to forget.
    pub(super) fn track(&mut self, forgotten: &[Vec<u8>]) {
        let (parts, frame) = (self.parts, self.frames.tracking);
        let record = |key: Vec<u8>, value: Option<Vec<u8>>| OutgoingRecord {
            topic: &parts.topics.tracking,
            partition: Some(parts.lane),
            key: Some(key.into()),
            value: value.map(Into::into),
            headers: Vec::new(),
        };
        let marks = self.marks.drain(..);
        let marks = marks.map(|Mark { key, tracking }| record(key.text.into_bytes(), Some(tracking.to_message(frame))));
        // guard: tracking records beside the events
        self.records.extend(marks);
        self.records.extend(forgotten.iter().map(|key| record(key.clone(), None)));
    }

    /// Whether the plan holds the order with this key.
    pub(super) fn tracks(&self, key: &[u8]) -> bool {
        self.overlay.contains_key(&Fingerprint::of(key))
    }

    /// Whether the index knows none of the plan's orders.
    pub(super) fn is_news(&self) -> bool {
        self.overlay.keys().all(|key| self.index.get(*key).is_none())
    }

    pub(super) fn into_outcome(self) -> Outcome {
        let older = self.events.len().saturating_sub(RecentOrders::KEPT);
        let recent = self.events.iter().skip(older).map(|event| self.recent(event)).collect();
        Outcome { entries: self.overlay, tallies: self.tallies, first_seen: self.first_seen, recent }
    }

    fn recent(&self, Event { origin, revision, reason, order }: &Event<'_>) -> RecentOrder {
        RecentOrder {
            store: origin.store.clone(),
            order_id: order.id.clone(),
            revision: *revision,
            reason: *reason,
            total: order.total,
            currency: order.currency.clone(),
            published_at: self.now,
        }
    }

    /// Plans a piece of work as a whole, or not at all.
    fn take_in(&mut self, mapped: &'a Mapped) -> Fit {
        self.tallies.push(Tally::default());
        let Some(origin) = &mapped.origin else { return Fit::Taken };
        let source = match &mapped.work {
            Work::Fetched(fetched) => fetched.source,
            _ => Source::Drain,
        };
        let is_left = matches!(&mapped.work, Work::Page(page, _) if page.is_left());
        let brought = Brought { origin, source, is_left };
        let (records, events, marks) = (self.records.len(), self.events.len(), self.marks.len());
        self.clash = false;
        let first_seen = self.first_seen(brought, mapped);
        self.records_of(brought, mapped);
        if !self.clash {
            self.first_seen.extend(first_seen);
            return Fit::Taken;
        }
        self.records.truncate(records);
        self.events.truncate(events);
        for mark in self.marks.drain(marks..) {
            self.overlay.remove(&mark.key.fingerprint);
        }
        self.tallies.pop();
        Fit::NextTransaction
    }

    /// The orders of this work that were never published before. A replayed page gives the same orders again.
    fn first_seen(&self, Brought { origin, source, .. }: Brought<'_>, mapped: &Mapped) -> Option<FirstSeen> {
        let by_page = source == Source::Drain;
        if !(by_page || source == Source::Operator) || !self.parts.account.expects_orders(&origin.store) {
            return None;
        }
        let mut created = BTreeMap::new();
        for record in &mapped.records {
            let MappedRecord::Order(order) = record else { continue };
            let key = Key::of(&origin.store, &order.id);
            let by_this_read =
                |known: IndexEntry| known.read == origin.read_id.into() && known.revision == Some(Revision::FIRST);
            if self.known(key.fingerprint).is_none_or(by_this_read)
                && let Some(date) = order.created_at.and_then(|millis| Timestamp::from_millisecond(millis).ok())
            {
                created.insert(&order.id, date);
            }
        }
        let created: Vec<Timestamp> = created.into_values().collect();
        // A page can be replayed, and its orders must count once. A command's orders come in many pieces, so each gets
        // its own ID.
        let read_id = if by_page { origin.read_id } else { ReadId::fresh() };
        (!created.is_empty()).then(|| FirstSeen { store: origin.store.clone(), read_id, created })
    }

    fn records_of(&mut self, brought: Brought<'a>, mapped: &'a Mapped) {
        for record in &mapped.records {
            match record {
                MappedRecord::Order(order) => self.order(brought, order),
                MappedRecord::Letter(letter) => self.decide_dead_letter(brought, letter),
            }
        }
        if let Work::Fetched(fetched) = &mapped.work {
            fetched.gone.iter().for_each(|id| self.gone(brought.origin, id));
        }
    }

    /// Tracks an order as gone from the marketplace, unless it has come another way meanwhile.
    fn gone(&mut self, origin: &Origin, id: &OrderId) {
        let key = Key::of(&origin.store, id);
        if self.known(key.fingerprint).is_some() {
            self.tally().skipped += 1;
            return;
        }
        let tracking = OrderTracking { reason: Reason::Reconciled, ..self.tracking(origin, id, OrderState::Gone) };
        self.mark(Mark { key, tracking });
        self.tally().gone += 1;
    }

    fn order(&mut self, brought: Brought<'a>, order: &'a EncodedOrder) {
        let key = Key::of(&brought.origin.store, &order.id);
        match self.decide(key.fingerprint, brought, order.content_hash) {
            Decision::Publish { reason, revision } => {
                self.event(key, &Event { origin: brought.origin, revision, reason, order });
            }
            Decision::Replayed | Decision::NothingToDo => self.tally().skipped += 1,
        }
    }

    fn known(&self, key: Fingerprint) -> Option<IndexEntry> {
        self.overlay.get(&key).copied().or_else(|| self.index.get(key))
    }

    fn decide(&mut self, key: Fingerprint, brought: Brought<'_>, content: ContentHash) -> Decision {
        let Brought { origin, source, is_left } = brought;
        if source == Source::Drain && self.superseded.is_older(is_left, key) {
            return Decision::NothingToDo;
        }
        let read = origin.read_id.into();
        let planned = self.overlay.get(&key).copied();
        // guard: an order of two pages is in two transactions
        if planned.is_some_and(|entry| entry.read != read) {
            // guard: an order that waits for the next transaction is in it
            self.clash = true;
            return Decision::NothingToDo;
        }
        let (read_at, now) = (origin.read_at.into(), self.now.into());
        let candidate =
            Candidate { source, read, read_at, now, content: content.into(), by_clock: !self.superseded.tells() };
        decide(planned.or_else(|| self.index.get(key)), candidate, self.parts.resync)
    }

    fn event(&mut self, key: Key, event: &Event<'a>) {
        let Event { origin, revision, reason, order } = *event;
        let tracking = OrderTracking {
            revision: Some(revision),
            reason,
            content_hash: Some(order.content_hash),
            order_created_at: order.created_at,
            ..self.tracking(origin, &order.id, OrderState::Published)
        };
        self.mark(Mark { key, tracking });
        self.records.push(OutgoingRecord {
            topic: &self.parts.topics.orders,
            partition: None,
            key: Some(order.id.as_str().as_bytes().into()),
            value: Some(event.to_message(self.frames.order).into()),
            headers: event.headers(),
        });
        if let (Some(topic), Some(value)) =
            (&self.parts.topics.orders_masked, event.to_masked_message(self.frames.order))
        {
            self.records.push(OutgoingRecord {
                topic,
                partition: None,
                key: Some(order.id.as_str().as_bytes().into()),
                value: Some(value.into()),
                headers: event.headers(),
            });
        }
        self.events.push(*event);
        self.tally().published.count(reason);
    }

    /// A dead letter is published once per read, like an event. One without an ID can't be tracked, so a replayed page
    /// publishes it again.
    fn decide_dead_letter(&mut self, brought: Brought<'a>, letter: &'a DeadLetter) {
        let (origin, content) = (brought.origin, ContentHash::of_bytes(&letter.json));
        let Some(id) = &letter.id else { return self.dead_letter(origin, letter) };
        let key = Key::of(&origin.store, id);
        let Decision::Publish { reason, .. } = self.decide(key.fingerprint, brought, content) else {
            self.tally().skipped += 1;
            return;
        };
        let tracking = OrderTracking {
            // No event is published, so the revision stays.
            revision: self.known(key.fingerprint).and_then(|known| known.revision),
            reason,
            content_hash: Some(content),
            ..self.tracking(origin, id, OrderState::DeadLettered)
        };
        self.mark(Mark { key, tracking });
        self.dead_letter(origin, letter);
    }

    fn dead_letter(&mut self, origin: &'a Origin, letter: &'a DeadLetter) {
        tracing::warn!(
            store = %origin.store, read = %origin.read_id, reason = letter.reason, pointer = letter.pointer,
            "order can't be mapped: it goes to the dead-letter topic"
        );
        self.records.push(OutgoingRecord {
            topic: &self.parts.topics.dead_letter,
            partition: None,
            key: letter.id.as_ref().map(|id| id.as_str().as_bytes().into()),
            value: Some(letter.json.as_slice().into()),
            headers: dead_letter_headers(letter, origin, self.now),
        });
        self.tally().dead_letters += 1;
    }

    fn mark(&mut self, mark: Mark) {
        self.overlay.insert(mark.key.fingerprint, IndexEntry::from(&mark.tracking));
        self.marks.push(mark);
    }

    fn tracking(&self, origin: &Origin, id: &OrderId, state: OrderState) -> OrderTracking {
        OrderTracking {
            store: origin.store.clone(),
            order_id: id.clone(),
            state,
            revision: None,
            reason: Reason::Unknown,
            read_id: origin.read_id,
            content_hash: None,
            published_at: self.now.as_millisecond(),
            event_partition: None,
            order_created_at: None,
        }
    }

    fn tally(&mut self) -> &mut Tally {
        self.tallies.last_mut().expect("each piece of work begins with its tally")
    }
}
