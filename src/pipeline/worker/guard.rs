//! The dead-letter ratio: a worker whose records nearly all fail is broken itself, or what it reads is. It stops, rather
//! than send a whole topic where somebody has to sort it out.

use std::collections::{BTreeMap, VecDeque};

/// The latest records looked at. With fewer, no ratio is taken: small runs are never stopped.
pub(super) const WINDOW: usize = 100;

/// What the latest records came to.
#[derive(Debug, Default)]
pub(super) struct Guard {
    latest: VecDeque<Option<String>>,
}

/// The limit was crossed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crossed {
    pub(super) dead_letters: usize,
    pub(super) of: usize,
    pub(super) mostly: String,
}

impl Guard {
    /// Notes what came of a record: the kind of its dead letter, or `None`. No limit is never crossed.
    pub(super) fn note(&mut self, dead_letter: Option<&str>, limit: Option<f64>) -> Option<Crossed> {
        if self.latest.len() == WINDOW {
            self.latest.pop_front();
        }
        self.latest.push_back(dead_letter.map(str::to_owned));
        let dead_letters = self.latest.iter().flatten().count();
        let limit = limit?;
        if self.latest.len() < WINDOW || dead_letters as f64 <= limit * WINDOW as f64 {
            return None;
        }
        Some(Crossed { dead_letters, of: WINDOW, mostly: self.mostly() })
    }

    fn mostly(&self) -> String {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for kind in self.latest.iter().flatten() {
            *kinds.entry(kind).or_default() += 1;
        }
        kinds.into_iter().max_by_key(|(_, count)| *count).map(|(kind, _)| kind.to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_is_never_stopped() {
        let mut guard = Guard::default();
        assert!((1..WINDOW).all(|_| guard.note(Some("malformed"), Some(0.5)).is_none()));
        let crossed = guard.note(None, Some(0.5)).unwrap();
        assert_eq!((crossed.dead_letters, crossed.mostly.as_str()), (99, "malformed"));
    }

    #[test]
    fn half_is_allowed_and_more_is_not() {
        let mut guard = Guard::default();
        for at in 0..300 {
            assert_eq!(guard.note((at % 2 == 0).then_some("x"), Some(0.5)), None);
        }
        assert!(guard.note(Some("x"), Some(0.5)).is_none(), "the oldest one, a dead letter too, leaves");
        assert!(guard.note(Some("x"), None).is_none(), "without a limit");
        assert!(guard.note(Some("x"), Some(0.5)).is_some());
    }
}
