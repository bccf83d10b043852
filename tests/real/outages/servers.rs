//! The proxies before the stack's servers.

use serde_json::{Value, json};

use crate::external_clients::{curl, run_program};
use crate::support::stack::env;

/// What a proxy can do to its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFault {
    Latency,
    Cut,
    SlowClose,
    Timeout,
    Bandwidth,
    Slicer,
    ResetPeer,
    LimitData,
}

impl NetworkFault {
    pub const ALL: [Self; 8] = [
        Self::Latency,
        Self::Cut,
        Self::SlowClose,
        Self::Timeout,
        Self::Bandwidth,
        Self::Slicer,
        Self::ResetPeer,
        Self::LimitData,
    ];

    /// The toxic of the fault; `None` for `Cut`, which disables the proxy.
    fn toxic(self) -> Option<(&'static str, Value)> {
        match self {
            Self::Cut => None,
            Self::Latency => Some(("latency", json!({"latency": 500, "jitter": 250}))),
            Self::SlowClose => Some(("slow_close", json!({"delay": 2000}))),
            Self::Timeout => Some(("timeout", json!({"timeout": 1000}))),
            Self::Bandwidth => Some(("bandwidth", json!({"rate": 20}))),
            Self::Slicer => Some(("slicer", json!({"average_size": 64, "size_variation": 32, "delay": 1000}))),
            Self::ResetPeer => Some(("reset_peer", json!({"timeout": 200}))),
            Self::LimitData => Some(("limit_data", json!({"bytes": 5000}))),
        }
    }

    /// Applies the fault to one direction of the proxy, on existing and new connections.
    pub fn begin(self, proxy: &str, stream: &str) {
        let url = format!("{}/proxies/{proxy}", env("STACK_TOXIPROXY"));
        match self.toxic() {
            None => drop(curl(&["-X", "POST", &url, "-d", &json!({"enabled": false}).to_string()])),
            Some((kind, attributes)) => {
                let toxic = json!({"type": kind, "stream": stream, "attributes": attributes}).to_string();
                curl(&["-X", "POST", &format!("{url}/toxics"), "-d", &toxic]);
            }
        }
    }
}

/// Removes all faults from the proxies when it is dropped.
pub struct ProxyReset;

impl ProxyReset {
    pub fn now() {
        drop(Self);
    }
}

impl Drop for ProxyReset {
    fn drop(&mut self) {
        run_program(
            "curl",
            &["-q", "-sS", "--noproxy", "*", "-X", "POST", &format!("{}/reset", env("STACK_TOXIPROXY"))],
        );
    }
}
