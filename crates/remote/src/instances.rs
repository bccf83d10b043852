//! The healthy instances of a service, which its requests rotate over. Independent of the discovery service and the protocol.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use mfctl_core::ports::{Error, ErrorKind, Result};

/// The address of one instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceInstance {
    /// An IP address (IPv6 without brackets) or a host name.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for ServiceInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The healthy instances of one service.
#[derive(Debug)]
pub struct ServiceInstances {
    service: String,
    healthy: watch::Receiver<Arc<[ServiceInstance]>>,
    rotation: AtomicUsize,
}

impl ServiceInstances {
    /// The instances of `service` that the sender of `healthy` publishes.
    #[must_use]
    pub fn new(service: impl Into<String>, healthy: watch::Receiver<Arc<[ServiceInstance]>>) -> Self {
        // A random start, so that not every process begins with the same instance.
        Self { service: service.into(), healthy, rotation: AtomicUsize::new(fastrand::usize(..)) }
    }

    /// The name of the service, as the discovery service lists it.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// All instances, rotated by one each time: the load is spread, and a client that tries them in order falls back to the
    /// next one.
    #[must_use]
    pub fn rotated(&self) -> Vec<ServiceInstance> {
        let mut instances = self.healthy.borrow().to_vec();
        if !instances.is_empty() {
            let first = self.rotation.fetch_add(1, Ordering::Relaxed) % instances.len();
            instances.rotate_left(first);
        }
        instances
    }

    /// The next instance, round robin.
    ///
    /// # Errors
    /// `Unreachable` when no instance is healthy.
    pub fn next(&self) -> Result<ServiceInstance> {
        let none = || Error::new(ErrorKind::Unreachable, format!("no instance of {} is healthy", self.service));
        self.rotated().into_iter().next().ok_or_else(none)
    }

    /// Whether no change was published since this snapshot.
    #[must_use]
    pub fn is_current(&self, snapshot: &Arc<[ServiceInstance]>) -> bool {
        Arc::ptr_eq(&self.healthy.borrow(), snapshot)
    }

    /// The instances as last published, for [`ServiceInstances::is_current`].
    #[must_use]
    pub fn snapshot(&self) -> Arc<[ServiceInstance]> {
        Arc::clone(&self.healthy.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(port: u16) -> ServiceInstance {
        ServiceInstance { host: "127.0.0.1".into(), port }
    }

    #[test]
    fn requests_rotate_over_the_current_instances() {
        let (sender, healthy) = watch::channel(Arc::from([instance(1), instance(2)]));
        let instances = ServiceInstances::new("postgrest", healthy);
        let snapshot = instances.snapshot();
        let first = instances.next().unwrap();
        assert_ne!(instances.next().unwrap(), first);
        assert_eq!(instances.next().unwrap(), first);
        sender.send_replace(Arc::from([instance(2)]));
        assert!(!instances.is_current(&snapshot) && instances.is_current(&instances.snapshot()));
        assert_eq!(instances.rotated(), [instance(2)]);
        sender.send_replace(Arc::from([]));
        assert_eq!(instances.next().unwrap_err().kind(), ErrorKind::Unreachable);
    }

    #[test]
    fn ipv6_host_is_bracketed() {
        assert_eq!(ServiceInstance { host: "::1".into(), port: 80 }.to_string(), "[::1]:80");
    }
}
