//! What workers report about themselves in the operator journal, so that `status` can say on any host why a group has no
//! members, which members pause and which settings are not used: each start, each end with its reason, each pause, and each
//! change of the unused settings.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::setting_report::UnusedSetting;
use crate::settings::Settings;
use mfctl_core::domain::{EnvName, Stage, Timestamp};
use mfctl_core::ports::{Clock, OperatorJournal, OperatorRecord, Result};

/// Records of the journal that are read for the latest reports.
const MAX_RECORDS: usize = 1000;
/// Longest time that the journal may take for one report.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time that the end of a worker waits for its reports.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Reports that may be queued.
const QUEUE_CAPACITY: usize = 64;
/// Characters of a reason that are kept.
const MAX_REASON_CHARS: usize = 1000;

const STARTED: &str = "worker started";
const ENDED: &str = "worker ended";
const PAUSED: &str = "worker paused";
const RESUMED: &str = "worker resumed";
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
    /// It pauses: a dependency is down.
    Paused {
        /// Name of the dependency, e.g. `parser`.
        dependency: String,
        /// The dependency's error.
        reason: String,
        /// When the dependency failed first.
        since: Timestamp,
    },
    /// It pauses no longer.
    Resumed,
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

/// Writes the reports of this process's workers, one after the other, in a task of its own: no worker waits for the journal.
#[derive(Clone)]
pub struct WorkerReporter {
    queue: mpsc::Sender<QueuedReport>,
    clock: Arc<dyn Clock>,
    actor: String,
    profile: String,
    environment: EnvName,
}

/// What the task of a reporter receives.
enum QueuedReport {
    Write(Stage, OperatorRecord),
    /// Answers once every report before it is written, or was given up.
    Flush(oneshot::Sender<()>),
}

impl WorkerReporter {
    /// The reporter of a process with this profile. Its task ends with the last clone.
    #[must_use]
    pub fn new(journal: Arc<dyn OperatorJournal>, clock: Arc<dyn Clock>, settings: &Settings) -> Self {
        let (queue, reports) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(write_reports(journal, reports));
        Self {
            queue,
            clock,
            actor: settings.profile.actor.clone(),
            profile: settings.profile.name.to_string(),
            environment: settings.profile.environment.clone(),
        }
    }

    /// Queues the report of one worker. One that cannot be written, or for which the queue has no room, is logged.
    pub fn report(&self, stage: Stage, instance: &str, report: WorkerReport) {
        let timed = TimedReport { at: self.clock.now(), stage, instance: instance.to_owned(), report };
        let record = timed.to_record(&self.actor, &self.profile, &self.environment);
        if self.queue.try_send(QueuedReport::Write(stage, record)).is_err() {
            tracing::warn!(%stage, "the worker's report was not written: the operator journal is too slow");
        }
    }

    /// Queues the same report of several workers, each with its name in its group.
    pub fn report_all(&self, workers: &[(Stage, String)], report: &WorkerReport) {
        for (stage, instance) in workers {
            self.report(*stage, instance, report.clone());
        }
    }

    /// Waits until the reports so far are written, but not for long.
    pub async fn flush(&self) {
        let (sender, written) = oneshot::channel();
        let flushed = async {
            if self.queue.send(QueuedReport::Flush(sender)).await.is_ok() {
                // An error means that the task has ended, and with it every report.
                let _ = written.await;
            }
        };
        if tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
            tracing::warn!("the workers' last reports were not written in time");
        }
    }
}

/// The task of a reporter.
async fn write_reports(journal: Arc<dyn OperatorJournal>, mut reports: mpsc::Receiver<QueuedReport>) {
    while let Some(report) = reports.recv().await {
        match report {
            QueuedReport::Write(stage, record) => write_report(journal.as_ref(), stage, &record).await,
            QueuedReport::Flush(written) => drop(written.send(())),
        }
    }
}

async fn write_report(journal: &dyn OperatorJournal, stage: Stage, record: &OperatorRecord) {
    match tokio::time::timeout(TIMEOUT, journal.append(record)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%stage, error = error.full(), "the worker's report was not written"),
        Err(_) => tracing::warn!(%stage, "the worker's report was not written in time"),
    }
}

