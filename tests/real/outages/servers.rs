//! The stack's servers, and the proxies before them.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::independent::{curl, run};
use crate::support::Ran;
use crate::support::stack::env;

/// The brokers, as the stack calls them.
pub const BROKERS: [&str; 3] = ["kafka-1", "kafka-2", "kafka-3"];

/// Runs a verb of the stack's own script on the stack that the tests run on.
fn stack(verb: &str, server: &str) {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/stack/stack"));
    command.args([verb, server]).env("MFCTL_STACK_RUN", env("STACK_RUN"));
    let ran = Ran::of(command);
    assert_eq!(ran.code, 0, "stack {verb} {server}: {ran}");
}

/// A server that is down; it comes up again with [`Down::start`], or when the test ends.
pub struct Down(&'static str);

impl Down {
    /// SIGKILL.
    pub fn kill(server: &'static str) -> Self {
        stack("kill", server);
        Self(server)
    }

    /// Starts it and waits until it is healthy.
    pub fn start(self) {
        drop(self);
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        stack("start", self.0);
    }
}

/// A server that stands still until this is dropped.
pub struct Paused(Pid);

impl Paused {
    pub fn stop(server: &str) -> Self {
        let pid = std::fs::read_to_string(format!("{}/pids/{server}", env("STACK_RUN"))).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// What a proxy can do to what goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Latency,
    Cut,
    SlowClose,
    Timeout,
    Bandwidth,
    Slicer,
    ResetPeer,
    LimitData,
}

impl Fault {
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

    /// The toxic; none for a proxy that is switched off.
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

    /// Has the proxy do it to one direction, to connections there are and new ones.
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

/// The proxies without any fault again, also when the test ends.
pub struct Healed;

impl Healed {
    pub fn now() {
        drop(Self);
    }
}

impl Drop for Healed {
    fn drop(&mut self) {
        run("curl", &["-q", "-sS", "--noproxy", "*", "-X", "POST", &format!("{}/reset", env("STACK_TOXIPROXY"))]);
    }
}
