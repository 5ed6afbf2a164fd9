//! A marketplace: what it hands over it marks, and hands over no more.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use imotriz_kafka::api::{Answer, ApiError, Marketplace, Read};
use imotriz_kafka::ids::{OrderId, OrderIds};
use secrecy::SecretString;

use crate::ops::ReadFault;
use crate::world::{Shared, World};

/// Orders on a page: few, so that many pages come.
const PAGE: usize = 5;

#[derive(Default)]
pub struct MarketState {
    /// Whether an order is marked, and how often it was changed.
    orders: BTreeMap<u64, (bool, u64)>,
    pub hidden: BTreeSet<u64>,
    /// The last page that came to its end, and to which process.
    last: Option<(u64, Bytes, Vec<u64>)>,
    /// How often each order was handed over, or would have been if the answer had arrived.
    pub marks: BTreeMap<u64, u64>,
    /// Orders that a 404 was answered for: they may be remembered as gone.
    pub denied: BTreeSet<u64>,
}

impl MarketState {
    pub fn place(&mut self) {
        let id = self.orders.len() as u64 + 1;
        self.orders.insert(id, (false, 0));
    }

    /// Un-synchronises it, changed or not.
    pub fn unsynchronise(&mut self, which: u64) {
        let count = self.orders.len() as u64;
        if let Some((marked, version)) = self.orders.get_mut(&(which % count.max(1) + 1)) {
            if *marked {
                *version += which % 2;
            }
            *marked = false;
        }
    }

    pub fn hide(&mut self, which: u64) {
        self.hidden.insert(which % (self.orders.len() as u64).max(1) + 1);
    }

    pub fn marked(&self) -> impl Iterator<Item = u64> {
        self.orders.iter().filter(|(_, (marked, _))| *marked).map(|(id, _)| *id)
    }

    pub fn pending(&self) -> usize {
        self.orders.values().filter(|(marked, _)| !marked).count()
    }

    fn record(&self, id: u64) -> String {
        let (_, version) = self.orders[&id];
        format!(r#"{{"order":{{"id":{id},"total":"{}.00"}}}}"#, 100 + version)
    }

    fn page(&mut self) -> Vec<u64> {
        let ids: Vec<u64> =
            self.orders.iter().filter(|(_, (marked, _))| !marked).map(|(id, _)| *id).take(PAGE).collect();
        for id in &ids {
            self.orders.get_mut(id).unwrap().0 = true;
            *self.marks.entry(*id).or_default() += 1;
        }
        ids
    }

    fn body(&self, ids: &[u64], returned: usize) -> Bytes {
        let records: Vec<String> = ids.iter().map(|id| self.record(*id)).collect();
        let (pending, found) = (self.pending(), self.pending() + ids.len());
        format!(
            r#"{{"total_transactions_found":{found},"returned_transactions":{returned},"pending_transactions":{pending},"data":[{}]}}"#,
            records.join(",")
        )
        .into()
    }
}

#[derive(Debug, Clone)]
pub struct ModelMarket {
    pub shared: Shared,
    pub process: u64,
}

fn check_read(world: &mut World, process: u64) {
    if !world.disk.holds_a_reservation() {
        world.breaks("a destructive read without a reserved file".to_owned());
    }
    if !world.broker.was_owned_by(process) {
        world.breaks("a destructive read by a process that never owned the lane".to_owned());
    }
    if let Some((reader, body, ids)) = world.market.last.take()
        && reader == process
        && !world.disk.holds_body(&body)
        && !ids.iter().all(|id| world.broker.has(*id))
    {
        world.breaks("the next read before the page of the last one was durable".to_owned());
    }
    world.check_nothing_is_silent();
    world.check_nothing_is_published_unasked();
}

fn cut() -> Read {
    Read::unknown("the connection broke".to_owned(), Bytes::new())
}

impl Marketplace for ModelMarket {
    fn new_orders<'a>(&'a self, _token: &'a SecretString) -> Answer<'a, Read> {
        Box::pin(async {
            self.shared.call(self.process, "market: new orders").await;
            let (fault, read, late) = {
                let mut world = self.shared.lock();
                check_read(&mut world, self.process);
                let fault = world.faults.read.take();
                let read = match fault {
                    Some(ReadFault::NotSent) => Read::NotSent { reason: "refused".to_owned() },
                    Some(ReadFault::Busy) => Read::Busy { retry_after: None },
                    Some(ReadFault::CutBefore) => cut(),
                    Some(ReadFault::EmptyPage) if world.market.pending() > 0 => {
                        Read::from_body(world.market.body(&[], 0))
                    }
                    fault => {
                        let ids = world.market.page();
                        let wrong = usize::from(fault == Some(ReadFault::WrongCount) && !ids.is_empty());
                        let body = world.market.body(&ids, ids.len() + wrong);
                        world.note(&format!("market: marks {ids:?}"));
                        if fault == Some(ReadFault::CutAfter) {
                            cut()
                        } else {
                            if !ids.is_empty() {
                                world.market.last = Some((self.process, body.clone(), ids));
                            }
                            Read::from_body(body)
                        }
                    }
                };
                (fault, read, fault == Some(ReadFault::Late))
            };
            if late {
                tokio::time::sleep(std::time::Duration::from_secs(60)).await;
            }
            let _: Option<ReadFault> = fault;
            // The answer is on its way.
            self.shared.call(self.process, "market: answers").await;
            read
        })
    }

    fn order_ids<'a>(&'a self, _token: &'a SecretString) -> Answer<'a, Result<OrderIds, ApiError>> {
        Box::pin(async {
            self.shared.call(self.process, "market: list").await;
            let ids: OrderIds = {
                let mut world = self.shared.lock();
                if std::mem::take(&mut world.faults.list_fails) {
                    return Err(ApiError::Failed("500".to_owned()));
                }
                let market = &world.market;
                let listed = market.orders.keys().filter(|id| !market.hidden.contains(id));
                listed.map(|id| id.to_string().parse::<OrderId>().unwrap()).collect()
            };
            self.shared.call(self.process, "market: listed").await;
            Ok(ids)
        })
    }

    fn order<'a>(&'a self, id: &'a OrderId, _token: &'a SecretString) -> Answer<'a, Result<Bytes, ApiError>> {
        Box::pin(async move {
            self.shared.call(self.process, "market: order").await;
            let mut world = self.shared.lock();
            let id: u64 = id.as_str().parse().unwrap();
            if std::mem::take(&mut world.faults.order_fails) {
                return Err(ApiError::Failed("500".to_owned()));
            }
            if std::mem::take(&mut world.faults.order_not_found) {
                world.market.denied.insert(id);
                return Err(ApiError::NotFound);
            }
            Ok(format!(r#"{{"data":{}}}"#, world.market.record(id)).into())
        })
    }
}
