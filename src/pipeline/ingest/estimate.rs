//! An estimate of what a run would take, and whether it fits on the disk.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::candidate::IngestCandidate;
use super::error::Error;
use super::free_space::FreeSpaceGuard;
use super::input::JobInputs;
use super::rules::FileRules;
use super::walk;
use mfctl_core::domain::job::InputKind;
use mfctl_core::humane;
use mfctl_core::ports::ObjectStore;
use mfctl_core::stop::Stop;

/// An estimate ends after this long, with what it has counted by then.
const MAX_DURATION: Duration = Duration::from_millis(700);
/// An estimate ends after this many files, with what it has counted by then.
const MAX_FILES: u64 = 500_000;

/// How much a source holds, as far as it was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceEstimate {
    /// Files counted.
    pub files: u64,
    /// Bytes of those that are not refused.
    pub bytes: u64,
    /// Whether the whole source was counted.
    pub complete: bool,
}

/// Counts the files that a run would take, within [`MAX_DURATION`]. `inputs` are those that were read: others count as
/// empty.
///
/// # Errors
/// A list or manifest that is invalid as a whole.
pub(super) fn estimate(rules: &FileRules, inputs: &JobInputs, stop: &Stop) -> Result<SourceEstimate, Error> {
    let mut estimate = SourceEstimate::default();
    let started = Instant::now();
    let mut count = |candidate: IngestCandidate| {
        estimate.files += 1;
        if candidate.refused.is_none() && candidate.size_hint <= rules.spec.max_size_bytes {
            estimate.bytes = estimate.bytes.saturating_add(candidate.size_hint);
        }
        if estimate.files.is_multiple_of(256) && started.elapsed() > MAX_DURATION || estimate.files >= MAX_FILES {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    let walked = walk::walk(rules, inputs, &Arc::default(), stop, &mut count)?;
    let read = |kind| !rules.spec.has_input(kind) || inputs.ended(kind);
    estimate.complete = walked.is_continue() && read(InputKind::List) && read(InputKind::Manifest);
    Ok(estimate)
}

/// Refuses a run that would leave too little free space.
///
/// # Errors
/// [`Error::NoRoom`], or those of the store.
pub(super) async fn require(
    objects: &dyn ObjectStore,
    guard: FreeSpaceGuard,
    estimate: SourceEstimate,
) -> Result<(), Error> {
    let Some(capacity) = objects.capacity().await? else { return Ok(()) };
    if guard.writable_bytes(capacity) >= estimate.bytes.max(1) {
        return Ok(());
    }
    let more = if estimate.complete { "" } else { " or more" };
    Err(Error::NoRoom(format!(
        "{} in {}{more} would leave less than {} % of the disk free: it has {} of {} left",
        humane::bytes(estimate.bytes),
        humane::counted(estimate.files, "file", "files"),
        guard.min_free_percent,
        humane::bytes(capacity.free_bytes),
        humane::bytes(capacity.total_bytes),
    )))
}
