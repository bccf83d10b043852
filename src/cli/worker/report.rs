//! The report of `mfctl worker`, and the exit code for how the stages ended.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Cell, Column, Render, TextPage};
use crate::cli::signals;
use crate::daemon::{StageEnd, StageOutcome};
use crate::pipeline::worker::WorkerEnd;
use mfctl_core::domain::Stage;
use mfctl_core::humane;
use mfctl_core::ports::Error;

/// Document that `mfctl worker` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WorkerReport {
    /// Records committed.
    pub processed: u64,
    /// Events emitted.
    pub emitted: u64,
    /// Records skipped because another record claimed the same asset and revision.
    pub skipped_duplicates: u64,
    /// Retries, of records and of calls to dependencies.
    pub retried: u64,
    /// Records sent to the dead-letter topic.
    pub dead_lettered: u64,
    /// Duration of the run, connecting included.
    pub elapsed_seconds: f64,
    /// The same totals per stage.
    pub stages: Vec<StageReport>,
}

/// Totals of one stage.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StageReport {
    /// Name of the stage.
    pub stage: Stage,
    /// Its name in the consumer group.
    pub instance: String,
    /// Records committed.
    pub processed: u64,
    /// Events emitted.
    pub emitted: u64,
    /// Records skipped because another record claimed the same asset and revision.
    pub skipped_duplicates: u64,
    /// Retries, of records and of calls to dependencies.
    pub retried: u64,
    /// Records sent to the dead-letter topic.
    pub dead_lettered: u64,
    /// Commits that the log refused because this worker was fenced; their records are processed again.
    pub fenced: u64,
    /// Why it ended.
    pub ended: String,
    /// Duration of the stage.
    pub elapsed_seconds: f64,
}

impl From<&StageOutcome> for StageReport {
    fn from(stage: &StageOutcome) -> Self {
        let summary = stage.outcome.summary;
        Self {
            stage: stage.stage,
            instance: stage.instance.clone(),
            processed: summary.processed,
            emitted: summary.emitted,
            skipped_duplicates: summary.skipped_duplicates,
            retried: summary.retried,
            dead_lettered: summary.dead_lettered,
            fenced: summary.fenced,
            ended: stage.outcome.ended.to_string(),
            elapsed_seconds: stage.elapsed.as_secs_f64(),
        }
    }
}

impl WorkerReport {
    pub(super) fn new(outcomes: &[StageOutcome], elapsed: Duration) -> Self {
        let mut stages: Vec<StageReport> = outcomes.iter().map(StageReport::from).collect();
        stages.sort_by_key(|stage| stage.stage);
        let sum = |count: fn(&StageReport) -> u64| stages.iter().map(count).sum();
        Self {
            processed: sum(|stage| stage.processed),
            emitted: sum(|stage| stage.emitted),
            skipped_duplicates: sum(|stage| stage.skipped_duplicates),
            retried: sum(|stage| stage.retried),
            dead_lettered: sum(|stage| stage.dead_lettered),
            elapsed_seconds: elapsed.as_secs_f64(),
            stages,
        }
    }
}

impl Render for WorkerReport {
    fn page(&self, page: &mut TextPage) {
        let columns = [
            Column::whole("STAGE"),
            Column::number("PROCESSED"),
            Column::number("EMITTED").rank(3),
            Column::number("SKIPPED").rank(2),
            Column::number("RETRIED").rank(1),
            Column::number("DEAD-LETTERED"),
            Column::number("SECONDS").rank(4),
            Column::text("ENDED"),
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
            page.line("`mfctl dlq list` shows the dead letters and their causes.");
        }
    }
}

/// The failure with which the process exits, if any: the gravest end of all stages decides.
///
/// # Errors
/// Every end but that of drained stages without dead letters.
pub(super) fn check_outcomes(outcomes: &[StageOutcome]) -> Result<()> {
    let dead_lettered = outcomes.iter().map(|stage| stage.outcome.summary.dead_lettered).sum();
    let gravest = outcomes.iter().max_by_key(|stage| gravity(&stage.outcome.ended));
    gravest.map_or(Ok(()), |stage| check_end(stage.stage, &stage.outcome.ended, dead_lettered))
}

