//! The paths of the admin port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Lifecycle, StatusSource, page, status};
use crate::audit::Part;
use crate::audit::report::Traffic;
use crate::telemetry::snapshot::STUCK;
use crate::telemetry::{ReadError, Snapshot, names, prometheus};

/// Largest body of a request, in bytes. No path reads one.
const MAX_BODY: u64 = 1_024;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) source: Arc<dyn StatusSource + Send + Sync>,
    /// Connections closed because too many were open.
    refused: Arc<AtomicU64>,
    /// For the page.
    pub(super) cache: Arc<page::Cache>,
}

pub(super) fn router(
    source: Arc<dyn StatusSource + Send + Sync>,
    refused: Arc<AtomicU64>,
) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .merge(page::router())
        .fallback(not_found)
        .with_state(Shared { source, refused, cache: Arc::default() })
        .layer(from_fn(limit_body))
}

/// 200 while every shard answers: what a supervisor restarts the process for otherwise.
async fn healthz(State(shared): State<Shared>) -> Response {
    let snapshot = match read(&shared).await {
        Ok(snapshot) => snapshot,
        Err(error) => return unavailable(&error),
    };
    let stuck = snapshot.stuck(STUCK);
    if stuck.is_empty() {
        return answer(StatusCode::OK, TEXT, "ok\n".to_owned());
    }
    let mut lines = String::new();
    for shard in stuck {
        let seconds = snapshot.shards[shard].answered_ago.as_secs();
        lines.push_str(&format!("shard {shard} has not answered for {seconds} s\n"));
    }
    answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)
}

/// 200 while new connections are welcome: what a load balancer asks.
async fn readyz(State(shared): State<Shared>) -> Response {
    let lifecycle = shared.source.lifecycle();
    let code = match lifecycle {
        Lifecycle::Accepting => StatusCode::OK,
        Lifecycle::Starting | Lifecycle::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    answer(code, TEXT, format!("{}\n", lifecycle.as_str()))
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match read_with(&shared, Part::Summary).await {
        Ok((snapshot, traffic)) => {
            let mut text = prometheus::render(&snapshot);
            prometheus::write_traffic(&mut text, &traffic);
            let refused = shared.refused.load(Ordering::Relaxed);
            prometheus::write_single(&mut text, &names::ADMIN_REFUSED, refused);
            answer(StatusCode::OK, prometheus::CONTENT_TYPE, text)
        }
        Err(error) => unavailable(&error),
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    match read_with(&shared, Part::All).await {
        Ok((snapshot, traffic)) => {
            let text = status::render(&snapshot, &traffic, shared.source.lifecycle());
            answer(StatusCode::OK, JSON, text)
        }
        Err(error) => unavailable(&error),
    }
}

async fn not_found() -> Response {
    let paths = "not found; there are / /healthz /readyz /metrics /status\n";
    answer(StatusCode::NOT_FOUND, TEXT, paths.to_owned())
}

async fn limit_body(request: Request<Body>, next: Next) -> Response {
    if request.body().size_hint().upper().is_none_or(|upper| upper > MAX_BODY) {
        let text = "no path here takes a body\n".to_owned();
        return answer(StatusCode::PAYLOAD_TOO_LARGE, TEXT, text);
    }
    next.run(request).await
}

/// Reads on a thread that may block, so that other connections are served meanwhile.
async fn read(shared: &Shared) -> Result<Arc<Snapshot>, ReadError> {
    let source = Arc::clone(&shared.source);
    let read = tokio::task::spawn_blocking(move || source.snapshot());
    read.await.unwrap_or(Err(ReadError::NoAnswer))
}

/// As [`read`], with what live traffic has shown.
async fn read_with(shared: &Shared, part: Part) -> Result<(Arc<Snapshot>, Traffic), ReadError> {
    let source = Arc::clone(&shared.source);
    let read = tokio::task::spawn_blocking(move || {
        // The snapshot last: it is what readers wait for changes in.
        let traffic = source.traffic(part);
        source.snapshot().map(|snapshot| (snapshot, traffic))
    });
    read.await.unwrap_or(Err(ReadError::NoAnswer))
}

pub(super) fn unavailable(error: &ReadError) -> Response {
    answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{error}\n"))
}

pub(super) fn answer(code: StatusCode, content_type: &'static str, text: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (code, headers, text).into_response()
}
