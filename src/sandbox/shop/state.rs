//! What a shop is made of: its orders, which of them are marked and by which call, and how it answers a call.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{OrderState, RequestState, ShopError, Summary};
use crate::order::ids::OrderId;
use crate::sandbox::SandboxArgs;
use crate::sandbox::answer::{Answer, Page, id_list, id_page, single};
use crate::sandbox::faults::{Call, Fault, Faults};
use crate::sandbox::host::Host;
use crate::sandbox::journal::Event;
use crate::sandbox::orders::Orders;

/// How far back the list of IDs goes.
const LISTED: SignedDuration = SignedDuration::from_hours(8 * 24);
/// How far back an order is found by its ID.
const FOUND: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The IDs of the first shop's orders begin behind this one.
const FIRST_ID: u64 = 4_810_000;
/// Room for the IDs of each shop, so that no two shops have one in common: a verdict over all of them needs IDs alone.
const IDS_OF_A_SHOP: u64 = 10_000_000;

#[derive(Debug)]
pub(super) struct State {
    /// The place among the shops of the host, from 0.
    index: usize,
    pub(super) host: Arc<Host>,
    source: Orders,
    entries: Vec<Entry>,
    by_id: HashMap<OrderId, usize>,
    /// Indices of the orders that are not marked. Reads return the oldest first.
    pending: BTreeSet<usize>,
    log: Vec<Logged>,
    pub(super) faults: Faults,
    pub(super) token: String,
    start_date: bool,
    page_size: usize,
    pub(super) list_page_size: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    id: Option<OrderId>,
    json: Bytes,
    created: Timestamp,
    /// Indices into the log.
    marked_by: Vec<usize>,
    hidden_from: BTreeSet<Call>,
}

#[derive(Debug)]
struct Logged {
    call: Call,
    path: Cow<'static, str>,
    status: Option<u16>,
    /// Indices of the orders.
    orders: Vec<usize>,
    fault: Option<Fault>,
    delivered: Option<bool>,
    at: Timestamp,
}

impl State {
    pub(super) fn new(args: &SandboxArgs, index: usize, host: Arc<Host>) -> Self {
        let token = if args.shops.is_some() { name(index) } else { args.token.clone() };
        host.admit(&token, index);
        let seed = args.seed.wrapping_add(index as u64);
        Self {
            index,
            host,
            source: Orders::new(args.country, seed, FIRST_ID + index as u64 * IDS_OF_A_SHOP),
            entries: Vec::new(),
            by_id: HashMap::new(),
            pending: BTreeSet::new(),
            log: Vec::new(),
            faults: Faults::new(args.faults.clone(), seed),
            token,
            start_date: true,
            page_size: args.page_size,
            list_page_size: args.list_page_size,
        }
    }

    pub(super) fn name(&self) -> String {
        name(self.index)
    }

    pub(super) fn open(&mut self, args: &SandboxArgs) {
        if self.entries.is_empty() {
            let older = args.older.min(args.orders);
            self.add_between(older, 29, 9);
            self.add_between(args.orders - older, 7, 0);
        }
    }

    /// Writes events to the state file, if there is one, and then applies them. Returns false and applies none if the
    /// write failed.
    pub(super) fn record(&mut self, events: Vec<Event>) -> bool {
        // guard: what was handed over is remembered before the answer
        if self.host.journal().is_some_and(|mut journal| !journal.append(self.index, &events)) {
            return false;
        }
        events.into_iter().for_each(|event| self.apply(event));
        true
    }

    pub(super) fn replay(&mut self, event: Event) -> bool {
        if !self.knows_orders_of(&event) {
            return false;
        }
        if let Event::Placed { id, .. } = &event {
            self.source.go_on_after(id);
        }
        self.apply(event);
        true
    }

    fn knows_orders_of(&self, event: &Event) -> bool {
        let known = |order: &usize| *order < self.entries.len();
        match event {
            Event::Marked(orders) | Event::Unsynchronised(orders) | Event::Hidden { orders, .. } => {
                orders.iter().all(known)
            }
            Event::Changed { order, .. } => known(order),
            Event::Placed { .. } | Event::Inserted { .. } | Event::Token(_) | Event::StartDate(_) => true,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Placed { id, created, record } => self.push(Some(id), record.into(), created),
            Event::Inserted { id, created, record } => self.push(id, record.into(), created),
            Event::Marked(orders) => orders.iter().for_each(|order| {
                self.pending.remove(order);
            }),
            Event::Unsynchronised(orders) => self.pending.extend(orders),
            Event::Changed { order, record } => self.entries[order].json = record.into(),
            Event::Hidden { orders, from, hidden } => orders.into_iter().for_each(|order| {
                let hidden_from = &mut self.entries[order].hidden_from;
                if hidden {
                    hidden_from.insert(from);
                } else {
                    hidden_from.remove(&from);
                }
            }),
            Event::Token(token) => {
                self.host.admit(&token, self.index);
                self.token = token;
            }
            Event::StartDate(configured) => self.start_date = configured,
        }
    }

