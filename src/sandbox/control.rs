//! The control API under `/_sandbox`, in JSON: shows what happened, and sets what happens next.
//!
//! It needs no token, because it belongs to the test and not to the marketplace.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET state` | | [`Summary`]: orders, pending, marked; requests by kind; faults that struck; steps still scripted |
//! | `GET orders` | | a list of [`OrderState`]: what marked each order, and whether that answer was delivered |
//! | `GET requests` | | a list of [`RequestState`]: number, kind, path, status, IDs returned, fault, delivered |
//! | `POST faults` | `{"on": "order", "script": ["truncate", "ok"], "rates": "late:2s=0.1", "clear": true}`; all optional, `on` is `new-orders` if left out | |
//! | `POST orders` | `{"count": 10, "days_ago": 0}` | `{"ids": […]}` |
//! | `POST order` | any JSON: a record as it is to be returned | `{"id": …}` |
//! | `POST unsynchronise` | `{"ids": [4810003]}` | |
//! | `POST change` | `{"id": 4810003, "status": "enviado", "total": "1.50"}` | |
//! | `POST hide` | `{"ids": [4810003], "from": "order-ids", "hidden": true}` | |
//! | `POST token` | `{"token": "new"}` | |
//! | `POST start_date` | `{"configured": false}` | |
//!
//! IDs in requests are numbers or strings, and in answers always strings. A refusal is `{"error": "…"}` with status
//! 400, or 404 for an unknown order, and changes nothing.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::{Call, FaultError, Rates, parse_step};
use super::shop::{Change, OrderState, RequestState, Shop, ShopError, Summary, order_id};
use crate::order::ids::OrderId;

pub(super) fn routes(shop: Shop) -> Router {
    Router::new()
        .route("/_sandbox/state", get(state))
        .route("/_sandbox/orders", get(orders).post(add_orders))
        .route("/_sandbox/requests", get(requests))
        .route("/_sandbox/faults", post(faults))
        .route("/_sandbox/order", post(insert_order))
        .route("/_sandbox/unsynchronise", post(unsynchronise))
        .route("/_sandbox/change", post(change))
        .route("/_sandbox/hide", post(hide))
        .route("/_sandbox/token", post(token))
        .route("/_sandbox/start_date", post(start_date))
        .with_state(shop)
}

/// Why a request is refused.
enum Refusal {
    Shop(ShopError),
    NoId(Value),
}

impl<E: Into<ShopError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Shop(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason) = match self {
            Self::Shop(error @ ShopError::NoOrder(_)) => (StatusCode::NOT_FOUND, error.to_string()),
            Self::Shop(error) => (StatusCode::BAD_REQUEST, error.to_string()),
            Self::NoId(value) => (StatusCode::BAD_REQUEST, format!("{value} is no order ID")),
        };
        (status, Json(json!({"error": reason}))).into_response()
    }
}

type Answer = Result<Json<Value>, Refusal>;

fn done() -> Json<Value> {
    Json(json!({"ok": true}))
}

async fn state(State(shop): State<Shop>) -> Json<Summary> {
    Json(shop.summary())
}

async fn orders(State(shop): State<Shop>) -> Json<Vec<OrderState>> {
    Json(shop.orders())
}

async fn requests(State(shop): State<Shop>) -> Json<Vec<RequestState>> {
    Json(shop.requests())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFaults {
    /// The call that the script is for.
    #[serde(default = "new_orders")]
    on: Call,
    /// Steps for the next calls, behind those already queued up: a fault, or `ok`.
    #[serde(default)]
    script: Vec<String>,
    /// Replaces the rates of all faults.
    rates: Option<String>,
    /// Forgets all steps that are still to come, before the new ones are queued up.
    #[serde(default)]
    clear: bool,
}

fn new_orders() -> Call {
    Call::NewOrders
}

async fn faults(State(shop): State<Shop>, Json(new): Json<NewFaults>) -> Answer {
    let steps = new.script.iter().map(|step| parse_step(new.on, step)).collect::<Result<Vec<_>, FaultError>>()?;
    let rates = new.rates.map(|rates| rates.parse::<Rates>()).transpose()?;
    if new.clear {
        shop.clear_scripts();
    }
    shop.script(new.on, &steps)?;
    if let Some(rates) = rates {
        shop.set_fault_rates(rates);
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoreOrders {
    count: usize,
    #[serde(default)]
    days_ago: u32,
}

async fn add_orders(State(shop): State<Shop>, Json(more): Json<MoreOrders>) -> Json<Value> {
    Json(json!({"ids": shop.add(more.count, more.days_ago)}))
}

async fn insert_order(State(shop): State<Shop>, record: String) -> Answer {
    Ok(Json(json!({"id": shop.insert(&record)?})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids {
    ids: Vec<Value>,
}

fn parse_ids(values: &[Value]) -> Result<Vec<OrderId>, Refusal> {
    values.iter().map(|value| order_id(value).ok_or_else(|| Refusal::NoId(value.clone()))).collect()
}

async fn unsynchronise(State(shop): State<Shop>, Json(Ids { ids }): Json<Ids>) -> Answer {
    shop.unsynchronise(&parse_ids(&ids)?)?;
    Ok(done())
}

#[derive(Deserialize)]
struct OrderChange {
    id: Value,
    status: Option<String>,
    total: Option<Value>,
}

async fn change(State(shop): State<Shop>, Json(order): Json<OrderChange>) -> Answer {
    let ids = parse_ids(std::slice::from_ref(&order.id))?;
    shop.change(&ids[0], Change { status: order.status, total: order.total })?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hide {
    ids: Vec<Value>,
    /// The call that no longer shows these orders.
    from: Call,
    #[serde(default = "yes")]
    hidden: bool,
}

fn yes() -> bool {
    true
}

async fn hide(State(shop): State<Shop>, Json(order): Json<Hide>) -> Answer {
    shop.hide(&parse_ids(&order.ids)?, order.from, order.hidden)?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    token: String,
}

async fn token(State(shop): State<Shop>, Json(NewToken { token }): Json<NewToken>) -> Json<Value> {
    shop.set_token(&token);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartDate {
    configured: bool,
}

async fn start_date(State(shop): State<Shop>, Json(StartDate { configured }): Json<StartDate>) -> Json<Value> {
    shop.set_start_date(configured);
    done()
}
