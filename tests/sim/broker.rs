//! A model of the broker: transactions, fencing, and answers that are lost.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use imotriz_kafka::avro::event::ContentHash;
use imotriz_kafka::avro::tracking::TrackingEntry;
use imotriz_kafka::kafka::broker::{Apply, Broker, KafkaFuture, Membership, Producer, TrackingLog};
use imotriz_kafka::kafka::topics::Layout;
use imotriz_kafka::kafka::{Delivered, KafkaFault, OutgoingRecord};
use imotriz_kafka::pipeline::tracking_memory::lane_of;
use tokio::sync::mpsc::unbounded_channel;

use crate::group::{GroupState, ModelGroup};
use crate::ops::CommitFault;
use crate::random::Random;
use crate::world::{Actor, Shared, World};

pub const ORDERS: &str = "orders";
pub const TRACKING: &str = "tracking";
/// What stands before a datum where there is no registry.
const FRAME: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    /// The request to commit is on its way.
    Ending,
    Committed,
    Aborted,
}

struct Event {
    key: String,
    revision: u64,
    reason: String,
    read: String,
}

/// What is committed of an order.
#[derive(Default)]
pub struct Published {
    pub revision: u64,
    /// How often because it was handed over.
    pub handed_over: u64,
    /// How often because an operator wanted it.
    pub republished: u64,
    /// What the last event says.
    pub content: Option<ContentHash>,
}

#[derive(Default)]
struct Transaction {
    fate: Option<Fate>,
    events: Vec<Event>,
}

struct Entry {
    transaction: usize,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

#[derive(Default)]
struct LaneState {
    epoch: u64,
    transactions: Vec<Transaction>,
    tracking: Vec<Entry>,
    /// Processes that have fenced the lane.
    owners: BTreeSet<u64>,
}

#[derive(Default)]
pub struct BrokerState {
    pub away_until: Duration,
    lanes: Vec<LaneState>,
    pub group: GroupState,
    /// Orders with a committed event, by their keys.
    pub published: BTreeMap<String, Published>,
    /// Reads that brought a committed event.
    pub reads: BTreeSet<String>,
}

impl BrokerState {
    pub fn new(lanes: i32) -> Self {
        Self {
            lanes: (0..lanes).map(|_| LaneState::default()).collect(),
            group: GroupState::new(lanes),
            ..Self::default()
        }
    }

    pub fn layout(&self) -> Layout {
        Layout { lanes: self.lanes.len() as i32 }
    }

    pub fn has(&self, key: &str) -> bool {
        self.published.contains_key(key)
    }

    pub fn was_owned_by(&self, store: &str, process: u64) -> bool {
        let lane = lane_of(&store.parse().unwrap(), self.layout().lanes);
        self.lanes[lane as usize].owners.contains(&process)
    }

    pub fn fence(&mut self, lane: i32, process: u64, random: &mut Random, broken: &mut Vec<String>) -> u64 {
        let lane = lane as usize % self.lanes.len();
        for index in 0..self.lanes[lane].transactions.len() {
            let fate = &mut self.lanes[lane].transactions[index].fate;
            match fate {
                Some(Fate::Open) => *fate = Some(Fate::Aborted),
                Some(Fate::Ending) if random.one_in(2) => self.commit(lane, index, broken),
                Some(Fate::Ending) => *fate = Some(Fate::Aborted),
                _ => {}
            }
        }
        let lane = &mut self.lanes[lane];
        lane.epoch += 1;
        lane.owners.insert(process);
        lane.epoch
    }