impl TimedReport {
    fn to_record(&self, actor: &str, profile: &str, environment: &EnvName) -> OperatorRecord {
        let mut arguments = vec![environment.to_string(), self.stage.to_string(), self.instance.clone()];
        let (verb, result) = match &self.report {
            WorkerReport::Started => (STARTED, "started".to_owned()),
            WorkerReport::Ended { exit_code, reason } => {
                arguments.push(exit_code.to_string());
                (ENDED, cut(reason))
            }
            WorkerReport::Paused { dependency, reason, since } => {
                arguments.extend([dependency.clone(), since.to_string()]);
                (PAUSED, cut(reason))
            }
            WorkerReport::Resumed => (RESUMED, "resumed".to_owned()),
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
            (PAUSED, [dependency, since]) => WorkerReport::Paused {
                dependency: dependency.clone(),
                reason: record.result,
                since: since.parse().ok()?,
            },
            (RESUMED, []) => WorkerReport::Resumed,
            (SETTINGS, [unused]) => WorkerReport::Settings(serde_json::from_str(unused).ok()?),
            _ => return None,
        };
        (env == environment.as_str()).then(|| Self { at: record.at, stage, instance: instance.clone(), report })
    }
}

fn cut(reason: &str) -> String {
    reason.chars().take(MAX_REASON_CHARS).collect()
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
        let paused = WorkerReport::Paused {
            dependency: "parser".to_owned(),
            reason: "no process can be started".to_owned(),
            since: Timestamp::UNIX_EPOCH,
        };
        let unused = WorkerReport::Settings(vec![unused]);
        for report in [WorkerReport::Started, ended, paused, WorkerReport::Resumed, unused] {
            let timed =
                TimedReport { at: Timestamp::UNIX_EPOCH, stage: Stage::Enrich, instance: "h1/0".to_owned(), report };
            let record = timed.to_record("mina@h1", "dev", &env);
            assert_eq!(TimedReport::of_record(record.clone(), &env), Some(timed));
            assert_eq!(TimedReport::of_record(record.clone(), &"prod".parse().unwrap()), None);
            let other = OperatorRecord { verb: "dlq redrive".to_owned(), ..record };
            assert_eq!(TimedReport::of_record(other, &env), None);
        }
    }

    /// A journal whose first answer takes long.
    #[derive(Default)]
    struct SlowJournal {
        go_on: tokio::sync::Notify,
        verbs: std::sync::Mutex<Vec<String>>,
    }

    #[async_trait::async_trait]
    impl OperatorJournal for SlowJournal {
        async fn append(&self, record: &OperatorRecord) -> Result<()> {
            if self.verbs.lock().unwrap().is_empty() {
                self.go_on.notified().await;
            }
            self.verbs.lock().unwrap().push(record.verb.clone());
            Ok(())
        }

        async fn latest(&self, _: usize) -> Result<Vec<OperatorRecord>> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn a_slow_journal_delays_no_report_and_gets_them_in_order() {
        let journal = Arc::new(SlowJournal::default());
        let (queue, reports) = mpsc::channel(2);
        tokio::spawn(write_reports(Arc::clone(&journal) as _, reports));
        let reporter = WorkerReporter {
            queue,
            clock: Arc::new(mfctl_core::ports::SystemClock::default()),
            actor: "mina@h1".to_owned(),
            profile: "dev".to_owned(),
            environment: "dev".parse().unwrap(),
        };
        reporter.report(Stage::Enrich, "h1/0", WorkerReport::Started);
        reporter.report(Stage::Enrich, "h1/0", WorkerReport::Resumed);
        journal.go_on.notify_one();
        reporter.flush().await;
        assert_eq!(*journal.verbs.lock().unwrap(), [STARTED, RESUMED]);
        // A queue without room drops what comes, and says so in the log.
        journal.verbs.lock().unwrap().clear();
        (0..10).for_each(|_| reporter.report(Stage::Enrich, "h1/0", WorkerReport::Started));
        journal.go_on.notify_one();
        reporter.flush().await;
        assert!(journal.verbs.lock().unwrap().len() < 10);
    }
}
