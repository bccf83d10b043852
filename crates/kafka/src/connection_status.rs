//! Whether the cluster was ever reached, and the latest connection error of any of its clients.
//!
//! A rejected password or certificate arrives as an event while the calls of that client merely time out. The latest such
//! event is kept here, to explain the error of the call.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka_sys::RDKafkaErrorCode as Code;

use super::blocking::lock;

/// How long an event explains calls that time out.
const RELEVANT_FOR: Duration = Duration::from_secs(30);

/// Shared by all clients of one cluster.
#[derive(Debug, Default)]
pub(super) struct ConnectionStatus {
    latest_error: Mutex<Option<(Instant, Code, String)>>,
    was_reached: AtomicBool,
}

impl ConnectionStatus {
    /// Records an error event. An authentication error is not replaced by the disconnects that follow it.
    pub(super) fn record_error(&self, code: Code, reason: &str) {
        // A broker that rejects our certificate says so after our side has finished the handshake: as a broken connection.
        let code = match reason.contains("SSL alert number") {
            true => Code::SSL,
            false => code,
        };
        let mut latest = lock(&self.latest_error);
        let has_auth_error =
            latest.as_ref().is_some_and(|(at, old, _)| is_auth_error(*old) && at.elapsed() < RELEVANT_FOR);
        if is_auth_error(code) || !has_auth_error {
            *latest = Some((Instant::now(), code, reason.to_owned()));
        }
    }

    /// The latest error of the last 30 seconds.
    pub(super) fn latest_error(&self) -> Option<(Code, String)> {
        let latest = lock(&self.latest_error);
        latest.as_ref().filter(|(at, ..)| at.elapsed() < RELEVANT_FOR).map(|(_, code, reason)| (*code, reason.clone()))
    }

    /// The latest error, if it is one of authentication. Before the cluster was ever reached such an error is permanent;
    /// later it may come from one broker whose certificate is being replaced.
    pub(super) fn auth_error(&self) -> Option<(Code, String)> {
        self.latest_error().filter(|(code, _)| is_auth_error(*code))
    }

    /// The cluster answered: earlier errors no longer explain anything.
    pub(super) fn mark_reached(&self) {
        self.was_reached.store(true, Ordering::Relaxed);
        *lock(&self.latest_error) = None;
    }

    /// Whether the cluster ever answered.
    pub(super) fn was_reached(&self) -> bool {
        self.was_reached.load(Ordering::Relaxed)
    }
}

fn is_auth_error(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disconnects_do_not_hide_an_authentication_error() {
        let status = ConnectionStatus::default();
        status.record_error(Code::BrokerTransportFailure, "down");
        status.record_error(Code::Authentication, "wrong password");
        status.record_error(Code::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(status.auth_error().unwrap().1, "wrong password");
        status.mark_reached();
        assert_eq!(status.latest_error(), None);
        status.record_error(Code::BrokerTransportFailure, "Receive failed: SSL alert number 46");
        assert_eq!(status.auth_error().unwrap().0, Code::SSL);
    }
}
