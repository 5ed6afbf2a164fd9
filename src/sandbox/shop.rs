//! The state of the marketplace: which orders there are, which of them are marked, and by which request.
//!
//! One lock guards it all, so that marking and returning are one step for everybody who looks. Where a file keeps the
//! state, each change is in it before it is made: see `journal`.

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

/// Why the control of the sandbox refuses something.
#[derive(Debug, Error)]
pub enum ShopError {
    /// There is no such order.
    #[error("there is no order {0}")]
    NoOrder(OrderId),
    /// A record that is inserted has to be JSON; nothing else is asked of it.
    #[error("the record is no JSON")]
    NotJson(#[source] serde_json::Error),
    /// Only an object with an `order` can be changed.
    #[error("the record of order {0} has no `order` that could be changed")]
    Unchangeable(OrderId),
    /// A fault that can't be.
    #[error(transparent)]
    Fault(#[from] FaultError),
}

/// The marketplace in a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Orders that there are.
    pub orders: usize,
    /// Those that the next reads will return.
    pub pending: usize,
    /// Those that are marked synchronised.
    pub marked: usize,
    /// Calls so far, by kind, refused ones included.
    pub requests: BTreeMap<Call, u64>,
    /// Faults that struck, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Steps of scripts that are still to come.
    pub scripted: usize,
}

/// An order as the sandbox sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderState {
    /// Its ID; none for an inserted record without one.
    pub id: Option<OrderId>,
    /// Whether the next reads will return it.
    pub pending: bool,
    /// The requests that marked it, in order; none if none did, or none of this process.
    pub marked_by: Option<Vec<u64>>,
    /// For each of `marked_by`, whether that answer was delivered.
    pub deliveries: Vec<Option<bool>>,
    /// Whether the latest of those answers left the server whole, so far as the server knows. None before a first
    /// one, and where it depends on the client's patience and limits.
    pub delivered: Option<bool>,
    /// When it was placed.
    pub created: Timestamp,
}

/// A call as it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestState {
    /// Counts from 1, over all kinds.
    pub number: u64,
    /// What was called.
    pub kind: Call,
    /// The path.
    pub path: String,
    /// The status; none where the connection was cut without an answer.
    pub status: Option<u16>,
    /// The orders that it returned, or would have; empty for a list of IDs.
    pub ids: Vec<Option<OrderId>>,
    /// The fault that struck.
    pub fault: Option<Fault>,
    /// Whether the records left the server whole.
    pub delivered: Option<bool>,
    /// When it came.
    pub at: Timestamp,
}

/// What of an order is to be changed.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// A new `order.status`.
    pub status: Option<String>,
    /// A new `order.total`, as JSON: a number or a text.
    pub total: Option<Value>,
}

