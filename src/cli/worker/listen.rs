//! `--listen`: `/healthz` (this process lives), `/readyz` (it works, and so does what it needs), `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::cli::failure::{Failure, FailureKind, Result};
use crate::pipeline::worker::WorkerHealth;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{AssetId, Stage};
use mfctl_core::events::schemas;
use mfctl_core::ports::{self, Ports};
use mfctl_core::telemetry::Metrics;

/// How long a dependency has to answer `/readyz`.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is served.
pub(super) struct Served {
    pub(super) metrics: Arc<Metrics>,
    pub(super) workers: Vec<(Stage, WorkerHealth)>,
    pub(super) ports: Ports,
}

/// Opens the address. A worker whose address is taken must not run unseen.
///
/// # Errors
/// `Conflict` when the address is taken, `Invalid` when it is not this host's.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::AddrInUse => FailureKind::Conflict,
            _ => FailureKind::Invalid,
        };
        Failure::new(kind, format!("cannot listen on {address}")).because(&error)
    })
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, served: Arc<Served>) {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(served);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!(%error, "no longer listening");
    }
}

async fn metrics(State(served): State<Arc<Served>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], served.metrics.text())
}

async fn readyz(State(served): State<Arc<Served>>) -> (StatusCode, String) {
    let mut wrong: Vec<String> = Vec::new();
    for (stage, health) in &served.workers {
        wrong.extend(health.not_ready().map(|reason| format!("{stage}: {reason}")));
    }
    wrong.extend(unreachable(&served.ports).await);
    if wrong.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{}\n", wrong.join("\n")))
}

/// The dependencies that do not answer in time.
async fn unreachable(ports: &Ports) -> Vec<String> {
    let nobody = [AssetId(uuid::Uuid::nil())];
    let subject = schemas::subject(&topics::INGEST_RAW);
    let (log, objects, catalog, search, registry) = tokio::join!(
        ping("log", ports.log.identity()),
        ping("objects", ports.objects.capacity()),
        ping("catalog", ports.catalog.assets(&nobody)),
        ping("search", ports.search.indexed(&nobody)),
        ping("registry", ports.registry.latest(&subject)),
    );
    [log, objects, catalog, search, registry].into_iter().flatten().collect()
}

async fn ping<T>(name: &str, call: impl Future<Output = ports::Result<T>>) -> Option<String> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("{name}: {}", error.full())),
        Err(_) => Some(format!("{name}: no answer within {PATIENCE:?}")),
    }
}
