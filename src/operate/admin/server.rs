//! The HTTP server of `admin.listen`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::{self, ACCEPT_LANGUAGE, CONTENT_TYPE, HOST, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::io::ReaderStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::advice::Language;
use super::history::{STEP, Sample};
use super::live::{self, Watcher};
use super::page::{self, View};
use super::snapshot::{Look, Wanted};
use super::state::AdminState;
use super::{Snapshot, metrics, origin};
use crate::config::Admin;

/// What one event may take while its reader is slow.
const EVENT_BUFFER: usize = 64 << 10;

/// What a browser is told with every answer: to load nothing from elsewhere, to run no script but the page's own, and to
/// show the page in no other page.
const SECURITY: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The address can't be bound.
#[derive(Debug, Error)]
#[error("can't listen at {address} (`admin.listen`): {cause}. Set another address, or port 0 for any free one")]
pub struct CannotListen {
    address: SocketAddr,
    cause: io::Error,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Server {
    /// Listens at the address, and logs the actual one: port 0 takes any free port.
    ///
    /// # Errors
    /// [`CannotListen`].
    pub async fn start(settings: &Admin, state: Arc<AdminState>) -> Result<Self, CannotListen> {
        let address = settings.listen;
        let cannot = |cause| CannotListen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        state.configure_server(settings);
        tracing::info!(address = %bound, "status page, health and metrics are at http://{bound}/");
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(note_history(state.clone())));
        let stopped = stop.clone();
        let serve = async move {
            let routes = routes(state, stopped.clone());
            if let Some(Err(error)) = stopped.run_until_cancelled(axum::serve(listener, routes).into_future()).await {
                tracing::error!(%error, "the admin server has ended");
            }
        };
        tokio::spawn(serve);
        Ok(Self { address: bound, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn note_history(state: Arc<AdminState>) {
    let mut ticks = interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        state.history.note(Sample::of(&state.counters));
    }
}

fn routes(state: Arc<AdminState>, stop: CancellationToken) -> Router {
    let events = EventsState { admin: state.clone(), stop, watchers: Arc::default() };
    Router::new()
        .route("/", get(show_page))
        .route("/status.css", get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE)))
        .route("/status.js", get(async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], page::SCRIPT)))
        .route("/events", get(move |query, headers| show_events(events.clone(), query, headers)))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .route("/status", get(status))
        .layer(from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

/// Answers nobody who was led here under a foreign name, and adds the headers of [`SECURITY`].
async fn guard(State(state): Shared, request: Request, next: Next) -> Response {
    let host = request.uri().host().or_else(|| request.headers().get(HOST)?.to_str().ok());
    let mut response = if origin::is_expected(host, &state.hosts()) {
        next.run(request).await
    } else {
        let why = "this name of the server is not known: ask for its address, or add the name to `admin.hosts`\n";
        (StatusCode::FORBIDDEN, why).into_response()
    };
    for (name, value) in SECURITY {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

type Shared = State<Arc<AdminState>>;

/// What the page and its events are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageQuery {
    lang: Option<Language>,
    #[serde(flatten)]
    wanted: Wanted,
}

impl PageQuery {
    fn language(&self, headers: &HeaderMap) -> Language {
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        self.lang.unwrap_or_else(|| Language::preferred(accepted.unwrap_or_default()))
    }
}

#[derive(Clone)]
struct EventsState {
    admin: Arc<AdminState>,
    stop: CancellationToken,
    watchers: Arc<AtomicUsize>,
}

async fn livez(State(state): Shared) -> Response {
    if state.is_alive() {
        return "alive\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "a lane's thread has ended\n").into_response()
}

async fn readyz(State(state): Shared) -> Response {
    state.look_at_registry().await;
    answer(move || {
        let not_ready = Look::of(&state).not_ready;
        let ready = not_ready.is_empty();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, as_json(&json!({ "ready": ready, "not_ready": not_ready }))).into_response()
    })
    .await
}

async fn status(State(state): Shared, Query(wanted): Query<Wanted>) -> Response {
    answer(move || as_json(&Snapshot::of(&state, &wanted, Language::English)).into_response()).await
}

async fn show_metrics(State(state): Shared) -> Response {
    answer(move || match metrics::render(&state) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    })
    .await
}

async fn show_page(State(state): Shared, Query(query): Query<PageQuery>, headers: HeaderMap) -> Response {
    let language = query.language(&headers);
    answer(move || {
        let page = View::of(&state, query.wanted, language).page();
        ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
    })
    .await
}

async fn show_events(events: EventsState, Query(query): Query<PageQuery>, headers: HeaderMap) -> Response {
    let EventsState { admin, stop, watchers } = events;
    let Some(place) = Watcher::enter(&watchers) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many watch already\n").into_response();
    };
    let language = query.language(&headers);
    let (from, to) = tokio::io::duplex(EVENT_BUFFER);
    tokio::spawn(live::stream(admin, query.wanted, language, to, stop, place));
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(ReaderStream::new(from))).into_response()
}

fn as_json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Answers on a blocking thread. It reads the spool's disk, and a disk that hangs must not hang the runtime.
async fn answer(render: impl FnOnce() -> Response + Send + 'static) -> Response {
    let broken = |_| (StatusCode::INTERNAL_SERVER_ERROR, "please report this\n").into_response();
    spawn_blocking(render).await.unwrap_or_else(broken)
}
