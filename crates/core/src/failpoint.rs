//! Failpoints: named points where a test can abort the process, as a power failure would, stop it, or let a task panic.
//! `MFCTL_FAILPOINT=name` aborts there, `name:n` at the n-th hit, `stop@name` stops the process until it is continued, and
//! `panic@name` panics. Without that variable they do nothing; they are for tests only (`docs/testing.md`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Environment variable that arms a failpoint.
const VARIABLE: &str = "MFCTL_FAILPOINT";

/// Action of an armed failpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailpointAction {
    /// Aborts the process without clean-up.
    Abort,
    /// Stops the process with SIGSTOP, until SIGCONT.
    Stop,
    /// Panics, as a bug would.
    Panic,
}

/// An armed failpoint.
#[derive(Debug)]
struct ArmedFailpoint {
    name: String,
    action: FailpointAction,
    hits_left: AtomicU64,
}

impl ArmedFailpoint {
    fn parse(text: &str) -> Self {
        let (action, text) = match text.split_once('@') {
            Some(("stop", text)) => (FailpointAction::Stop, text),
            Some(("panic", text)) => (FailpointAction::Panic, text),
            _ => (FailpointAction::Abort, text),
        };
        let (name, nth) = match text.rsplit_once(':') {
            Some((name, nth)) => (name, nth.parse().unwrap_or(1)),
            None => (text, 1),
        };
        Self { name: name.to_owned(), action, hits_left: AtomicU64::new(nth) }
    }

    /// The action, if this is the hit it is armed for.
    fn trigger(&self, name: &str) -> Option<FailpointAction> {
        (self.name == name && self.hits_left.fetch_sub(1, Ordering::Relaxed) == 1).then_some(self.action)
    }
}

/// Marks the failpoint of this name.
pub fn hit(name: &str) {
    static ARMED: OnceLock<Option<ArmedFailpoint>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| ArmedFailpoint::parse(&text)));
    match armed.as_ref().and_then(|armed| armed.trigger(name)) {
        Some(FailpointAction::Abort) => std::process::abort(),
        Some(FailpointAction::Stop) => stop_process(),
        Some(FailpointAction::Panic) => panic!("failpoint {name}"),
        None => {}
    }
}

/// Stops the process until it is continued. Without the wait, this thread goes on until the thread that the kernel gives the
/// signal to has run. An error is ignored: the test that waits for the stop fails.
fn stop_process() {
    if kill_process(getpid(), Signal::STOP).is_ok() {
        while is_pending(Signal::STOP) {
            std::thread::yield_now();
        }
    }
}

/// Whether a signal was sent to the process and no thread has received it. `false` where the system does not tell.
fn is_pending(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    pending & (1 << (signal.as_raw() - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_triggers_once_at_its_nth_hit() {
        let armed = ArmedFailpoint::parse("after_copy:3");
        let triggered: Vec<bool> = (0..5).map(|_| armed.trigger("after_copy").is_some()).collect();
        assert_eq!(triggered, [false, false, true, false, false]);
        assert_eq!(armed.trigger("before_copy"), None);
        let abort = ArmedFailpoint::parse("before_settle");
        assert_eq!(abort.trigger("before_settle"), Some(FailpointAction::Abort));
        let stop = ArmedFailpoint::parse("stop@before_commit:1");
        assert_eq!(stop.trigger("before_commit"), Some(FailpointAction::Stop));
        let panic = ArmedFailpoint::parse("panic@before_commit");
        assert_eq!(panic.trigger("before_commit"), Some(FailpointAction::Panic));
    }
}
