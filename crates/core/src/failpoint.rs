//! Named places where a test may have the process die, as if the power went, or stand still: `MFCTL_FAILPOINT=name`, or
//! `name:n` for the n-th time the place is reached, and `stop@name` to stop there until it is continued. Inert without
//! that variable; it is for tests alone (`docs/testing.md`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// The variable.
const VARIABLE: &str = "MFCTL_FAILPOINT";

/// What happens at the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The process ends without any clean-up.
    Dies,
    /// The process stops, as with SIGSTOP, until somebody continues it.
    Stops,
}

/// A place and how often it is passed before something happens there.
#[derive(Debug)]
struct Armed {
    name: String,
    fault: Fault,
    passes_left: AtomicU64,
}

impl Armed {
    fn parse(text: &str) -> Self {
        let (fault, text) = match text.strip_prefix("stop@") {
            Some(text) => (Fault::Stops, text),
            None => (Fault::Dies, text),
        };
        let (name, nth) = match text.rsplit_once(':') {
            Some((name, nth)) => (name, nth.parse().unwrap_or(1)),
            None => (text, 1),
        };
        Self { name: name.to_owned(), fault, passes_left: AtomicU64::new(nth) }
    }

    /// What happens now, if this is the pass that was meant.
    fn strikes(&self, name: &str) -> Option<Fault> {
        (self.name == name && self.passes_left.fetch_sub(1, Ordering::Relaxed) == 1).then_some(self.fault)
    }
}

/// Marks a place.
pub fn hit(name: &str) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| Armed::parse(&text)));
    match armed.as_ref().and_then(|armed| armed.strikes(name)) {
        Some(Fault::Dies) => std::process::abort(),
        // Nothing is done about a failure: a test that waits for the stop says so.
        Some(Fault::Stops) => drop(kill_process(getpid(), Signal::STOP)),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_strikes_once_at_its_turn() {
        let armed = Armed::parse("after_copy:3");
        let struck: Vec<bool> = (0..5).map(|_| armed.strikes("after_copy").is_some()).collect();
        assert_eq!(struck, [false, false, true, false, false]);
        assert_eq!(armed.strikes("before_copy"), None);
        assert_eq!(Armed::parse("before_settle").strikes("before_settle"), Some(Fault::Dies));
        assert_eq!(Armed::parse("stop@before_commit:1").strikes("before_commit"), Some(Fault::Stops));
    }
}
