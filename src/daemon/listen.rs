//! The HTTP server of `--listen`: `/healthz` (liveness), `/readyz` (readiness: the stages and their dependencies, with a
//! warning for each setting that is not used), `/metrics`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::DaemonError;
use crate::ops::setting_report::UnusedSetting;
use crate::pipeline::worker::WorkerHealth;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, Stage};
use mfctl_core::events::schemas;
use mfctl_core::ports::{self, Ports};
use mfctl_core::telemetry::Metrics;

/// Timeout for the answer of each dependency to `/readyz`.
const DEPENDENCY_TIMEOUT: Duration = Duration::from_secs(2);

/// State of the request handlers.
pub(super) struct HttpState {
    pub(super) metrics: Arc<Metrics>,
    pub(super) stages: Vec<(Stage, WorkerHealth)>,
    pub(super) ports: Ports,
    /// The values of settings that are not used.
    pub(super) unused: watch::Receiver<Vec<UnusedSetting>>,
}

/// Binds the address of `--listen`. An error must end the daemon, which would otherwise run unmonitored.
///
/// # Errors
/// `AddressInUse` when another process has the address, `Listen` when the system refuses it.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, DaemonError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => DaemonError::AddressInUse { address, source },
        _ => DaemonError::Listen { address, source },
    })
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, state: Arc<HttpState>) {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!(%error, "stopped serving health and metrics");
    }
}

async fn metrics(State(state): State<Arc<HttpState>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.text())
}

async fn readyz(State(state): State<Arc<HttpState>>) -> (StatusCode, String) {
    let mut reasons: Vec<String> = Vec::new();
    for (stage, health) in &state.stages {
        reasons.extend(health.not_ready().map(|reason| format!("{stage}: {reason}")));
    }
    reasons.extend(failing_dependencies(&state.ports).await);
    let warnings: String = state.unused.borrow().iter().map(|unused| format!("warning: {unused}\n")).collect();
    if reasons.is_empty() {
        return (StatusCode::OK, format!("ready\n{warnings}"));
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n{warnings}", reasons.join("\n")))
}

/// The dependencies that fail or time out, each with its error.
async fn failing_dependencies(ports: &Ports) -> Vec<String> {
    let no_asset = [AssetId(uuid::Uuid::nil())];
    let subject = schemas::subject(&topics::INGEST_RAW);
    let (log, objects, catalog, search, registry) = tokio::join!(
        probe("log", ports.log.identity()),
        probe("objects", ports.objects.capacity()),
        probe("catalog", ports.catalog.assets(&no_asset)),
        probe("search", ports.search.indexed(&no_asset)),
        probe("registry", ports.registry.latest(&subject)),
    );
    [log, objects, catalog, search, registry].into_iter().flatten().collect()
}

/// The error of a dependency's call; `None` when it answered.
async fn probe<T>(dependency: &str, call: impl Future<Output = ports::Result<T>>) -> Option<String> {
    match tokio::time::timeout(DEPENDENCY_TIMEOUT, call).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("{dependency}: {}", error.full())),
        Err(_) => Some(format!("{dependency}: no answer within {DEPENDENCY_TIMEOUT:?}")),
    }
}