/// The exit code of the end of one stage.
pub(super) fn exit_code(end: &StageEnd<'_>) -> u8 {
    match end {
        StageEnd::Ended(outcome) => {
            check_outcomes(std::slice::from_ref(*outcome)).map_or_else(|failure| failure.exit_code(), |()| 0)
        }
        StageEnd::Failed(error) => Failure::from(Error::new(error.kind(), error.full())).exit_code(),
    }
}

fn check_end(stage: Stage, ended: &WorkerEnd, dead_lettered: u64) -> Result<()> {
    match ended {
        WorkerEnd::Drained if dead_lettered == 0 => Ok(()),
        WorkerEnd::Drained => Err(Failure::partial(format!(
            "{} dead-lettered",
            humane::counted(dead_lettered, "record was", "records were")
        ))
        .hint("`mfctl dlq list` shows them; once the cause is fixed, `mfctl dlq redrive` sends them back")),
        WorkerEnd::Stopped(reason) => {
            Err(signals::stopped(*reason, format!("the worker was {reason}; every record that it had begun is settled")))
        }
        WorkerEnd::OutageTooLong { .. } => Err(Failure::new(FailureKind::Unreachable, format!("{stage}: {ended}"))
            .hint("`mfctl status` shows which part does not answer; nothing is lost, start the worker again")),
        WorkerEnd::TooManyDeadLetters { .. } => Err(Failure::refused(format!("{stage}: {ended}")).hint(
            "these failures point to the worker, not to the records: `mfctl status` names settings that are not used and recent \
             changes of settings, the log what failed; start the worker again once the cause is gone",
        )),
        WorkerEnd::Failed(failure) => {
            let error = Error::new(failure.kind, format!("{stage}: {}", failure.reason));
            Err(Failure::from(match &failure.hint {
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
    use crate::pipeline::worker::{FatalFailure, WorkerOutcome, WorkerSummary};
    use mfctl_core::ports::ErrorKind;
    use mfctl_core::stop::StopReason;

    /// The exit code of stages that ended so; the last has all the dead letters.
    fn exit_code(ends: &[WorkerEnd], dead_lettered: u64) -> u8 {
        let outcome = |(index, ended): (usize, &WorkerEnd)| StageOutcome {
            stage: Stage::Persist,
            instance: "host/0".to_owned(),
            outcome: WorkerOutcome {
                summary: WorkerSummary {
                    dead_lettered: if index + 1 == ends.len() { dead_lettered } else { 0 },
                    ..WorkerSummary::default()
                },
                ended: ended.clone(),
            },
            elapsed: Duration::ZERO,
        };
        let outcomes: Vec<_> = ends.iter().enumerate().map(outcome).collect();
        check_outcomes(&outcomes).map_or_else(|failure| failure.exit_code(), |()| 0)
    }

    #[test]
    fn every_end_has_its_documented_exit_code_and_the_gravest_decides() {
        let failed = WorkerEnd::Failed(FatalFailure { kind: ErrorKind::Denied, reason: "no".into(), hint: None });
        let dead_letters = WorkerEnd::TooManyDeadLetters {
            dead_letters: 60,
            of: 100,
            mostly: "panic".into(),
            tenants: "all of tenant t".into(),
        };
        let outage = WorkerEnd::OutageTooLong { error: "refused".into() };
        let stopped = WorkerEnd::Stopped(StopReason::Terminated);
        assert_eq!(exit_code(&[WorkerEnd::Drained], 0), 0);
        assert_eq!(exit_code(&[WorkerEnd::Drained, WorkerEnd::Drained], 1), 3);
        assert_eq!(exit_code(&[stopped.clone(), WorkerEnd::Drained], 1), 143);
        assert_eq!(exit_code(&[stopped.clone(), outage], 0), 5);
        assert_eq!(exit_code(&[dead_letters, stopped.clone()], 0), 8);
        assert_eq!(exit_code(&[stopped, failed], 0), 6);
    }
}
