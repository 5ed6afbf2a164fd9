//! The marketplace's state: which orders there are, which of them are marked, and by which request.
//!
//! One lock guards it all, so that marking and returning orders is one atomic step. If a file keeps the state, each
//! change is written to it before it is made: see `journal`.

mod journal;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::sync::watch;

use self::journal::{Event, Journal};
use super::SandboxArgs;
use super::answer::{Answer, Page, id_list, id_page, single};
use super::faults::{Call, Fault, FaultError, Faults, Rates};
use super::orders::Orders;
use crate::order::ids::OrderId;

pub use self::journal::StateError;

/// How far back the list of IDs goes.
const LISTED: SignedDuration = SignedDuration::from_hours(8 * 24);
/// How far back an order is found by its ID.
const FOUND: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why a change of the shop is refused.
#[derive(Debug, Error)]
pub enum ShopError {
    #[error("there is no order {0}")]
    NoOrder(OrderId),
    /// The record to insert is no JSON, which is all that is asked of it.
    #[error("the record is no JSON")]
    NotJson(#[source] serde_json::Error),
    /// The record is no object with an `order`.
    #[error("the record of order {0} has no `order` that could be changed")]
    Unchangeable(OrderId),
    #[error(transparent)]
    Fault(#[from] FaultError),
}

/// The marketplace's state in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All orders.
    pub orders: usize,
    /// Orders that the next reads will return.
    pub pending: usize,
    /// Orders that are marked synchronised.
    pub marked: usize,
    /// Calls by kind, including refused ones.
    pub requests: BTreeMap<Call, u64>,
    /// Faults that struck, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Steps left in the scripts.
    pub scripted: usize,
}

/// An order's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderState {
    /// Its ID, or none for an inserted record without one.
    pub id: Option<OrderId>,
    /// Whether the next reads will return it.
    pub pending: bool,
    /// The requests that marked it, in their order. None if no request of this process did.
    pub marked_by: Option<Vec<u64>>,
    /// For each request of `marked_by`, whether its answer was delivered.
    pub deliveries: Vec<Option<bool>>,
    /// Whether the latest of these answers left the server whole. None if there is none, or if delivery depends on the
    /// client's timeouts and limits.
    pub delivered: Option<bool>,
    pub created: Timestamp,
}

/// A call and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestState {
    /// Counted from 1 over all kinds of calls.
    pub number: u64,
    pub kind: Call,
    pub path: String,
    /// The status, or none if the connection was cut before it.
    pub status: Option<u16>,
    /// The orders that the call returned or would have returned. Empty for a list of IDs.
    pub ids: Vec<Option<OrderId>>,
    pub fault: Option<Fault>,
    /// Whether the records left the server whole.
    pub delivered: Option<bool>,
    /// When the call arrived.
    pub at: Timestamp,
}

/// What to change in an order.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The new `order.status`.
    pub status: Option<String>,
    /// The new `order.total`, as a JSON number or string.
    pub total: Option<Value>,
}

/// The marketplace: a handle that server, control API and tests clone and share.
#[derive(Debug, Clone)]
pub struct Shop(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    source: Orders,
    entries: Vec<Entry>,
    by_id: HashMap<OrderId, usize>,
    /// Indices of the orders that are not marked. Reads return the oldest first.
    pending: BTreeSet<usize>,
    log: Vec<Logged>,
    faults: Faults,
    token: String,
    start_date: bool,
    page_size: usize,
    journal: Option<Journal>,
    rate_limit: Option<usize>,
    /// When the latest calls were answered: as many as the rate limit allows in a second.
    answered: VecDeque<Timestamp>,
    list_page_size: Option<usize>,
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
    path: String,
    status: Option<u16>,
    /// Indices of the orders.
    orders: Vec<usize>,
    fault: Option<Fault>,
    delivered: Option<bool>,
    at: Timestamp,
}

impl Shop {
    /// A new marketplace without a state file: `older` of its orders are 9 to 29 days old, the others are spread over
    /// the last 7 days.
    #[must_use]
    pub fn new(args: &SandboxArgs) -> Self {
        let mut state = State::empty(args);
        state.open(args);
        Self(Arc::new(Mutex::new(state)))
    }

