//! The HTTP server of `admin.listen`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, spawn_blocking};

use super::state::AdminState;
use super::{Snapshot, metrics, page};

/// The address can't be bound.
#[derive(Debug, Error)]
#[error("can't listen at {address} (`admin.listen`): {cause}. Set another address, or port 0 for any free one")]
pub struct CannotListen {
    address: SocketAddr,
    cause: io::Error,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Server(AbortHandle);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Listens at the address, and logs the actual one: port 0 takes any free port.
    ///
    /// # Errors
    /// [`CannotListen`].
    pub async fn start(address: SocketAddr, state: Arc<AdminState>) -> Result<Self, CannotListen> {
        let cannot = |cause| CannotListen { address, cause };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        let bound = listener.local_addr().map_err(cannot)?;
        tracing::info!(address = %bound, "status page, health and metrics are at http://{bound}/");
        let serve = async move {
            if let Err(error) = axum::serve(listener, routes(state)).await {
                tracing::error!(%error, "the admin server has ended");
            }
        };
        Ok(Self(tokio::spawn(serve).abort_handle()))
    }
}

fn routes(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/", get(show_page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .route("/status", get(status))
        .with_state(state)
}

type Shared = State<Arc<AdminState>>;

async fn livez(State(state): Shared) -> Response {
    if state.is_alive() {
        return "alive\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "a lane's thread has ended\n").into_response()
}

async fn readyz(State(state): Shared) -> Response {
    state.look_at_registry().await;
    answer(state, |snapshot| {
        let status = if snapshot.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, as_json(&json!({ "ready": snapshot.ready, "not_ready": snapshot.not_ready }))).into_response()
    })
    .await
}

async fn status(State(state): Shared) -> Response {
    answer(state, |snapshot| as_json(&json!(snapshot)).into_response()).await
}

async fn show_metrics(State(state): Shared) -> Response {
    answer(state, |snapshot| match metrics::render(snapshot) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    })
    .await
}

async fn show_page(State(state): Shared) -> Response {
    // Forbids the page to load or run anything, whatever text gets into it.
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ];
    answer(state, move |snapshot| (headers, page::render(&snapshot)).into_response()).await
}

fn as_json(value: &serde_json::Value) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/json")], format!("{value:#}\n"))
}

/// Answers on a blocking thread. The snapshot reads the spool's disk, and a disk that hangs must not hang the runtime.
async fn answer(state: Arc<AdminState>, render: impl FnOnce(Snapshot) -> Response + Send + 'static) -> Response {
    match spawn_blocking(move || render(Snapshot::of(&state))).await {
        Ok(mut response) => {
            response.headers_mut().insert(CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
            response
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "please report this\n").into_response(),
    }
}
