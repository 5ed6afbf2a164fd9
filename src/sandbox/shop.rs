//! One shop of the marketplace, to be read and changed while it is served.
//!
//! One lock guards all that belongs to it, so that marking and returning orders is one atomic step. If a file keeps the
//! state, each change is written to it before it is made.

mod state;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter::Sum;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

use self::state::State;
use super::SandboxArgs;
use super::answer::Answer;
use super::faults::{Call, Fault, FaultError, Rates};
use super::host::Host;
use super::journal::Event;
use crate::order::ids::OrderId;

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

/// The state of a shop, or of several, in numbers.
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

impl Sum for Summary {
    fn sum<I: Iterator<Item = Self>>(summaries: I) -> Self {
        let requests = Call::ALL.into_iter().map(|call| (call, 0)).collect();
        let none = Self { orders: 0, pending: 0, marked: 0, requests, faults: BTreeMap::new(), scripted: 0 };
        summaries.fold(none, |mut sum, one| {
            sum.orders += one.orders;
            sum.pending += one.pending;
            sum.marked += one.marked;
            sum.scripted += one.scripted;
            one.requests.into_iter().for_each(|(call, count)| *sum.requests.entry(call).or_default() += count);
            one.faults.into_iter().for_each(|(fault, count)| *sum.faults.entry(fault).or_default() += count);
            sum
        })
    }
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
    /// Counted from 1 over all kinds of calls to the shop.
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

/// A handle to a shop, which server, control API and tests clone and share.
#[derive(Debug, Clone)]
pub struct Shop(Arc<Mutex<State>>);

impl Shop {
    /// A shop without orders. `index` is its place among the shops of its host.
    pub(super) fn new(args: &SandboxArgs, index: usize, host: Arc<Host>) -> Self {
        Self(Arc::new(Mutex::new(State::new(args, index, host))))
    }

    /// Places the first orders: `older` of them are 9 to 29 days old, the others are spread over the last 7 days. A
    /// shop that has orders already stays as it is.
    pub(super) fn open(&self, args: &SandboxArgs) {
        self.state().open(args);
    }

    /// Makes a change that the state file knows already. Returns false if the change is of an order that the shop has
    /// not.
    pub(super) fn replay(&self, event: Event) -> bool {
        self.state().replay(event)
    }

    /// Returns the name, `shop-1` for the first.
    #[must_use]
    pub fn name(&self) -> String {
        self.state().name()
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
        path: impl Into<Cow<'static, str>>,
        id: Option<&str>,
        token: Option<&[u8]>,
        wait: Duration,
    ) -> (u64, Answer) {
        self.state().call(call, path.into(), id, token, wait)
    }

    /// Notes that an answer that was held back is on its way.
    pub(super) fn sent(&self, number: u64) {
        self.state().sent(number);
    }

    /// Returns the state in numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.state().summary()
    }

    /// Returns every order, the oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderState> {
        self.state().orders()
    }

    /// Returns every call so far.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestState> {
        self.state().requests()
    }

    /// Returns the JSON of an order as a call would return it now.
    #[must_use]
    pub fn record(&self, id: &OrderId) -> Option<Bytes> {
        self.state().json(id)
    }

    /// Places more orders, dated this many days ago, and returns their IDs.
    pub fn add(&self, count: usize, days_ago: u32) -> Vec<OrderId> {
        self.state().add_between(count, days_ago.into(), days_ago.into())
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
        let mut record: Value = serde_json::from_slice(state.json_at(index)).map_err(ShopError::NotJson)?;
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

    /// Lets the whole marketplace answer only so many calls a second from now on. Others get a 429, which counts as the
    /// fault `throttle`.
    pub fn set_rate_limit(&self, calls: Option<usize>) {
        self.state().host.set_rate_limit(calls);
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

/// Reads an ID from JSON: a string, or the digits of a number.
pub(super) fn order_id(value: &Value) -> Option<OrderId> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