    /// Loads the marketplace from the state file, or makes a new one if the file is empty or absent.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn resume(args: &SandboxArgs) -> Result<Self, StateError> {
        let Some(path) = &args.state else { return Ok(Self::new(args)) };
        let mut state = State::empty(args);
        state.resume(path)?;
        if state.entries.is_empty() {
            state.open(args);
        }
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// Tells once the state can't be written any more. None without a state file.
    pub(super) fn failure(&self) -> Option<watch::Receiver<Option<StateError>>> {
        self.state().journal.as_ref().map(Journal::failure)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panics under the lock leaves no change half made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a call, and returns its number. `wait` is how long the server will hold back the answer: until
    /// [`Shop::sent`], such an answer counts as not delivered.
    pub(super) fn call(
        &self,
        call: Call,
        path: &str,
        id: Option<&str>,
        token: Option<&[u8]>,
        wait: Duration,
    ) -> (u64, Answer) {
        self.state().call(call, path, id, token, wait)
    }

    /// Notes that an answer that was held back is on its way.
    pub(super) fn sent(&self, number: u64) {
        if let Some(logged) = self.state().log.get_mut(number as usize - 1) {
            logged.delivered = logged.fault.map_or(Some(true), Fault::delivers);
        }
    }

    /// Returns the state in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let state = self.state();
        let mut requests: BTreeMap<_, _> = Call::ALL.into_iter().map(|call| (call, 0)).collect();
        let mut faults = BTreeMap::new();
        for logged in &state.log {
            *requests.entry(logged.call).or_default() += 1;
            if let Some(fault) = logged.fault {
                *faults.entry(fault.name()).or_default() += 1;
            }
        }
        let (orders, pending) = (state.entries.len(), state.pending.len());
        Summary { orders, pending, marked: orders - pending, requests, faults, scripted: state.faults.scripted() }
    }

    /// Returns every order, the oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderState> {
        let state = self.state();
        (0..state.entries.len()).map(|index| state.order_state(index)).collect()
    }

    /// Returns every call so far.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestState> {
        let state = self.state();
        let shown = |(index, logged): (usize, &Logged)| RequestState {
            number: index as u64 + 1,
            kind: logged.call,
            path: logged.path.clone(),
            status: logged.status,
            ids: logged.orders.iter().map(|&order| state.entries[order].id.clone()).collect(),
            fault: logged.fault,
            delivered: logged.delivered,
            at: logged.at,
        };
        state.log.iter().enumerate().map(shown).collect()
    }

    /// Returns the JSON of an order as a call would return it now.
    #[must_use]
    pub fn record(&self, id: &OrderId) -> Option<Bytes> {
        let state = self.state();
        state.by_id.get(id).map(|&index| state.entries[index].json.clone())
    }

    /// Places more orders, dated this many days ago, and returns their IDs.
    pub fn add(&self, count: usize, days_ago: u32) -> Vec<OrderId> {
        let mut state = self.state();
        let first = state.entries.len();
        state.add_between(count, days_ago.into(), days_ago.into());
        state.entries[first..].iter().filter_map(|entry| entry.id.clone()).collect()
    }

    /// Inserts a record as it is, pending and placed now. Returns its ID, if `/order/id` is one. If another order has
    /// that ID, both stay, and a lookup by ID finds the new one.
    ///
    /// # Errors
    /// [`ShopError::NotJson`]. Nothing else is asked of the record.
    pub fn insert(&self, json: &str) -> Result<Option<OrderId>, ShopError> {
        let raw: &RawValue = serde_json::from_str(json).map_err(ShopError::NotJson)?;
        let value: Value = serde_json::from_str(json).map_err(ShopError::NotJson)?;
        let id = value.pointer("/order/id").and_then(order_id);
        let record = raw.get().to_owned();
        self.state().record(vec![Event::Inserted { id: id.clone(), created: Timestamp::now(), record }]);
        Ok(id)
    }

    /// Makes orders pending again, as a seller can do by hand.
    ///
    /// # Errors
    /// [`ShopError::NoOrder`]; then none of them is changed.
    pub fn unsynchronise(&self, ids: &[OrderId]) -> Result<(), ShopError> {
        let mut state = self.state();
        let indices = state.indices(ids)?;
        state.record(vec![Event::Unsynchronised(indices)]);
        Ok(())
    }

    /// Changes an order. This does not make it pending.
    ///
    /// # Errors
    /// [`ShopError::NoOrder`], or [`ShopError::Unchangeable`] for an inserted record without an `order`.
    pub fn change(&self, id: &OrderId, change: Change) -> Result<(), ShopError> {
        let mut state = self.state();
        let index = state.indices(std::slice::from_ref(id))?[0];
        let mut record: Value = serde_json::from_slice(&state.entries[index].json).map_err(ShopError::NotJson)?;
        let fields = record.pointer_mut("/order").and_then(Value::as_object_mut);
        let fields = fields.ok_or_else(|| ShopError::Unchangeable(id.clone()))?;
        fields.extend(change.status.map(|status| ("status".to_owned(), status.into())));
        fields.extend(change.total.map(|total| ("total".to_owned(), total)));
        state.record(vec![Event::Changed { order: index, record: record.to_string() }]);
        Ok(())
    }

    /// Hides orders from a call, or shows them again. An order that is hidden from [`Call::NewOrders`] stays pending,
    /// and no read returns it.
    ///
    /// # Errors
    /// [`ShopError::NoOrder`]; then none of them is hidden.
    pub fn hide(&self, ids: &[OrderId], from: Call, hidden: bool) -> Result<(), ShopError> {
        let mut state = self.state();
        let orders = state.indices(ids)?;
        state.record(vec![Event::Hidden { orders, from, hidden }]);
        Ok(())
    }

    /// Replaces the token. The former one is invalid at once.
    pub fn set_token(&self, token: &str) {
        self.state().record(vec![Event::Token(token.to_owned())]);
    }

    /// Returns the valid token.
    #[must_use]
    pub fn token(&self) -> String {
        self.state().token.clone()
    }

    /// Sets whether the seller has configured "synchronise orders from". Without it every call answers 403.
    pub fn set_start_date(&self, configured: bool) {
        self.state().record(vec![Event::StartDate(configured)]);
    }

    /// Answers only so many calls a second from now on. Others get a 429, which counts as the fault `throttle`.
    pub fn set_rate_limit(&self, calls: Option<usize>) {
        self.state().rate_limit = calls;
    }

    /// Splits the list of IDs into pages of so many from now on.
    pub fn set_list_page_size(&self, ids: Option<usize>) {
        self.state().list_page_size = ids;
    }

    /// Replaces the rates of all faults.
    pub fn set_fault_rates(&self, rates: Rates) {
        self.state().faults.set_rates(rates);
    }

    /// Appends what the next calls of a kind meet to its script; `None` is an answer without a fault. A call that is
    /// refused (401, 403) uses up no step.
    ///
    /// # Errors
    /// [`FaultError::DoesNotFit`]; then nothing is appended.
    pub fn script(&self, call: Call, steps: &[Option<Fault>]) -> Result<(), FaultError> {
        self.state().faults.script(call, steps)
    }

    /// Drops the steps left in all scripts.
    pub fn clear_scripts(&self) {
        self.state().faults.clear_scripts();
    }
}