    fn commit(&mut self, lane: usize, index: usize, broken: &mut Vec<String>) {
        let Self { lanes, published, reads, .. } = self;
        let LaneState { transactions, tracking, .. } = &mut lanes[lane];
        transactions[index].fate = Some(Fate::Committed);
        let records = tracking.iter().filter(|entry| entry.transaction == index);
        let contents: BTreeMap<&[u8], TrackingEntry> = records
            .filter_map(|entry| {
                Some((&entry.key[..], TrackingEntry::read(&entry.key, entry.value.as_ref()?.get(FRAME..)?)?))
            })
            .collect();
        for event in &transactions[index].events {
            let Event { key, revision, read, .. } = event;
            let content = contents.get(key.as_bytes()).and_then(|record| record.content_hash);
            if content.is_none() {
                broken.push(format!("event {key}/{revision} has no tracking record beside it"));
            }
            let order = published.entry(key.clone()).or_default();
            order.take(event, content).unwrap_or_else(|why| broken.push(why));
            reads.insert(read.clone());
        }
    }
}

impl Published {
    fn take(&mut self, event: &Event, content: Option<ContentHash>) -> Result<(), String> {
        let Event { key, revision, reason, .. } = event;
        let (last, before) = (std::mem::replace(&mut self.revision, *revision), self.content);
        self.content = content;
        match reason.as_str() {
            "REPUBLISHED" => self.republished += 1,
            "UPDATED" if content == before => {
                return Err(format!("{key}/{revision} is an update that changes nothing"));
            }
            "UPDATED" => {}
            _ => self.handed_over += 1,
        }
        if *revision <= last {
            Err(format!("event {key}/{revision} is doubled"))
        } else if *revision > last + 1 {
            Err(format!("event {key}/{revision} comes after revision {last}"))
        } else {
            Ok(())
        }
    }
}

#[derive(Clone)]
pub struct ModelBroker {
    pub shared: Shared,
    pub process: u64,
}

fn passing(what: &'static str) -> KafkaFault {
    KafkaFault::Passing { what, why: "the model says so".to_owned() }
}

impl ModelBroker {
    async fn call(&self, lane: i32, what: &'static str) -> Result<(), KafkaFault> {
        self.shared.call(self.process, Actor::lane(lane), what).await;
        if self.shared.clock.elapsed() < self.shared.lock().broker.away_until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Err(passing(what));
        }
        Ok(())
    }
}

impl Broker for ModelBroker {
    fn open(&self, lane: i32, _deadline: Duration) -> KafkaFuture<'_, Box<dyn Producer>> {
        Box::pin(async move {
            self.shared.lock().check_opening(self.process, lane);
            self.call(lane, "broker: open").await?;
            let mut world = self.shared.lock();
            let World { broker, random, broken, .. } = &mut *world;
            let epoch = broker.fence(lane, self.process, random, broken);
            let producer = ModelProducer { broker: self.clone(), lane, epoch, worn: false.into() };
            Ok(Box::new(producer) as Box<dyn Producer>)
        })
    }

    fn tracking(&self, lane: i32, _patience: Duration) -> Box<dyn TrackingLog> {
        Box::new(ModelLog { broker: self.clone(), lane, position: 0 })
    }

    fn tracking_is_void(&self, _: Duration) -> Result<bool, KafkaFault> {
        Ok(false)
    }

    fn join(&self) -> Result<Membership, KafkaFault> {
        let (events, happened) = unbounded_channel();
        self.shared.lock().broker.group.join(self.process, events);
        Ok((Arc::new(ModelGroup(self.clone())), happened))
    }

    fn transaction_timeout(&self) -> Duration {
        Duration::from_secs(20)
    }
}

struct ModelProducer {
    broker: ModelBroker,
    lane: i32,
    epoch: u64,
    worn: std::cell::Cell<bool>,
}

impl ModelProducer {
    async fn call(&self, what: &'static str) -> Result<(), KafkaFault> {
        self.broker.call(self.lane, what).await?;
        if self.lane(&mut self.broker.shared.lock()).epoch == self.epoch {
            Ok(())
        } else {
            Err(KafkaFault::Fenced { lane: self.lane })
        }
    }

    fn lane<'w>(&self, world: &'w mut World) -> &'w mut LaneState {
        &mut world.broker.lanes[self.lane as usize]
    }
}

