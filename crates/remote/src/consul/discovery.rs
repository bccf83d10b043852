//! Which instances of a service are healthy, for as long as somebody wants to know.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use tokio::sync::watch;

use super::Consul;
use crate::instances::{ServiceInstance, ServiceInstances};
use mfctl_core::ports::{Error, ErrorKind, Result};

/// How long Consul is asked to wait for a change.
const PATIENCE: Duration = Duration::from_secs(60);
/// The waits after a question that failed: they double up to the last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// The least time between two questions, for a service that changes all the time.
const SHORTEST: Duration = Duration::from_millis(100);

/// An instance as `/v1/health/service` has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Registered,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Registered {
    /// Empty: the node's.
    #[serde(default)]
    address: String,
    port: u16,
}

impl Entry {
    fn instance(self) -> ServiceInstance {
        let host = if self.service.address.is_empty() { self.node.address } else { self.service.address };
        ServiceInstance { host, port: self.service.port }
    }
}

impl Consul {
    /// The healthy instances of a service, followed from now on. While Consul does not answer, or says that none is
    /// healthy, those that were healthy last are kept: they may well answer, and nobody knows of a better one.
    ///
    /// # Errors
    /// `Unreachable` when no instance is healthy now; `Denied` when all there are may not be seen; those of the
    /// exchange.
    pub async fn instances(&self, service: &str) -> Result<Arc<ServiceInstances>> {
        let (index, found) = self.healthy(service, None).await?;
        if found.is_empty() {
            return Err(Error::new(ErrorKind::Unreachable, format!("Consul knows no healthy instance of {service}"))
                .hint(format!("`consul catalog nodes -service={service}` and its checks say why")));
        }
        let (tell, now) = watch::channel(found);
        tokio::spawn(follow(self.clone(), service.to_owned(), index, tell));
        Ok(Arc::new(ServiceInstances::new(service, now)))
    }

    /// Those that are healthy, with the moment this is of; after `index`, once something changed or patience is over.
    async fn healthy(&self, service: &str, index: Option<u64>) -> Result<(u64, Arc<[ServiceInstance]>)> {
        let what = format!("ask Consul for the instances of {service}");
        let mut query = vec![("passing", "1".to_owned())];
        if let Some(index) = index {
            query.push(("index", index.to_string()));
            query.push(("wait", format!("{}ms", PATIENCE.as_millis())));
        }
        let limit = index.map(|_| PATIENCE + PATIENCE / 16 + Duration::from_secs(10));
        let path = ["health", "service", service];
        let answer = self.exchange.ask_patiently(Method::GET, &path, &query, None, &what, limit).await?;
        let entries: Vec<Entry> = answer.read(&what)?;
        let mut found: Vec<ServiceInstance> = entries.into_iter().map(Entry::instance).collect();
        found.sort();
        found.dedup();
        if found.is_empty() && answer.is_filtered {
            let rule = format!("service {service:?} {{ policy = \"read\" }} node_prefix \"\" {{ policy = \"read\" }}");
            return Err(self.exchange.partial(&what, &rule));
        }
        Ok((answer.index.unwrap_or(0), found.into()))
    }
}

/// Tells each change, until nobody listens.
async fn follow(consul: Consul, service: String, mut index: u64, tell: watch::Sender<Arc<[ServiceInstance]>>) {
    let mut failures = 0;
    loop {
        // After a failure it looks at once: Consul may have begun anew, with smaller numbers.
        let after = (failures == 0).then_some(index);
        let asked = tokio::select! {
            asked = consul.healthy(&service, after) => asked,
            () = tell.closed() => return,
        };
        let wait = match asked {
            Ok((now, found)) => {
                if failures > 0 {
                    tracing::info!(service, "Consul is back");
                }
                (index, failures) = (if now < index { 0 } else { now }, 0);
                take(&service, &found, &tell);
                SHORTEST
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(service, error = error.full(), "its instances are not known; the last are used");
                }
                failures += 1;
                AGAIN.0.saturating_mul(1 << failures.min(10)).min(AGAIN.1)
            }
        };
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

fn take(service: &str, found: &Arc<[ServiceInstance]>, tell: &watch::Sender<Arc<[ServiceInstance]>>) {
    if found.is_empty() {
        tracing::warn!(service, "no instance is healthy; the last are used");
        return;
    }
    let is_new = tell.send_if_modified(|now| {
        let is_new = **now != **found;
        if is_new {
            now.clone_from(found);
        }
        is_new
    });
    if is_new {
        let instances = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(service, instances, "its instances changed");
    }
}