impl State {
    fn empty(args: &SandboxArgs) -> Self {
        Self {
            source: Orders::new(args.country, args.seed),
            entries: Vec::new(),
            by_id: HashMap::new(),
            pending: BTreeSet::new(),
            log: Vec::new(),
            faults: Faults::new(args.faults.clone(), args.seed),
            token: args.token.clone(),
            start_date: true,
            page_size: args.page_size,
            rate_limit: args.rate_limit,
            answered: VecDeque::new(),
            list_page_size: args.list_page_size,
            journal: None,
        }
    }

    /// Places the first orders.
    fn open(&mut self, args: &SandboxArgs) {
        let older = args.older.min(args.orders);
        self.add_between(older, 29, 9);
        self.add_between(args.orders - older, 7, 0);
    }

    fn push(&mut self, id: Option<OrderId>, json: Bytes, created: Timestamp) {
        let index = self.entries.len();
        if let Some(id) = &id {
            self.by_id.insert(id.clone(), index);
        }
        self.entries.push(Entry { id, json, created, marked_by: Vec::new(), hidden_from: BTreeSet::new() });
        self.pending.insert(index);
    }

    /// Adds orders at even intervals, from `from_days` ago to `to_days` ago.
    fn add_between(&mut self, count: usize, from_days: i64, to_days: i64) {
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
    }

    fn indices(&self, ids: &[OrderId]) -> Result<Vec<usize>, ShopError> {
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

    fn call(
        &mut self,
        call: Call,
        path: &str,
        id: Option<&str>,
        token: Option<&[u8]>,
        wait: Duration,
    ) -> (u64, Answer) {
        let refusal = self.refusal(token);
        let fault = match &refusal {
            Some(_) => None,
            None if self.is_over_the_limit() => Some(Fault::Throttle(Duration::from_secs(1))),
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
            path: path.to_owned(),
            status: (!answer.is_cut()).then(|| answer.status.as_u16()),
            orders,
            fault,
            delivered: if answer.wait.is_zero() { fault.map_or(Some(true), Fault::delivers) } else { Some(false) },
            at: Timestamp::now(),
        });
        (self.log.len() as u64, answer)
    }

    /// Whether the rate limit refuses the call. A call that it allows is counted.
    fn is_over_the_limit(&mut self) -> bool {
        let Some(limit) = self.rate_limit else { return false };
        let now = Timestamp::now();
        let is_past = |at: &Timestamp| now.duration_since(*at) >= SignedDuration::from_secs(1);
        while self.answered.front().is_some_and(is_past) {
            self.answered.pop_front();
        }
        let is_over = self.answered.len() >= limit;
        if !is_over {
            self.answered.push_back(now);
        }
        is_over
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

/// Reads an ID from JSON: a string, or the digits of a number.
pub(super) fn order_id(value: &Value) -> Option<OrderId> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