impl Producer for ModelProducer {
    fn begin(&self) -> KafkaFuture<'_, ()> {
        Box::pin(async {
            self.call("broker: begin").await?;
            let fate = Some(Fate::Open);
            let transaction = Transaction { fate, ..Transaction::default() };
            self.lane(&mut self.broker.shared.lock()).transactions.push(transaction);
            Ok(())
        })
    }

    fn deliver<'a>(&'a self, records: &'a [OutgoingRecord<'a>]) -> KafkaFuture<'a, Vec<Delivered>> {
        Box::pin(async move {
            self.call("broker: deliver").await?;
            let mut world = self.broker.shared.lock();
            if std::mem::take(&mut world.faults.delivery_fails) {
                return Err(passing("broker: deliver"));
            }
            let store_of = |record: &OutgoingRecord<'_>| {
                let id = record.headers.iter().find(|(key, _)| *key == "ce_id")?.1.to_string();
                id.split_once('/').map(|(store, _)| store.to_owned())
            };
            let is_refused =
                |store: String| world.market.shops.iter().any(|shop| shop.is_refused && shop.name == store);
            if records.iter().filter_map(store_of).any(is_refused) {
                world.market.refusals += 1;
                return Err(KafkaFault::TooLarge { bytes: 1 << 20 });
            }
            let lane = self.lane(&mut world);
            let transaction = lane.transactions.len() - 1;
            for record in records {
                if record.topic == TRACKING {
                    let (key, value) = (record.key.clone().unwrap(), record.value.clone());
                    let (key, value) = (key.into_owned(), value.map(Cow::into_owned));
                    lane.tracking.push(Entry { transaction, key, value });
                } else if record.topic == ORDERS {
                    let header = |name| record.headers.iter().find(|(key, _)| *key == name).unwrap().1.to_string();
                    let read = uuid::Uuid::parse_str(&header("traceparent")[3..35]).unwrap().to_string();
                    let (id, reason) = (header("ce_id"), header("imotriz-reason"));
                    let (key, revision) = id.rsplit_once('/').unwrap();
                    let (key, revision) = (key.to_owned(), revision.parse().unwrap());
                    lane.transactions[transaction].events.push(Event { key, revision, reason, read });
                }
            }
            Ok(records.iter().map(|_| Delivered { partition: 0, offset: 0 }).collect())
        })
    }

    fn commit(&self) -> KafkaFuture<'_, ()> {
        Box::pin(async {
            self.call("broker: commit").await?;
            let fault = self.broker.shared.lock().faults.commit.take();
            if fault == Some(CommitFault::Late) {
                tokio::time::sleep(Duration::from_secs(10)).await;
                self.call("broker: late commit").await?;
                self.worn.set(true);
            }
            let result = {
                let mut world = self.broker.shared.lock();
                let World { broker, broken, .. } = &mut *world;
                let lane = self.lane as usize;
                let last = broker.lanes[lane].transactions.len() - 1;
                match fault {
                    None | Some(CommitFault::Late) => {
                        broker.commit(lane, last, broken);
                        Ok(())
                    }
                    Some(CommitFault::AnswerLost) => {
                        broker.commit(lane, last, broken);
                        Err(passing("broker: commit"))
                    }
                    Some(CommitFault::RequestUnderWay) => {
                        broker.lanes[lane].transactions[last].fate = Some(Fate::Ending);
                        Err(passing("broker: commit"))
                    }
                    Some(CommitFault::RequestLost) => Err(passing("broker: commit")),
                    Some(CommitFault::TooOld) => {
                        broker.lanes[lane].transactions[last].fate = Some(Fate::Aborted);
                        Err(KafkaFault::Fenced { lane: self.lane })
                    }
                }
            };
            // The answer is on its way.
            self.broker.shared.call(self.broker.process, Actor::lane(self.lane), "broker: committed").await;
            result
        })
    }

    fn must_be_replaced(&self) -> bool {
        self.worn.get()
    }

    fn all_brokers_are_down(&self) -> bool {
        self.broker.shared.clock.elapsed() < self.broker.shared.lock().broker.away_until
    }
}

struct ModelLog {
    broker: ModelBroker,
    lane: i32,
    position: i64,
}

impl TrackingLog for ModelLog {
    fn lane(&self) -> i32 {
        self.lane
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn read_to_end(&mut self, apply: &mut Apply<'_>) -> Result<(), KafkaFault> {
        if !self.broker.shared.io(self.broker.process, "broker: read tracking") {
            return Err(passing("broker: read tracking"));
        }
        let mut world = self.broker.shared.lock();
        world.broker.group.has_read.insert((self.broker.process, self.lane));
        let lane = &world.broker.lanes[self.lane as usize];
        for entry in &lane.tracking[self.position as usize..] {
            match lane.transactions[entry.transaction].fate {
                Some(Fate::Committed) => {
                    if apply(self.position, &entry.key, entry.value.as_deref()) == ControlFlow::Break(()) {
                        return Ok(());
                    }
                }
                Some(Fate::Aborted) => {}
                _ => return Err(passing("broker: read tracking")),
            }
            self.position += 1;
        }
        Ok(())
    }
}
