//! A model of the marketplace, with one client for each store. It marks the orders that it hands over, and hands them
//! over once.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use imotriz_kafka::marketplace::body::IdList;
use imotriz_kafka::marketplace::client::{ApiError, ApiFuture, Marketplace, NoOrders, Read, Refusal};
use imotriz_kafka::order::ids::{OrderId, OrderIds};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use crate::ops::ReadFault;
use crate::world::{Actor, Shared, World, instance_of};

/// Orders on a page: few, so that many pages come.
const PAGE: usize = 5;
const LONG: usize = 8 << 10;
const NOTICE: &str = "<br />\n<b>Warning</b>:  Undefined array key in <b>/srv/{api}.php</b> on line <b>12</b><br />\n";
const LISTED: SignedDuration = SignedDuration::from_hours(8 * 24);
/// Older orders are not handed over any more, and can't be un-synchronised.
const FOUND: SignedDuration = SignedDuration::from_hours(30 * 24);

pub struct Order {
    pub placed: Timestamp,
    pub marked: bool,
    /// How often it was changed.
    version: u64,
}

/// One store's.
pub struct Shop {
    pub name: &'static str,
    pub orders: BTreeMap<u64, Order>,
    /// Which token is valid: they are told apart by their length.
    pub token: usize,
    /// Which one the program finds in the store's file.
    pub token_in_file: usize,
    /// The list does not show these for a while.
    pub hidden: BTreeSet<u64>,
    /// The last page that came to its end, and to which process.
    last: Option<(u64, Bytes, Vec<u64>)>,
    gap: Gap,
    /// The process that was told last, and by the last answer, that nothing is pending.
    idle: Option<u64>,
    /// The process whose last read was a poll, which is not announced.
    pub polled_by: Option<u64>,
    /// Whether Kafka takes no record of it.
    pub is_refused: bool,
}

/// Reads without a good answer. Where as many orders became pending meanwhile as they marked, the counts show nothing of
/// it: see `account/gap.rs`.
#[derive(Default)]
struct Gap {
    lost: Vec<u64>,
    news: bool,
    answer: Option<GoodAnswer>,
}

/// It ends the gap if its process lives on.
struct GoodAnswer {
    process: u64,
    ids: Vec<u64>,
    /// Whether orders became pending since the one before.
    news: bool,
}

/// How often an order was asked for.
#[derive(Default)]
pub struct Asked {
    /// It was handed over, or would have been if the answer had arrived.
    pub marked: u64,
    /// An operator asked for it.
    pub republished: u64,
}

#[derive(Default)]
pub struct MarketState {
    pub shops: Vec<Shop>,
    pub asked: BTreeMap<String, Asked>,
    /// Orders that may be missing without anybody's knowledge, since the marketplace said that they are not there, or
    /// since its counts did not show that they were marked.
    pub excused: BTreeSet<String>,
    /// How often a record was refused.
    pub refusals: u64,
}

impl Shop {
    pub fn new(name: &'static str) -> Self {
        let (orders, hidden) = (BTreeMap::new(), BTreeSet::new());
        Self {
            name,
            orders,
            token: 1,
            token_in_file: 1,
            hidden,
            last: None,
            gap: Gap::default(),
            idle: None,
            polled_by: None,
            is_refused: false,
        }
    }

    pub fn key(&self, id: u64) -> String {
        format!("{}/{id}", self.name)
    }

    fn place(&mut self, now: Timestamp) {
        let id = self.orders.len() as u64 + 1;
        self.orders.insert(id, Order { placed: now, marked: false, version: 0 });
        self.gap.news = true;
    }

    fn pending(&self, now: Timestamp) -> impl Iterator<Item = u64> {
        self.orders.iter().filter(move |(_, order)| !order.marked && now - FOUND < order.placed).map(|(id, _)| *id)
    }

    pub fn listed(&self, now: Timestamp) -> impl Iterator<Item = u64> {
        self.orders.iter().filter(move |(_, order)| now - LISTED < order.placed).map(|(id, _)| *id)
    }

