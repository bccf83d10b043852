//! Service discovery: the healthy instances of a service, followed for as long as they are used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde::Deserialize;
use tokio::sync::watch;

use super::exchange::Exchange;
use crate::instances::{ServiceInstance, ServiceInstances};
use mfctl_core::ports::{Error, ErrorKind, Result};
use mfctl_core::wait::Backoff;

/// How long Consul holds a blocking query without a change.
const BLOCKING_WAIT: Duration = Duration::from_secs(60);
/// Between two queries, up to halved at random: it limits the query rate when a service changes all the time.
const PACE: Backoff = Backoff::exponential(Duration::from_millis(100), Duration::MAX);
const RETRY: Backoff = Backoff::exponential(Duration::from_millis(500), Duration::from_secs(10));

/// An entry of `/v1/health/service`, which consulrs does not have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthEntry {
    node: HealthNode,
    service: HealthService,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthNode {
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthService {
    /// Empty: the node's address.
    #[serde(default)]
    address: String,
    port: u16,
}

impl HealthEntry {
    fn instance(self) -> ServiceInstance {
        let host = if self.service.address.is_empty() { self.node.address } else { self.service.address };
        ServiceInstance { host, port: self.service.port }
    }
}

/// The instances that are healthy at one index.
struct HealthyInstances {
    index: u64,
    instances: Arc<[ServiceInstance]>,
}

pub(super) async fn watch_instances(exchange: &Arc<Exchange>, service: &str) -> Result<Arc<ServiceInstances>> {
    let HealthyInstances { index, instances } = healthy(exchange, service, None).await?;
    if instances.is_empty() {
        return Err(Error::new(ErrorKind::Unreachable, format!("Consul knows no healthy instance of {service}"))
            .hint(format!("see `consul catalog nodes -service={service}` and the checks of its nodes")));
    }
    let (sender, receiver) = watch::channel(instances);
    tokio::spawn(follow(Arc::clone(exchange), service.to_owned(), index, sender));
    Ok(Arc::new(ServiceInstances::new(service, receiver)))
}

/// The healthy instances; with `after`, by a blocking query that ends when something changed after that index.
async fn healthy(exchange: &Exchange, service: &str, after: Option<u64>) -> Result<HealthyInstances> {
    let what = format!("query the healthy instances of {service}");
    let mut request = exchange.request(Method::GET, &["health", "service", service]).query("passing", "1");
    if let Some(index) = after {
        let wait = format!("{}ms", BLOCKING_WAIT.as_millis());
        // Consul adds up to a sixteenth at random.
        let timeout = BLOCKING_WAIT + BLOCKING_WAIT / 16 + Duration::from_secs(10);
        request = request.query("index", &index.to_string()).query("wait", &wait).timeout(timeout);
    }
    let response = exchange.send(request, &what).await?;
    let entries: Vec<HealthEntry> = response.content(&what)?;
    let mut instances: Vec<ServiceInstance> = entries.into_iter().map(HealthEntry::instance).collect();
    instances.sort();
    instances.dedup();
    if instances.is_empty() && response.is_filtered {
        let rule = format!("service {service:?} {{ policy = \"read\" }} node_prefix \"\" {{ policy = \"read\" }}");
        return Err(exchange.filtered(&what, &rule));
    }
    Ok(HealthyInstances { index: response.index.unwrap_or(0), instances: instances.into() })
}

/// Publishes each change until no receiver is left.
async fn follow(
    exchange: Arc<Exchange>,
    service: String,
    mut index: u64,
    sender: watch::Sender<Arc<[ServiceInstance]>>,
) {
    let mut failures = 0;
    loop {
        // After a failure the query does not block: a Consul that was restored may have a smaller index.
        let after = (failures == 0).then_some(index);
        let answer = tokio::select! {
            answer = healthy(&exchange, &service, after) => answer,
            () = sender.closed() => return,
        };
        let delay = match answer {
            Ok(healthy) => {
                if failures > 0 {
                    tracing::info!(service, "Consul is back");
                }
                failures = 0;
                index = if healthy.index < index { 0 } else { healthy.index };
                publish(&service, &healthy.instances, &sender);
                PACE.delay(1)
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(
                        service,
                        error = error.full(),
                        "instance lookup failed; the last known instances are used"
                    );
                }
                failures += 1;
                RETRY.delay(failures)
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until((Instant::now() + delay).into()) => {}
            () = sender.closed() => return,
        }
    }
}

fn publish(service: &str, healthy: &Arc<[ServiceInstance]>, sender: &watch::Sender<Arc<[ServiceInstance]>>) {
    if healthy.is_empty() {
        tracing::warn!(service, "no instance is healthy; the last known instances are used");
        return;
    }
    let changed = sender.send_if_modified(|current| {
        let changed = **current != **healthy;
        if changed {
            current.clone_from(healthy);
        }
        changed
    });
    if changed {
        let instances = healthy.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(service, instances, "its instances changed");
    }
}
