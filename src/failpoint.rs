//! Named places where a test may have the process die, as if the power went: `MFCTL_FAILPOINT=name` or `name:n` for
//! the n-th time the place is reached. Inert without that variable; it is for tests alone (`docs/testing.md`).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable.
const VARIABLE: &str = "MFCTL_FAILPOINT";

/// A place and how often it is passed before the process dies there.
#[derive(Debug)]
struct Armed {
    name: String,
    passes_left: AtomicU64,
}

impl Armed {
    fn parse(text: &str) -> Self {
        let (name, nth) = match text.rsplit_once(':') {
            Some((name, nth)) => (name, nth.parse().unwrap_or(1)),
            None => (text, 1),
        };
        Self { name: name.to_owned(), passes_left: AtomicU64::new(nth) }
    }

    /// Whether this is the pass that does not come back.
    fn strikes(&self, name: &str) -> bool {
        self.name == name && self.passes_left.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// Marks a place. Ends the process without any clean-up if a test asked for it here and now.
pub fn hit(name: &str) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| Armed::parse(&text)));
    if armed.as_ref().is_some_and(|armed| armed.strikes(name)) {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_strikes_once_at_its_turn() {
        let armed = Armed::parse("after_copy:3");
        let struck: Vec<bool> = (0..5).map(|_| armed.strikes("after_copy")).collect();
        assert_eq!(struck, [false, false, true, false, false]);
        assert!(!armed.strikes("before_copy"));
        assert!(Armed::parse("before_settle").strikes("before_settle"));
    }
}
