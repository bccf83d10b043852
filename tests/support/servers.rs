//! The stack's servers, which a test can kill or pause.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::CommandOutput;
use super::stack::env;

/// The brokers' names in the stack.
pub const BROKERS: [&str; 3] = ["kafka-1", "kafka-2", "kafka-3"];

/// Runs `stack/stack VERB SERVER` on the stack of the tests.
fn stack(verb: &str, server: &str) {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/stack/stack"));
    command.args([verb, server]).env("MFCTL_STACK_RUN", env("STACK_RUN"));
    let ran = CommandOutput::run(command);
    assert_eq!(ran.code, 0, "stack {verb} {server}: {ran}");
}

/// A killed server; it is started again by [`KilledServer::start`], or when this is dropped.
pub struct KilledServer(&'static str);

impl KilledServer {
    /// Kills a server with SIGKILL.
    pub fn kill(server: &'static str) -> Self {
        stack("kill", server);
        Self(server)
    }

    /// Starts it and waits until it is healthy.
    pub fn start(self) {
        drop(self);
    }
}

impl Drop for KilledServer {
    fn drop(&mut self) {
        stack("start", self.0);
    }
}

/// A server that is stopped (SIGSTOP) until this is dropped.
pub struct PausedServer(Pid);

impl PausedServer {
    pub fn stop(server: &str) -> Self {
        let pid = std::fs::read_to_string(format!("{}/pids/{server}", env("STACK_RUN"))).unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for PausedServer {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}
