//! The HTTP server of the marketplace's three calls.

use std::borrow::Cow;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, SERVER};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use axum::routing::get;
use tokio::sync::watch;

use super::answer::Answer;
use super::faults::Call;
use super::market::Market;
use super::until;
use super::wire::{Line, Plan};

/// The path of the destructive read.
pub const NEW_ORDERS: &str = "/api/cart/transaction/newOrders";
/// The path of the list of IDs of the last 8 days.
pub const ORDER_IDS: &str = "/api/cart/transaction/ordersIds";
/// The path of an order by its ID.
pub const ORDER: &str = "/api/cart/transaction/order/{id}";

/// The state that the handlers share.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    pub(super) market: Market,
    /// How long every answer is held back after its orders were marked.
    pub(super) delay: Duration,
    pub(super) stop: watch::Receiver<bool>,
}

pub(super) fn routes(counter: Counter) -> Router {
    Router::new()
        .route(NEW_ORDERS, get(new_orders))
        .route(ORDER_IDS, get(order_ids))
        .route(ORDER, get(order))
        .with_state(counter)
}

type Connection = ConnectInfo<Line>;

async fn new_orders(State(counter): State<Counter>, ConnectInfo(line): Connection, headers: HeaderMap) -> Response {
    counter.answer(&line, Call::NewOrders, NEW_ORDERS.into(), None, &headers).await
}

async fn order_ids(
    State(counter): State<Counter>,
    ConnectInfo(line): Connection,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let parameters = uri.query().into_iter().flat_map(|query| query.split('&'));
    let page = parameters.filter_map(|parameter| parameter.strip_prefix("page=")).next_back();
    counter.answer(&line, Call::OrderIds, ORDER_IDS.into(), page, &headers).await
}

async fn order(
    State(counter): State<Counter>,
    ConnectInfo(line): Connection,
    uri: Uri,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    counter.answer(&line, Call::Order, uri.path().to_owned().into(), Some(&id), &headers).await
}

impl Counter {
    async fn answer(
        self,
        line: &Line,
        call: Call,
        path: Cow<'static, str>,
        id: Option<&str>,
        headers: &HeaderMap,
    ) -> Response {
        let token = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let shop = self.market.shop_of(token.unwrap_or_default());
        let (number, answer) = shop.call(call, path, id, token, self.delay);
        line.plan(answer.plan);
        tracing::debug!(
            shop = shop.name(),
            number,
            call = call.name(),
            status = answer.status.as_u16(),
            plan = ?answer.plan,
            "answered"
        );
        if !answer.wait.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(answer.wait) => shop.sent(number),
                // A server that goes down cuts its answers.
                () = until(self.stop) => line.plan(Plan::Cut),
            }
        }
        response(answer)
    }
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.extend(answer.location.map(|place| (LOCATION, HeaderValue::from_static(place))));
    headers.extend(answer.server.map(|name| (SERVER, HeaderValue::from_static(name))));
    headers.extend(answer.retry_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
    response
}
