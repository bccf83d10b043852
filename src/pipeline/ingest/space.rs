//! Room on the disk: looked at before a run, and again while it goes on.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Error, Rules, walk};
use mfctl_core::humane;
use mfctl_core::ports::{self, Capacity, ErrorKind, ObjectStore};
use mfctl_core::stop::Stop;

/// A look ahead ends here; what it has seen by then counts.
const LONGEST: Duration = Duration::from_millis(700);
const MOST_FILES: u64 = 500_000;

/// What a look ahead found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it came to the end.
    pub whole: bool,
}

/// Counts what is there to be taken, for a moment. Standard input cannot be read twice, so a list from there counts as
/// nothing.
pub(super) fn look_ahead(rules: &Rules, stop: &Stop) -> Estimate {
    let mut seen = Estimate::default();
    if rules.spec.list.as_ref().is_some_and(|list| list.path.is_none()) {
        return seen;
    }
    let began = Instant::now();
    let mut count = |candidate: walk::Candidate| {
        seen.files += 1;
        if candidate.refused.is_none() && candidate.size_hint <= rules.spec.max_size_bytes {
            seen.bytes = seen.bytes.saturating_add(candidate.size_hint);
        }
        if seen.files.is_multiple_of(256) && began.elapsed() > LONGEST || seen.files >= MOST_FILES {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    // What is wrong with a manifest is told by the run itself.
    let ended = walk::find(rules, &Arc::default(), stop, &mut count);
    seen.whole = matches!(ended, Ok(ControlFlow::Continue(())));
    seen
}

/// Keeps a share of the disk free.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    /// The share of the disk, in percent, that is to stay free.
    pub min_free_percent: f64,
}

impl Guard {
    /// Bytes that may still be written.
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
    pub fn room(self, capacity: Capacity) -> u64 {
        let kept = (capacity.total_bytes as f64 * self.min_free_percent / 100.0) as u64;
        capacity.free_bytes.saturating_sub(kept)
    }

    /// Whether these bytes fit.
    ///
    /// # Errors
    /// `Full` if they do not; those of the store.
    pub(super) async fn check(self, objects: &dyn ObjectStore, bytes: u64) -> ports::Result<()> {
        match objects.capacity().await? {
            Some(capacity) if self.room(capacity) < bytes => {
                let what = format!(
                    "writing {} would leave less than {} % of the disk free",
                    humane::bytes(bytes),
                    self.min_free_percent
                );
                Err(ports::Error::new(ErrorKind::Full, what).hint("free some space on the disk of the data folder"))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a run that would leave too little free.
///
/// # Errors
/// [`Error::NoRoom`], or those of the store.
pub async fn room(objects: &dyn ObjectStore, guard: Guard, ahead: Estimate) -> Result<(), Error> {
    let Some(capacity) = objects.capacity().await? else { return Ok(()) };
    if guard.room(capacity) >= ahead.bytes.max(1) {
        return Ok(());
    }
    let more = if ahead.whole { "" } else { " or more" };
    Err(Error::NoRoom(format!(
        "{} in {}{more} would leave less than {} % of the disk free: it has {} of {} left",
        humane::bytes(ahead.bytes),
        humane::counted(ahead.files, "file", "files"),
        guard.min_free_percent,
        humane::bytes(capacity.free_bytes),
        humane::bytes(capacity.total_bytes),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_disk_stays_free() {
        let guard = Guard { min_free_percent: 10.0 };
        assert_eq!(guard.room(Capacity { total_bytes: 1000, free_bytes: 150 }), 50);
        assert_eq!(guard.room(Capacity { total_bytes: 1000, free_bytes: 90 }), 0);
    }
}