/// The marketplace: a handle that can be cloned, used by the server, by its control and by tests alike.
#[derive(Debug, Clone)]
pub struct Shop(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    source: Orders,
    entries: Vec<Entry>,
    by_id: HashMap<OrderId, usize>,
    /// Indices of the orders that are not marked; the oldest are returned first.
    pending: BTreeSet<usize>,
    log: Vec<Logged>,
    faults: Faults,
    token: String,
    start_date: bool,
    page_size: usize,
    journal: Option<Journal>,
    rate_limit: Option<usize>,
    /// When the last calls were answered, as many as the limit lets through in a second.
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
    /// A marketplace with its first orders: `older` of them 9 to 29 days old, the others spread over the last 7 days. It
    /// keeps nothing.
    #[must_use]
    pub fn new(args: &SandboxArgs) -> Self {
        let mut state = State::empty(args);
        state.open(args);
        Self(Arc::new(Mutex::new(state)))
    }

    /// The marketplace that the state file holds, or a new one where it holds none or there is none.
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

    /// Where it is said that the state can't be kept any more; none where it isn't kept.
    pub(super) fn failure(&self) -> Option<watch::Receiver<Option<StateError>>> {
        self.state().journal.as_ref().map(Journal::failure)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done by a panic of a test that held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a call, and gives its number. `wait` is how long the server will hold back every answer: until it is
    /// [`Shop::sent`], a held back answer counts as not delivered.
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

    /// Notes that a held back answer is on its way.
    pub(super) fn sent(&self, number: u64) {
        if let Some(logged) = self.state().log.get_mut(number as usize - 1) {
            logged.delivered = logged.fault.map_or(Some(true), Fault::delivers);
        }
    }

    /// The marketplace in a word.
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

    /// Every order, oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderState> {
        let state = self.state();
        (0..state.entries.len()).map(|index| state.order_state(index)).collect()
    }

    /// Every call so far.
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

    /// The JSON of an order as it would be returned now.
    #[must_use]
    pub fn record(&self, id: &OrderId) -> Option<Bytes> {
        let state = self.state();
        state.by_id.get(id).map(|&index| state.entries[index].json.clone())
    }

    /// Places more orders, this many days ago, and gives their IDs.
    pub fn add(&self, count: usize, days_ago: u32) -> Vec<OrderId> {
        let mut state = self.state();
        let first = state.entries.len();
        state.add_between(count, days_ago.into(), days_ago.into());
        state.entries[first..].iter().filter_map(|entry| entry.id.clone()).collect()
    }

    /// Inserts a record as it is, pending and placed now; gives its ID if `/order/id` is one. If an order has that ID
    /// already there are then two, and by its ID the new one is found.
    ///
    /// # Errors
    /// [`ShopError::NotJson`]; nothing but that is asked of it.
    pub fn insert(&self, json: &str) -> Result<Option<OrderId>, ShopError> {
        let raw: &RawValue = serde_json::from_str(json).map_err(ShopError::NotJson)?;
        let value: Value = serde_json::from_str(json).map_err(ShopError::NotJson)?;
        let id = value.pointer("/order/id").and_then(order_id);
        let record = raw.get().to_owned();
        self.state().record(vec![Event::Inserted { id: id.clone(), created: Timestamp::now(), record }]);
        Ok(id)
    }

    /// Lets orders be returned once more, as a seller can by hand.
    ///
    /// # Errors
    /// [`ShopError::NoOrder`], and then none of them is.
    pub fn unsynchronise(&self, ids: &[OrderId]) -> Result<(), ShopError> {
        let mut state = self.state();
        let indices = state.indices(ids)?;
        state.record(vec![Event::Unsynchronised(indices)]);
        Ok(())
    }

    /// Changes an order; it does not become pending by that.
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

    /// Keeps orders out of the list of IDs, or lets them be unknown by their ID, or shows them again. Hidden from
    /// [`Call::NewOrders`], an order stays pending and is returned by no read.
    ///
    /// # Errors
    /// [`ShopError::NoOrder`], and then none is hidden.
    pub fn hide(&self, ids: &[OrderId], from: Call, hidden: bool) -> Result<(), ShopError> {
        let mut state = self.state();
        let orders = state.indices(ids)?;
        state.record(vec![Event::Hidden { orders, from, hidden }]);
        Ok(())
    }

    /// Replaces the token; the former is void at once.
    pub fn set_token(&self, token: &str) {
        self.state().record(vec![Event::Token(token.to_owned())]);
    }

    /// The token that is valid now.
    #[must_use]
    pub fn token(&self) -> String {
        self.state().token.clone()
    }

    /// Whether the seller has set "synchronise orders from"; without it every call answers 403.
    pub fn set_start_date(&self, configured: bool) {
        self.state().record(vec![Event::StartDate(configured)]);
    }

    /// Answers so many calls a second from now on; the others get a 429, which counts as the fault `throttle`.
    pub fn set_rate_limit(&self, calls: Option<usize>) {
        self.state().rate_limit = calls;
    }

    /// Gives the list of IDs in pages of so many from now on.
    pub fn set_list_page_size(&self, ids: Option<usize>) {
        self.state().list_page_size = ids;
    }

    /// Replaces the rates of all faults.
    pub fn set_fault_rates(&self, rates: Rates) {
        self.state().faults.set_rates(rates);
    }

    /// Queues up what the next calls of a kind meet, behind what is queued already; `None` is an answer without fault.
    /// A call that is refused (401, 403) uses up no step.
    ///
    /// # Errors
    /// [`FaultError::DoesNotFit`], and then nothing is queued up.
    pub fn script(&self, call: Call, steps: &[Option<Fault>]) -> Result<(), FaultError> {
        self.state().faults.script(call, steps)
    }

    /// Forgets the steps of scripts that are still to come.
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

    /// Adds orders at even distances, from so many days ago to so many days ago.
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

    /// Counts the call, if it is to be answered.
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

    /// The answer, and the orders that it returns: none under a fault that precedes marking.
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

    /// The list of IDs, or the page that is asked for.
    fn list(&self, page: Option<&str>, fault: Option<Fault>) -> Vec<u8> {
        let ids = self.listed();
        match self.list_page_size {
            Some(size) => id_page(&ids, page.and_then(|page| page.parse().ok()).unwrap_or(1), size.max(1)),
            None => id_list(ids, fault),
        }
    }

    /// The IDs of the last 8 days, each as a JSON value; a number where the ID reads as one.
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

/// An ID as it stands in JSON: a text, or a number's digits.
pub(super) fn order_id(value: &Value) -> Option<OrderId> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