    pub fn record(&self, id: u64) -> String {
        let Order { placed, version, .. } = &self.orders[&id];
        let (key, total) = (self.key(id), 100 + version);
        format!(r#"{{"order":{{"id":{id},"key":"{key}","created_at":"{placed}","total":"{total}.00"}}}}"#)
    }

    fn body(&self, ids: &[u64], returned: usize, now: Timestamp) -> Bytes {
        let records: Vec<String> = ids.iter().map(|id| self.record(*id)).collect();
        let pending = self.pending(now).count();
        let found = pending + ids.len();
        format!(
            r#"{{"data":[{}],"metadata":{{"total_transactions_found":{found},"returned_transactions":{returned},"pending_transactions":{pending}}}}}{}"#,
            records.join(","),
            self.padding(now)
        )
        .into()
    }

    /// Long answers are looked into while they are written, short ones before.
    fn padding(&self, now: Timestamp) -> String {
        let is_long = (self.pending(now).count() + self.orders.len()).is_multiple_of(3);
        " ".repeat(if is_long { LONG } else { 0 })
    }

    /// A read begins. Whoever reads once more has taken the answer of the read before into account. Returns orders of
    /// which nothing shows that they were marked.
    fn begin_read(&mut self, process: u64) -> Vec<String> {
        let Some(answer) = self.gap.answer.take() else { return Vec::new() };
        if answer.process != process {
            self.gap.news |= answer.news;
            self.gap.lost.extend(answer.ids);
            return Vec::new();
        }
        let lost = mem::take(&mut self.gap.lost);
        if answer.news { lost.into_iter().map(|id| self.key(id)).collect() } else { Vec::new() }
    }
}

impl MarketState {
    pub fn shop(&self, name: &str) -> usize {
        self.shops.iter().position(|shop| shop.name == name).unwrap()
    }

    pub fn place(&mut self, store: u64, now: Timestamp) {
        let shops = self.shops.len() as u64;
        self.shops[(store % shops) as usize].place(now);
    }

    fn pick(&mut self, which: u64) -> Option<(&mut Shop, u64)> {
        let orders: Vec<(usize, u64)> =
            (0..self.shops.len()).flat_map(|shop| self.shops[shop].orders.keys().map(move |id| (shop, *id))).collect();
        let (shop, id) = *orders.get((which % (orders.len() as u64).max(1)) as usize)?;
        Some((&mut self.shops[shop], id))
    }

    /// Un-synchronises it, changed or not.
    pub fn unsynchronise(&mut self, which: u64, now: Timestamp) {
        let Some((shop, id)) = self.pick(which) else { return };
        let order = shop.orders.get_mut(&id).unwrap();
        if order.marked && now - FOUND < order.placed {
            order.marked = false;
            order.version += which % 2;
            shop.gap.news = true;
        }
    }

    pub fn change(&mut self, which: u64) {
        if let Some((shop, id)) = self.pick(which) {
            shop.orders.get_mut(&id).unwrap().version += 1;
        }
    }

    pub fn hide(&mut self, which: u64) {
        let Some((shop, id)) = self.pick(which) else { return };
        shop.hidden.insert(id);
        let key = shop.key(id);
        self.excused.insert(key);
    }

    /// An operator wants it, and it is not so old that it may be forgotten that it was ever published.
    pub fn republish(&mut self, which: u64, now: Timestamp) -> Option<(&'static str, u64)> {
        let (shop, id) = self.pick(which)?;
        let (name, key) = (shop.name, shop.key(id));
        if shop.orders[&id].placed <= now - FOUND {
            return None;
        }
        self.asked.entry(key).or_default().republished += 1;
        Some((name, id))
    }

    pub fn marked(&self) -> impl Iterator<Item = (&Shop, u64)> {
        let marked = |shop: &Shop| shop.orders.iter().filter(|(_, order)| order.marked).map(|(id, _)| *id).collect();
        self.shops.iter().flat_map(move |shop| {
            let ids: Vec<u64> = marked(shop);
            ids.into_iter().map(move |id| (shop, id))
        })
    }

