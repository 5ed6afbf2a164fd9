//! The control API under `/_sandbox`, in JSON: shows what happened, and sets what happens next.
//!
//! It needs no token, because it belongs to the test and not to the marketplace.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET state` | | [`Summary`]: orders, pending, marked; requests by kind; faults that struck; steps still scripted |
//! | `GET shops` | | a list of the same, by shop |
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
//! `?shop=shop-3` behind a call names the shop that it is about. Without it a call is about all of them, each shop of
//! its own, and items of lists say which `shop` they belong to. Only what is about one order or one token (from `order`
//! on, but for `start_date`) needs a name as soon as there are several shops.
//!
//! IDs in requests are numbers or strings, and in answers always strings. A refusal is `{"error": "…"}` with status
//! 400, or 404 for an unknown order or shop, and changes nothing.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::{Call, FaultError, Rates, parse_step};
use super::market::Market;
use super::shop::{Change, OrderState, RequestState, Shop, ShopError, Summary, order_id};
use crate::order::ids::OrderId;

pub(super) fn routes(market: Market) -> Router {
    Router::new()
        .route("/_sandbox/state", get(state))
        .route("/_sandbox/shops", get(shops))
        .route("/_sandbox/orders", get(orders).post(add_orders))
        .route("/_sandbox/requests", get(requests))
        .route("/_sandbox/faults", post(faults))
        .route("/_sandbox/order", post(insert_order))
        .route("/_sandbox/unsynchronise", post(unsynchronise))
        .route("/_sandbox/change", post(change))
        .route("/_sandbox/hide", post(hide))
        .route("/_sandbox/token", post(token))
        .route("/_sandbox/start_date", post(start_date))
        .with_state(market)
}

/// Why a request is refused.
enum Refusal {
    Shop(ShopError),
    NoId(Value),
    NoShop(String),
    /// The call is about one shop, there are so many, and none is named.
    WhichShop(usize),
    Query(QueryRejection),
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
            Self::NoShop(name) => (StatusCode::NOT_FOUND, format!("there is no shop `{name}`")),
            Self::WhichShop(shops) => {
                (StatusCode::BAD_REQUEST, format!("name the shop, from ?shop=shop-1 to ?shop=shop-{shops}"))
            }
            Self::Query(rejection) => (rejection.status(), rejection.body_text()),
        };
        (status, Json(json!({"error": reason}))).into_response()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    shop: Option<String>,
}

/// The shops that a call is about: the one that it names, or all.
struct Shops(Vec<Shop>);

impl FromRequestParts<Market> for Shops {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, market: &Market) -> Result<Self, Refusal> {
        let Query(which) = Query::<Which>::try_from_uri(&parts.uri).map_err(Refusal::Query)?;
        let Some(name) = which.shop else { return Ok(Self(market.shops().to_vec())) };
        market.named(&name).map(|shop| Self(vec![shop.clone()])).ok_or(Refusal::NoShop(name))
    }
}

/// The shop that a call is about: the one that it names, or the only one.
struct OneShop(Shop);

impl FromRequestParts<Market> for OneShop {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, market: &Market) -> Result<Self, Refusal> {
        let Shops(mut shops) = Shops::from_request_parts(parts, market).await?;
        let shop = shops.pop().filter(|_| shops.is_empty());
        shop.map(Self).ok_or(Refusal::WhichShop(market.shops().len()))
    }
}

/// An item of a list over several shops.
#[derive(Serialize)]
struct Of<T> {
    shop: String,
    #[serde(flatten)]
    item: T,
}

/// Lists the items of each shop.
fn list<T>(shops: &[Shop], items: impl Fn(&Shop) -> Vec<T>) -> Json<Vec<Of<T>>> {
    let of = |shop: &Shop| {
        let name = shop.name();
        items(shop).into_iter().map(move |item| Of { shop: name.clone(), item })
    };
    Json(shops.iter().flat_map(of).collect())
}

type Answer = Result<Json<Value>, Refusal>;

fn done() -> Json<Value> {
    Json(json!({"ok": true}))
}

async fn state(Shops(shops): Shops) -> Json<Summary> {
    Json(shops.iter().map(Shop::summary).sum())
}

async fn shops(Shops(shops): Shops) -> Json<Vec<Of<Summary>>> {
    list(&shops, |shop| vec![shop.summary()])
}

async fn orders(Shops(shops): Shops) -> Json<Vec<Of<OrderState>>> {
    list(&shops, Shop::orders)
}

async fn requests(Shops(shops): Shops) -> Json<Vec<Of<RequestState>>> {
    list(&shops, Shop::requests)
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

async fn faults(Shops(shops): Shops, Json(new): Json<NewFaults>) -> Answer {
    let steps = new.script.iter().map(|step| parse_step(new.on, step)).collect::<Result<Vec<_>, FaultError>>()?;
    let rates = new.rates.map(|rates| rates.parse::<Rates>()).transpose()?;
    for shop in shops {
        if new.clear {
            shop.clear_scripts();
        }
        shop.script(new.on, &steps)?;
        if let Some(rates) = &rates {
            shop.set_fault_rates(rates.clone());
        }
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

async fn add_orders(Shops(shops): Shops, Json(more): Json<MoreOrders>) -> Json<Value> {
    let ids: Vec<OrderId> = shops.iter().flat_map(|shop| shop.add(more.count, more.days_ago)).collect();
    Json(json!({"ids": ids}))
}

async fn insert_order(OneShop(shop): OneShop, record: String) -> Answer {
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

async fn unsynchronise(OneShop(shop): OneShop, Json(Ids { ids }): Json<Ids>) -> Answer {
    shop.unsynchronise(&parse_ids(&ids)?)?;
    Ok(done())
}

#[derive(Deserialize)]
struct OrderChange {
    id: Value,
    status: Option<String>,
    total: Option<Value>,
}

async fn change(OneShop(shop): OneShop, Json(order): Json<OrderChange>) -> Answer {
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

async fn hide(OneShop(shop): OneShop, Json(order): Json<Hide>) -> Answer {
    shop.hide(&parse_ids(&order.ids)?, order.from, order.hidden)?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    token: String,
}

async fn token(OneShop(shop): OneShop, Json(NewToken { token }): Json<NewToken>) -> Json<Value> {
    shop.set_token(&token);
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartDate {
    configured: bool,
}

async fn start_date(Shops(shops): Shops, Json(StartDate { configured }): Json<StartDate>) -> Json<Value> {
    shops.iter().for_each(|shop| shop.set_start_date(configured));
    done()
}
