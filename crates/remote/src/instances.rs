//! The instances of a service that are healthy now: where its requests may go. Knows nobody who says so, and no protocol.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

use mfctl_core::ports::{Error, ErrorKind, Result};

/// Where one instance is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// Its host: an address or a name.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Those of one service, as they are now.
#[derive(Debug)]
pub struct Instances {
    service: String,
    now: watch::Receiver<Arc<[Instance]>>,
    turn: AtomicUsize,
}

impl Instances {
    /// The instances of `service` that whoever has the other end of `now` says.
    #[must_use]
    pub fn new(service: impl Into<String>, now: watch::Receiver<Arc<[Instance]>>) -> Self {
        // Not every process is to begin with the same one.
        Self { service: service.into(), now, turn: AtomicUsize::new(fastrand::usize(..)) }
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// All of them, beginning with another one each time, so that each has its share and the next is tried where one does
    /// not answer.
    #[must_use]
    pub fn in_turn(&self) -> Vec<Instance> {
        let mut all = self.now.borrow().to_vec();
        if !all.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % all.len();
            all.rotate_left(first);
        }
        all
    }

    /// The one whose turn it is.
    ///
    /// # Errors
    /// `Unreachable` when there is none.
    pub fn next(&self) -> Result<Instance> {
        let none = || Error::new(ErrorKind::Unreachable, format!("no instance of {} is healthy", self.service));
        self.in_turn().into_iter().next().ok_or_else(none)
    }

    /// Whether these are still all of them.
    #[must_use]
    pub fn is_same(&self, all: &Arc<[Instance]>) -> bool {
        Arc::ptr_eq(&self.now.borrow(), all)
    }

    /// All of them as one value, for [`Instances::is_same`].
    #[must_use]
    pub fn all(&self) -> Arc<[Instance]> {
        Arc::clone(&self.now.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(port: u16) -> Instance {
        Instance { host: "127.0.0.1".into(), port }
    }

    #[test]
    fn each_has_its_turn_and_what_is_gone_has_none() {
        let (tell, now) = watch::channel(Arc::from([instance(1), instance(2)]));
        let instances = Instances::new("postgrest", now);
        let seen = instances.all();
        let first = instances.next().unwrap();
        assert_ne!(instances.next().unwrap(), first);
        assert_eq!(instances.next().unwrap(), first);
        tell.send_replace(Arc::from([instance(2)]));
        assert!(!instances.is_same(&seen) && instances.is_same(&instances.all()));
        assert_eq!(instances.in_turn(), [instance(2)]);
        tell.send_replace(Arc::from([]));
        assert_eq!(instances.next().unwrap_err().kind(), ErrorKind::Unreachable);
    }

    #[test]
    fn an_address_with_colons_is_told_from_its_port() {
        assert_eq!(Instance { host: "::1".into(), port: 80 }.to_string(), "[::1]:80");
    }
}