    /// Orders that nobody read in time.
    pub fn too_old(&self, now: Timestamp) -> impl Iterator<Item = String> {
        self.shops.iter().flat_map(move |shop| {
            let old = shop.orders.iter().filter(move |(_, order)| !order.marked && order.placed <= now - FOUND);
            old.map(|(id, _)| shop.key(*id))
        })
    }

    /// Whether nobody can hand this order over any more: what is only possibly lost is told no longer than that.
    pub fn is_out_of_reach(shop: &Shop, id: u64, now: Timestamp) -> bool {
        shop.orders[&id].placed <= now - FOUND
    }

    pub fn pending(&self, now: Timestamp) -> usize {
        self.shops.iter().map(|shop| shop.pending(now).count()).sum()
    }
}

#[derive(Debug, Clone)]
pub struct ModelMarket {
    pub shared: Shared,
    pub process: u64,
    pub shop: usize,
}

impl ModelMarket {
    fn is_refused(&self, token: &SecretString) -> bool {
        token.expose_secret().len() != self.shared.lock().market.shops[self.shop].token
    }

    fn check_read(&self, world: &mut World) {
        world.at = instance_of(self.process);
        let shop = &mut world.market.shops[self.shop];
        let (name, is_idle) = (shop.name, shop.idle.take() == Some(self.process));
        let is_announced = world.disk().holds_an_announcement(name);
        // With several instances the last answer may have been another one's.
        let may_be_a_poll = (is_idle || world.is_shared()) && world.disk().says_alive();
        if !is_announced && !may_be_a_poll {
            world.breaks(format!("a destructive read of {name} that is neither announced nor a poll"));
        }
        let is_poll = !world.disk().announces_now(name);
        world.market.shops[self.shop].polled_by = is_poll.then_some(self.process);
        if !world.broker.was_owned_by(name, self.process) {
            world.breaks(format!("a destructive read of {name} by a process that never owned the lane"));
        }
        if let Some((reader, body, ids)) = world.market.shops[self.shop].last.take()
            && reader == self.process
            && !world.disk().pages().any(|page| page == body)
            && !ids.iter().all(|id| world.broker.has(&world.market.shops[self.shop].key(*id)))
        {
            world.breaks(format!("the next read of {name} before the page of the last one was durable"));
        }
        let unseen = world.market.shops[self.shop].begin_read(self.process);
        world.market.excused.extend(unseen);
        if !world.is_shared() {
            world.check_nothing_is_silent(&self.shared.clock);
        }
        world.check_nothing_is_published_unasked(&self.shared.clock);
    }

