//! A broker: transactions, fencing, and answers that are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use imotriz_kafka::kafka::broker::{Answer, Apply, Broker, Producer, TrackingLog};
use imotriz_kafka::kafka::{Delivered, KafkaFault, Record};
use tokio::time::Instant;

use crate::ops::CommitFault;
use crate::random::Random;
use crate::world::{Shared, World};

pub const ORDERS: &str = "orders";
pub const TRACKING: &str = "tracking";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    /// The request to commit is on its way.
    Ending,
    Committed,
    Aborted,
}

struct Event {
    id: String,
    read: String,
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
pub struct BrokerState {
    pub away_until: Duration,
    epoch: u64,
    transactions: Vec<Transaction>,
    tracking: Vec<Entry>,
    /// Last revision of each order, by committed events.
    pub revisions: BTreeMap<u64, u64>,
    /// Reads that brought a committed event.
    pub reads: BTreeSet<String>,
    /// Processes that have fenced the lane.
    owners: BTreeSet<u64>,
}

impl BrokerState {
    pub fn has(&self, order: u64) -> bool {
        self.revisions.contains_key(&order)
    }

    pub fn was_owned_by(&self, process: u64) -> bool {
        self.owners.contains(&process)
    }

    pub fn fence(&mut self, process: u64, random: &mut Random, broken: &mut Vec<String>) -> u64 {
        for index in 0..self.transactions.len() {
            match self.transactions[index].fate {
                Some(Fate::Open) => self.transactions[index].fate = Some(Fate::Aborted),
                Some(Fate::Ending) if random.one_in(2) => self.commit(index, broken),
                Some(Fate::Ending) => self.transactions[index].fate = Some(Fate::Aborted),
                _ => {}
            }
        }
        self.epoch += 1;
        self.owners.insert(process);
        self.epoch
    }

    fn commit(&mut self, index: usize, broken: &mut Vec<String>) {
        self.transactions[index].fate = Some(Fate::Committed);
        for Event { id, read } in &self.transactions[index].events {
            let mut parts = id.rsplit('/');
            let revision: u64 = parts.next().unwrap().parse().unwrap();
            let order: u64 = parts.next().unwrap().parse().unwrap();
            let last = self.revisions.get(&order).copied().unwrap_or(0);
            if revision <= last {
                broken.push(format!("event {id} is doubled"));
            } else if revision > last + 1 {
                broken.push(format!("event {id} comes after revision {last}"));
            }
            self.revisions.insert(order, revision);
            if !self.reads.insert(read.clone()) {
                // More events of the same page.
            }
        }
    }
}

#[derive(Clone)]
pub struct ModelBroker {
    pub shared: Shared,
    pub process: u64,
    pub born: Instant,
}

fn passing(what: &'static str) -> KafkaFault {
    KafkaFault::Passing { what, why: "the model says so".to_owned() }
}

impl ModelBroker {
    async fn call(&self, what: &'static str) -> Result<(), KafkaFault> {
        self.shared.call(self.process, what).await;
        if self.born.elapsed() < self.shared.lock().broker.away_until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            return Err(passing(what));
        }
        Ok(())
    }
}

impl Broker for ModelBroker {
    fn open(&self, lane: i32, _deadline: Duration) -> Answer<'_, Box<dyn Producer>> {
        Box::pin(async move {
            self.call("broker: open").await?;
            let mut world = self.shared.lock();
            let World { broker, random, broken, .. } = &mut *world;
            let epoch = broker.fence(self.process, random, broken);
            let producer = ModelProducer { broker: self.clone(), lane, epoch, worn: false.into() };
            Ok(Box::new(producer) as Box<dyn Producer>)
        })
    }

    fn tracking(&self, lane: i32, _patience: Duration) -> Box<dyn TrackingLog> {
        Box::new(ModelLog { broker: self.clone(), lane, position: 0 })
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
        self.broker.call(what).await?;
        if self.broker.shared.lock().broker.epoch == self.epoch {
            Ok(())
        } else {
            Err(KafkaFault::Fenced { lane: self.lane })
        }
    }
}

impl Producer for ModelProducer {
    fn begin(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.call("broker: begin").await?;
            let fate = Some(Fate::Open);
            self.broker.shared.lock().broker.transactions.push(Transaction { fate, ..Transaction::default() });
            Ok(())
        })
    }

    fn deliver<'a>(&'a self, records: &'a [Record<'a>]) -> Answer<'a, Vec<Delivered>> {
        Box::pin(async move {
            self.call("broker: deliver").await?;
            let mut world = self.broker.shared.lock();
            if std::mem::take(&mut world.faults.delivery_fails) {
                return Err(passing("broker: deliver"));
            }
            let broker = &mut world.broker;
            let transaction = broker.transactions.len() - 1;
            for record in records {
                if record.topic == TRACKING {
                    let (key, value) = (record.key.clone().unwrap(), record.value.clone());
                    broker.tracking.push(Entry { transaction, key, value });
                } else if record.topic == ORDERS {
                    let header = |name| record.headers.iter().find(|(key, _)| *key == name).unwrap().1.clone();
                    let read = uuid::Uuid::parse_str(&header("traceparent")[3..35]).unwrap().to_string();
                    broker.transactions[transaction].events.push(Event { id: header("ce_id"), read });
                }
            }
            Ok(records.iter().map(|_| Delivered { partition: 0, offset: 0 }).collect())
        })
    }

    fn commit(&self) -> Answer<'_, ()> {
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
                let last = broker.transactions.len() - 1;
                match fault {
                    None | Some(CommitFault::Late) => {
                        broker.commit(last, broken);
                        Ok(())
                    }
                    Some(CommitFault::AnswerLost) => {
                        broker.commit(last, broken);
                        Err(passing("broker: commit"))
                    }
                    Some(CommitFault::RequestUnderWay) => {
                        broker.transactions[last].fate = Some(Fate::Ending);
                        Err(passing("broker: commit"))
                    }
                    Some(CommitFault::RequestLost) => Err(passing("broker: commit")),
                    Some(CommitFault::TooOld) => {
                        broker.transactions[last].fate = Some(Fate::Aborted);
                        Err(KafkaFault::Fenced { lane: self.lane })
                    }
                }
            };
            // The answer is on its way.
            self.broker.shared.call(self.broker.process, "broker: committed").await;
            result
        })
    }

    fn is_worn(&self) -> bool {
        self.worn.get()
    }

    fn is_deserted(&self) -> bool {
        self.broker.born.elapsed() < self.broker.shared.lock().broker.away_until
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
        let world = self.broker.shared.lock();
        let broker = &world.broker;
        for entry in &broker.tracking[self.position as usize..] {
            match broker.transactions[entry.transaction].fate {
                Some(Fate::Committed) => {
                    if apply(&entry.key, entry.value.as_deref()) == ControlFlow::Break(()) {
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