    fn push(&mut self, id: Option<OrderId>, json: Bytes, created: Timestamp) {
        let index = self.entries.len();
        if let Some(id) = &id {
            self.by_id.insert(id.clone(), index);
        }
        self.entries.push(Entry { id, json, created, marked_by: Vec::new(), hidden_from: BTreeSet::new() });
        self.pending.insert(index);
    }

    /// Adds orders at even intervals, from `from_days` ago to `to_days` ago, and returns their IDs.
    pub(super) fn add_between(&mut self, count: usize, from_days: i64, to_days: i64) -> Vec<OrderId> {
        let first = self.entries.len();
        let now = Timestamp::now();
        let span = (from_days - to_days) * 86_400;
        let placed = (0..count).map(|index| {
            let age = from_days * 86_400 - span * (index as i64 + 1) / count as i64;
            let created = now - SignedDuration::from_secs(age);
            let record = self.source.next(created);
            Event::Placed { id: record.id, created, record: record.json }
        });
        let placed = placed.collect();
        self.record(placed);
        self.entries[first..].iter().filter_map(|entry| entry.id.clone()).collect()
    }

    pub(super) fn json(&self, id: &OrderId) -> Option<Bytes> {
        self.by_id.get(id).map(|&index| self.entries[index].json.clone())
    }

    pub(super) fn json_at(&self, index: usize) -> &[u8] {
        &self.entries[index].json
    }

    pub(super) fn summary(&self) -> Summary {
        let mut requests: BTreeMap<_, _> = Call::ALL.into_iter().map(|call| (call, 0)).collect();
        let mut faults = BTreeMap::new();
        for logged in &self.log {
            *requests.entry(logged.call).or_default() += 1;
            if let Some(fault) = logged.fault {
                *faults.entry(fault.name()).or_default() += 1;
            }
        }
        let (orders, pending) = (self.entries.len(), self.pending.len());
        Summary { orders, pending, marked: orders - pending, requests, faults, scripted: self.faults.scripted() }
    }

    pub(super) fn orders(&self) -> Vec<OrderState> {
        (0..self.entries.len()).map(|index| self.order_state(index)).collect()
    }

    pub(super) fn requests(&self) -> Vec<RequestState> {
        let shown = |(index, logged): (usize, &Logged)| RequestState {
            number: index as u64 + 1,
            kind: logged.call,
            path: logged.path.to_string(),
            status: logged.status,
            ids: logged.orders.iter().map(|&order| self.entries[order].id.clone()).collect(),
            fault: logged.fault,
            delivered: logged.delivered,
            at: logged.at,
        };
        self.log.iter().enumerate().map(shown).collect()
    }

    pub(super) fn sent(&mut self, number: u64) {
        if let Some(logged) = self.log.get_mut(number as usize - 1) {
            logged.delivered = logged.fault.map_or(Some(true), Fault::delivers);
        }
    }

    pub(super) fn indices(&self, ids: &[OrderId]) -> Result<Vec<usize>, ShopError> {
        ids.iter().map(|id| self.by_id.get(id).copied().ok_or_else(|| ShopError::NoOrder(id.clone()))).collect()
    }

    fn order_state(&self, index: usize) -> OrderState {
        let entry = &self.entries[index];
        let deliveries: Vec<_> = entry.marked_by.iter().map(|&request| self.log[request].delivered).collect();
        OrderState {
            id: entry.id.clone(),
            pending: self.pending.contains(&index),
            marked_by: (!entry.marked_by.is_empty())
                .then(|| entry.marked_by.iter().map(|&request| request as u64 + 1).collect()),
            delivered: deliveries.last().copied().flatten(),
            deliveries,
            created: entry.created,
        }
    }