    /// Marks a page; what of it comes back is the fault's.
    fn mark(&self, world: &mut World, fault: Option<ReadFault>, now: Timestamp) -> Read {
        let shop = &mut world.market.shops[self.shop];
        let ids: Vec<u64> = shop.pending(now).take(PAGE).collect();
        ids.iter().for_each(|id| shop.orders.get_mut(id).unwrap().marked = true);
        let wrong = usize::from(fault == Some(ReadFault::WrongCount) && !ids.is_empty());
        let mut body = shop.body(&ids, ids.len() + wrong, now);
        if fault == Some(ReadFault::Notice) {
            body = [NOTICE.as_bytes(), &body].concat().into();
        }
        for id in &ids {
            world.market.asked.entry(shop.key(*id)).or_default().marked += 1;
        }
        let shop = &mut world.market.shops[self.shop];
        let read = if fault == Some(ReadFault::CutAfter) {
            shop.gap.lost.extend(&ids);
            cut()
        } else if fault == Some(ReadFault::NoPage) {
            shop.gap.lost.extend(&ids);
            // Or an empty page that says that it is none.
            let is_html = ids.len().is_multiple_of(2);
            Read::fetched(if is_html {
                format!("<html>{}", shop.padding(now)).into()
            } else {
                shop.body(&[], ids.len(), now)
            })
        } else {
            let news = mem::take(&mut shop.gap.news);
            shop.gap.answer = Some(GoodAnswer { process: self.process, ids: ids.clone(), news });
            if !ids.is_empty() {
                shop.last = Some((self.process, body.clone(), ids.clone()));
            }
            let is_empty = shop.pending(now).next().is_none();
            shop.idle = is_empty.then_some(self.process);
            Read::fetched(body)
        };
        let name = shop.name;
        world.note(&format!("market: {name} marks {ids:?}"));
        read
    }
}

fn cut() -> Read {
    Read::unknown("the connection broke".to_owned(), Bytes::new())
}

impl Marketplace for ModelMarket {
    fn new_orders<'a>(&'a self, token: &'a SecretString) -> ApiFuture<'a, Read> {
        Box::pin(async {
            self.shared.call(self.process, Actor::drain(self.shop), "market: new orders").await;
            let (read, is_late) = {
                let refused = self.is_refused(token);
                let now = self.shared.clock.true_time();
                let mut world = self.shared.lock();
                let was_idle = world.market.shops[self.shop].idle;
                self.check_read(&mut world);
                let fault = world.faults.read.take();
                let shop = &world.market.shops[self.shop];
                let read = match fault {
                    Some(ReadFault::NotSent) => Read::NotSent { reason: "refused".to_owned() },
                    Some(ReadFault::Busy) => {
                        // Nobody looked at the orders: what was said of them before still holds.
                        world.market.shops[self.shop].idle = was_idle;
                        Read::Busy { retry_after: None }
                    }
                    Some(ReadFault::CutBefore) => cut(),
                    _ if refused => Read::Refused(Refusal::Token),
                    Some(ReadFault::EmptyPage) if shop.pending(now).next().is_some() => {
                        Read::fetched(shop.body(&[], 0, now))
                    }
                    Some(ReadFault::NoContent) if shop.pending(now).next().is_none() => {
                        drop(self.mark(&mut world, fault, now));
                        Read::NoOrders(NoOrders::NoContent)
                    }
                    fault => self.mark(&mut world, fault, now),
                };
                (read, fault == Some(ReadFault::Late))
            };
            if is_late {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            // The answer is on its way.
            self.shared.call(self.process, Actor::drain(self.shop), "market: answers").await;
            read
        })
    }

    fn order_ids<'a>(&'a self, _page: Option<u64>, token: &'a SecretString) -> ApiFuture<'a, Result<IdList, ApiError>> {
        Box::pin(async {
            self.shared.call(self.process, Actor::reconciler(self.shop), "market: list").await;
            let ids: OrderIds = {
                let refused = self.is_refused(token);
                let now = self.shared.clock.true_time();
                let mut world = self.shared.lock();
                if std::mem::take(&mut world.faults.list_fails) {
                    return Err(ApiError::Failed("500".to_owned()));
                }
                if refused {
                    return Err(Refusal::Token.into());
                }
                let shop = &world.market.shops[self.shop];
                let listed = shop.listed(now).filter(|id| !shop.hidden.contains(id));
                listed.map(|id| id.to_string().parse::<OrderId>().unwrap()).collect()
            };
            self.shared.call(self.process, Actor::reconciler(self.shop), "market: listed").await;
            Ok(ids.into())
        })
    }

    fn order<'a>(&'a self, id: &'a OrderId, token: &'a SecretString) -> ApiFuture<'a, Result<Bytes, ApiError>> {
        Box::pin(async move {
            self.shared.call(self.process, Actor::reconciler(self.shop), "market: order").await;
            let body = {
                let refused = self.is_refused(token);
                let mut world = self.shared.lock();
                let id: u64 = id.as_str().parse().unwrap();
                if std::mem::take(&mut world.faults.order_fails) {
                    return Err(ApiError::Failed("500".to_owned()));
                }
                if refused {
                    return Err(Refusal::Token.into());
                }
                let shop = &world.market.shops[self.shop];
                if !shop.orders.contains_key(&id) {
                    return Err(ApiError::NotFound);
                }
                let (key, record) = (shop.key(id), shop.record(id));
                if std::mem::take(&mut world.faults.order_not_found) {
                    world.market.excused.insert(key);
                    return Err(ApiError::NotFound);
                }
                format!(r#"{{"data":{record}}}"#).into()
            };
            // It may change while the answer is on its way.
            self.shared.call(self.process, Actor::reconciler(self.shop), "market: gives an order").await;
            Ok(body)
        })
    }
}
