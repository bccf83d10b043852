//! The dead-letter ratio: when nearly all records fail, the worker or its input is broken. The worker ends, rather than fill
//! the dead-letter topic with records that an operator has to sort out.

use std::collections::{BTreeMap, VecDeque};

/// The number of latest records that the ratio is taken of. Before that many there is no ratio: small runs never end by it.
const WINDOW: usize = 100;

/// The outcomes of the latest records: the error kind of a dead letter, `None` of any other record.
#[derive(Debug, Default)]
pub(super) struct DeadLetterRatio {
    latest: VecDeque<Option<String>>,
}

/// The ratio is above its limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RatioExceeded {
    pub(super) dead_letters: usize,
    pub(super) of: usize,
    /// The most frequent error kind.
    pub(super) mostly: String,
}

impl DeadLetterRatio {
    /// Adds the records of a batch, as [`DeadLetterRatio::add`], up to the one that exceeds the ratio.
    pub(super) fn add_all<'a>(
        &mut self,
        dead_letters: impl IntoIterator<Item = Option<&'a str>>,
        limit: Option<f64>,
    ) -> Option<RatioExceeded> {
        dead_letters.into_iter().find_map(|dead_letter| self.add(dead_letter, limit))
    }

    /// Adds a record: the error kind of its dead letter, or `None`. Without a limit the ratio is never exceeded.
    fn add(&mut self, dead_letter: Option<&str>, limit: Option<f64>) -> Option<RatioExceeded> {
        if self.latest.len() == WINDOW {
            self.latest.pop_front();
        }
        self.latest.push_back(dead_letter.map(str::to_owned));
        let dead_letters = self.latest.iter().flatten().count();
        let limit = limit?;
        if self.latest.len() < WINDOW || dead_letters as f64 <= limit * WINDOW as f64 {
            return None;
        }
        Some(RatioExceeded { dead_letters, of: WINDOW, mostly: self.most_frequent_kind() })
    }

    fn most_frequent_kind(&self) -> String {
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
    fn fewer_records_than_the_window_never_exceed_the_ratio() {
        let mut ratio = DeadLetterRatio::default();
        assert!((1..WINDOW).all(|_| ratio.add(Some("malformed"), Some(0.5)).is_none()));
        let exceeded = ratio.add(None, Some(0.5)).unwrap();
        assert_eq!((exceeded.dead_letters, exceeded.mostly.as_str()), (99, "malformed"));
    }

    #[test]
    fn dead_letter_ratio_limit_is_exclusive() {
        let mut ratio = DeadLetterRatio::default();
        for at in 0..300 {
            assert_eq!(ratio.add((at % 2 == 0).then_some("x"), Some(0.5)), None);
        }
        assert!(ratio.add(Some("x"), Some(0.5)).is_none(), "the oldest record, a dead letter too, leaves the window");
        assert!(ratio.add(Some("x"), None).is_none(), "without a limit");
        assert!(ratio.add(Some("x"), Some(0.5)).is_some());
    }
}
