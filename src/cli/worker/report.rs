//! What a worker prints when it ends, and the code it ends with.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Cell, Column, Page, Render};
use crate::cli::signals;
use crate::pipeline::worker::{WorkerEnd, WorkerOutcome};
use mfctl_core::domain::Stage;
use mfctl_core::humane;
use mfctl_core::ports::Error;

/// What `mfctl worker` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WorkerReport {
    /// Records settled.
    pub processed: u64,
    /// Events emitted.
    pub emitted: u64,
    /// Records passed over because another stood for the same asset and revision.
    pub skipped_duplicates: u64,
    /// Tries again, of records and of dependencies.
    pub retried: u64,
    /// Records given up.
    pub dead_lettered: u64,
    /// How long it ran.
    pub elapsed_seconds: f64,
    /// The same by stage.
    pub stages: Vec<StageReport>,
}

/// What one stage did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// Its name in its group.
    pub instance: String,
    /// Records settled.
    pub processed: u64,
    /// Events emitted.
    pub emitted: u64,
    /// Records passed over because another stood for the same asset and revision.
    pub skipped_duplicates: u64,
    /// Tries again, of records and of dependencies.
    pub retried: u64,
    /// Records given up.
    pub dead_lettered: u64,
    /// Settlements the log refused, so that the work was done again.
    pub fenced: u64,
    /// Why it ended.
    pub ended: String,
    /// How long it ran.
    pub elapsed_seconds: f64,
}

impl StageReport {
    pub(super) fn of(stage: Stage, instance: String, outcome: &WorkerOutcome, elapsed_seconds: f64) -> Self {
        let summary = outcome.summary;
        Self {
            stage,
            instance,
            processed: summary.processed,
            emitted: summary.emitted,
            skipped_duplicates: summary.skipped_duplicates,
            retried: summary.retried,
            dead_lettered: summary.dead_lettered,
            fenced: summary.fenced,
            ended: outcome.ended.to_string(),
            elapsed_seconds,
        }
    }
}

impl WorkerReport {
    pub(super) fn of(stages: Vec<StageReport>, elapsed_seconds: f64) -> Self {
        let sum = |of: fn(&StageReport) -> u64| stages.iter().map(of).sum();
        Self {
            processed: sum(|stage| stage.processed),
            emitted: sum(|stage| stage.emitted),
            skipped_duplicates: sum(|stage| stage.skipped_duplicates),
            retried: sum(|stage| stage.retried),
            dead_lettered: sum(|stage| stage.dead_lettered),
            elapsed_seconds,
            stages,
        }
    }
}

impl Render for WorkerReport {
    fn page(&self, page: &mut Page) {
        let columns = [
            Column::left("STAGE"),
            Column::right("PROCESSED"),
            Column::right("EMITTED"),
            Column::right("SKIPPED"),
            Column::right("RETRIED"),
            Column::right("DEAD-LETTERED"),
            Column::right("SECONDS"),
            Column::left("ENDED"),
        ];
        let row = |stage: &StageReport| {
            vec![
                Cell::new(stage.stage.as_str()),
                Cell::new(stage.processed.to_string()),
                Cell::new(stage.emitted.to_string()),
                Cell::new(stage.skipped_duplicates.to_string()),
                Cell::new(stage.retried.to_string()),
                Cell::new(stage.dead_lettered.to_string()),
                Cell::new(format!("{:.1}", stage.elapsed_seconds)),
                Cell::new(stage.ended.as_str()),
            ]
        };
        page.table(&columns, self.stages.iter().map(row).collect());
        if self.dead_lettered > 0 {
            page.line("`mfctl dlq list` shows what was given up, and why.");
        }
    }
}

/// The code the process ends with: the gravest end of all stages decides.
///
/// # Errors
/// Every end but that of a drained worker without dead letters.
pub(super) fn verdict(ends: &[(Stage, WorkerEnd)], dead_lettered: u64) -> Result<()> {
    let Some((stage, ended)) = ends.iter().max_by_key(|(_, ended)| gravity(ended)) else { return Ok(()) };
    match ended {
        WorkerEnd::Drained if dead_lettered == 0 => Ok(()),
        WorkerEnd::Drained => Err(Failure::partial(format!(
            "{} dead-lettered",
            humane::counted(dead_lettered, "record was", "records were")
        ))
        .hint("`mfctl dlq list` shows them; once the cause is mended, `mfctl dlq redrive` sends them back")),
        WorkerEnd::Stopped(reason) => Err(signals::stopped(*reason, format!("stopped: {reason}"))),
        WorkerEnd::OutageTooLong { .. } => Err(Failure::new(FailureKind::Unreachable, format!("{stage}: {ended}"))
            .hint("`mfctl status` says which part does not answer; nothing is lost, start the worker again")),
        WorkerEnd::TooManyDeadLetters { .. } => Err(Failure::refused(format!("{stage}: {ended}")).hint(
            "look at the latest dead letters (`mfctl dlq list`) first; --dead-letter-ratio 1 lets the worker go on",
        )),
        WorkerEnd::Failed(halt) => {
            let error = Error::new(halt.kind, format!("{stage}: {}", halt.reason));
            Err(Failure::from(match &halt.hint {
                Some(hint) => error.hint(hint.clone()),
                None => error,
            }))
        }
    }
}

fn gravity(ended: &WorkerEnd) -> u8 {
    match ended {
        WorkerEnd::Drained => 0,
        WorkerEnd::Stopped(_) => 1,
        WorkerEnd::OutageTooLong { .. } => 2,
        WorkerEnd::TooManyDeadLetters { .. } => 3,
        WorkerEnd::Failed(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::worker::FatalFailure;
    use mfctl_core::ports::ErrorKind;
    use mfctl_core::stop::StopReason;

    fn code(ends: &[WorkerEnd], dead_lettered: u64) -> u8 {
        let ends: Vec<_> = ends.iter().map(|ended| (Stage::Persist, ended.clone())).collect();
        verdict(&ends, dead_lettered).map_or_else(|failure| failure.exit_code(), |()| 0)
    }

    #[test]
    fn every_end_has_its_documented_exit_code_and_the_gravest_counts() {
        let halted = WorkerEnd::Failed(FatalFailure { kind: ErrorKind::Denied, reason: "no".into(), hint: None });
        let guarded = WorkerEnd::TooManyDeadLetters { dead_letters: 60, of: 100, mostly: "malformed".into() };
        let gave_up = WorkerEnd::OutageTooLong { error: "refused".into() };
        let asked = WorkerEnd::Stopped(StopReason::Terminated);
        assert_eq!(code(&[WorkerEnd::Drained], 0), 0);
        assert_eq!(code(&[WorkerEnd::Drained, WorkerEnd::Drained], 1), 3);
        assert_eq!(code(&[asked.clone(), WorkerEnd::Drained], 1), 143);
        assert_eq!(code(&[asked.clone(), gave_up], 0), 5);
        assert_eq!(code(&[guarded, asked.clone()], 0), 8);
        assert_eq!(code(&[asked, halted], 0), 6);
    }
}