    pub(super) fn call(
        &mut self,
        call: Call,
        path: Cow<'static, str>,
        id: Option<&str>,
        token: Option<&[u8]>,
        wait: Duration,
    ) -> (u64, Answer) {
        let refusal = self.refusal(token);
        let fault = match &refusal {
            Some(_) => None,
            None if self.host.is_over_the_limit() => Some(Fault::Throttle(Duration::from_secs(1))),
            None => self.faults.next(call),
        };
        let (mut answer, orders) = match refusal {
            Some(refusal) => (refusal, Vec::new()),
            None => self.answer(call, id, fault),
        };
        if let Some(fault) = fault {
            answer = answer.under(fault);
        }
        answer.wait += wait;
        self.log.push(Logged {
            call,
            path,
            status: (!answer.is_cut()).then(|| answer.status.as_u16()),
            orders,
            fault,
            delivered: if answer.wait.is_zero() { fault.map_or(Some(true), Fault::delivers) } else { Some(false) },
            at: Timestamp::now(),
        });
        (self.log.len() as u64, answer)
    }

    fn refusal(&self, token: Option<&[u8]>) -> Option<Answer> {
        if token != Some(self.token.as_bytes()) {
            Some(Answer::error(StatusCode::UNAUTHORIZED, "Token no válido"))
        } else if !self.start_date {
            Some(Answer::error(StatusCode::FORBIDDEN, "Fecha de inicio no configurada"))
        } else {
            None
        }
    }

    /// Returns the answer and the orders in it. There are none under a fault that strikes before the marking.
    fn answer(&mut self, call: Call, id: Option<&str>, fault: Option<Fault>) -> (Answer, Vec<usize>) {
        match call {
            Call::NewOrders => self.new_orders(fault),
            Call::OrderIds => (Answer::json(self.list(id, fault)), Vec::new()),
            Call::Order if fault.is_some_and(Fault::precedes_marking) => (Answer::json(Vec::new()), Vec::new()),
            Call::Order => self.order(id.unwrap_or_default()),
        }
    }

    fn new_orders(&mut self, fault: Option<Fault>) -> (Answer, Vec<usize>) {
        let limit = match fault {
            Some(fault) if fault.precedes_marking() => 0,
            Some(Fault::Overfull) => self.page_size + 1,
            _ => self.page_size,
        };
        let found = self.pending.len();
        let visible = |index: &usize| !self.entries[*index].hidden_from.contains(&Call::NewOrders);
        let taken: Vec<usize> = self.pending.iter().copied().filter(visible).take(limit).collect();
        if !taken.is_empty() && !self.record(vec![Event::Marked(taken.clone())]) {
            return (Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "Error desconocido en el servidor"), Vec::new());
        }
        let request = self.log.len();
        for index in &taken {
            self.entries[*index].marked_by.push(request);
        }
        let records = taken.iter().map(|&index| self.entries[index].json.clone()).collect();
        (Answer::json(Page { records, found, pending: self.pending.len() }.render(fault)), taken)
    }

    /// Renders the list of IDs, or the page of it that is asked for.
    fn list(&self, page: Option<&str>, fault: Option<Fault>) -> Vec<u8> {
        let ids = self.listed();
        match self.list_page_size {
            Some(size) => id_page(&ids, page.and_then(|page| page.parse().ok()).unwrap_or(1), size.max(1)),
            None => id_list(ids, fault),
        }
    }

    /// The IDs of the last 8 days as JSON values: a number if the ID reads as one.
    fn listed(&self) -> Vec<Bytes> {
        let oldest = Timestamp::now() - LISTED;
        self.entries
            .iter()
            .filter(|entry| entry.created >= oldest && !entry.hidden_from.contains(&Call::OrderIds))
            .filter_map(|entry| entry.id.as_ref())
            .map(|id| match id.as_str().parse::<u64>() {
                Ok(number) if number.to_string() == id.as_str() => Bytes::from(number.to_string()),
                _ => Bytes::from(Value::from(id.as_str()).to_string()),
            })
            .collect()
    }

    fn order(&self, id: &str) -> (Answer, Vec<usize>) {
        let found = id.parse().ok().and_then(|id: OrderId| self.by_id.get(&id).copied());
        let oldest = Timestamp::now() - FOUND;
        let visible = |entry: &Entry| entry.created >= oldest && !entry.hidden_from.contains(&Call::Order);
        match found.filter(|&index| visible(&self.entries[index])) {
            Some(index) => (Answer::json(single(&self.entries[index].json)), vec![index]),
            None => (Answer::error(StatusCode::NOT_FOUND, "Orden no encontrada"), Vec::new()),
        }
    }
}

/// The name of a shop, which is also its first token where there are several.
fn name(index: usize) -> String {
    format!("shop-{}", index + 1)
}
