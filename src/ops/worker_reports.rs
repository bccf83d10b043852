//! What workers report about themselves in the operator journal, so that `status` can say on any host why a group has no
//! members and which settings are not used: each start, each end with its reason, and each change of the unused settings.

use std::sync::Arc;
use std::time::Duration;

use super::setting_report::UnusedSetting;
use crate::settings::Settings;
use mfctl_core::domain::{EnvName, Stage, Timestamp};
use mfctl_core::ports::{Clock, OperatorJournal, OperatorRecord, Ports, Result};

/// Records of the journal that are read for the latest reports.
const MAX_RECORDS: usize = 1000;
/// Longest time that a report may take: a worker must not wait for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of a reason that are kept.
const MAX_REASON_CHARS: usize = 1000;

const STARTED: &str = "worker started";
const ENDED: &str = "worker ended";
const SETTINGS: &str = "worker settings";

/// What a worker reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerReport {
    /// It started.
    Started,
    /// It ended.
    Ended {
        /// Exit code of this end.
        exit_code: u8,
        /// Why it ended.
        reason: String,
    },
    /// The settings that it does not use now, of all that it has values for.
    Settings(Vec<UnusedSetting>),
}

/// A report with its author and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedReport {
    /// Time of the report.
    pub at: Timestamp,
    /// Stage of the worker.
    pub stage: Stage,
    /// Its name in the stage's group.
    pub instance: String,
    /// The report.
    pub report: WorkerReport,
}

/// Writes the reports of this process's workers.
#[derive(Clone)]
pub struct WorkerReporter {
    journal: Arc<dyn OperatorJournal>,
    clock: Arc<dyn Clock>,
    actor: String,
    profile: String,
    environment: EnvName,
}

impl WorkerReporter {
    /// The reporter of a process with this profile.
    #[must_use]
    pub fn new(ports: &Ports, settings: &Settings) -> Self {
        Self {
            journal: Arc::clone(&ports.operators),
            clock: Arc::clone(&ports.clock),
            actor: settings.profile.actor.clone(),
            profile: settings.profile.name.to_string(),
            environment: settings.profile.environment.clone(),
        }
    }

    /// Writes the report of one worker. A report that cannot be written is logged: it never stops or delays a worker for long.
    pub async fn report(&self, stage: Stage, instance: &str, report: WorkerReport) {
        let timed = TimedReport { at: self.clock.now(), stage, instance: instance.to_owned(), report };
        let record = timed.to_record(&self.actor, &self.profile, &self.environment);
        match tokio::time::timeout(TIMEOUT, self.journal.append(&record)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%stage, error = error.full(), "the worker's report was not written"),
            Err(_) => tracing::warn!(%stage, "the worker's report was not written in time"),
        }
    }

    /// Writes the same report of several workers, each with its name in its group.
    pub async fn report_all(&self, workers: &[(Stage, String)], report: &WorkerReport) {
        for (stage, instance) in workers {
            self.report(*stage, instance, report.clone()).await;
        }
    }
}

impl TimedReport {
    fn to_record(&self, actor: &str, profile: &str, environment: &EnvName) -> OperatorRecord {
        let mut arguments = vec![environment.to_string(), self.stage.to_string(), self.instance.clone()];
        let (verb, result) = match &self.report {
            WorkerReport::Started => (STARTED, "started".to_owned()),
            WorkerReport::Ended { exit_code, reason } => {
                arguments.push(exit_code.to_string());
                (ENDED, reason.chars().take(MAX_REASON_CHARS).collect())
            }
            WorkerReport::Settings(unused) => {
                arguments.push(serde_json::to_string(unused).unwrap_or_else(|_| "[]".to_owned()));
                (SETTINGS, format!("{} settings are not used", unused.len()))
            }
        };
        OperatorRecord {
            at: self.at,
            actor: actor.to_owned(),
            profile: profile.to_owned(),
            verb: verb.to_owned(),
            arguments,
            result,
            undo: None,
        }
    }

    /// The report of a record; `None` for any other record.
    fn of_record(record: OperatorRecord, environment: &EnvName) -> Option<Self> {
        let [env, stage, instance, rest @ ..] = record.arguments.as_slice() else { return None };
        let stage = Stage::ALL.iter().copied().find(|known| known.as_str() == stage)?;
        let report = match (record.verb.as_str(), rest) {
            (STARTED, []) => WorkerReport::Started,
            (ENDED, [code]) => WorkerReport::Ended { exit_code: code.parse().ok()?, reason: record.result },
            (SETTINGS, [unused]) => WorkerReport::Settings(serde_json::from_str(unused).ok()?),
            _ => return None,
        };
        (env == environment.as_str()).then(|| Self { at: record.at, stage, instance: instance.clone(), report })
    }
}

/// The latest reports of an environment's workers, newest first.
///
/// # Errors
/// Those of the journal.
pub async fn latest(journal: &dyn OperatorJournal, environment: &EnvName) -> Result<Vec<TimedReport>> {
    let records = journal.latest(MAX_RECORDS).await?;
    Ok(records.into_iter().filter_map(|record| TimedReport::of_record(record, environment)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_journal_and_other_records_are_none() {
        let env: EnvName = "dev".parse().unwrap();
        let unused = UnusedSetting {
            key: "enrich.memory".to_owned(),
            value: None,
            origin: "kv:dev/mfctl/enrich_memory".to_owned(),
            reason: "expects a size".to_owned(),
            in_use: "1GiB".to_owned(),
            in_use_origin: "the last value that passed".to_owned(),
            default: "512MiB".to_owned(),
        };
        let ended = WorkerReport::Ended { exit_code: 8, reason: "100 of 100 records failed".to_owned() };
        for report in [WorkerReport::Started, ended, WorkerReport::Settings(vec![unused])] {
            let timed =
                TimedReport { at: Timestamp::UNIX_EPOCH, stage: Stage::Enrich, instance: "h1/0".to_owned(), report };
            let record = timed.to_record("mina@h1", "dev", &env);
            assert_eq!(TimedReport::of_record(record.clone(), &env), Some(timed));
            assert_eq!(TimedReport::of_record(record.clone(), &"prod".parse().unwrap()), None);
            let other = OperatorRecord { verb: "dlq redrive".to_owned(), ..record };
            assert_eq!(TimedReport::of_record(other, &env), None);
        }
    }
}
