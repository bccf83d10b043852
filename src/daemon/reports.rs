//! The reports of this process's workers: each start, each end, and the settings that are not used.

use std::sync::Arc;

use crate::ops::worker_reports::{WorkerReport, WorkerReporter};
use crate::settings::Settings;
use mfctl_core::domain::{EnvName, Stage};
use mfctl_core::ports::{Clock, OperatorJournal, Ports};

/// Writes the reports of this process's workers.
#[derive(Clone)]
pub(super) struct Reports {
    journal: Arc<dyn OperatorJournal>,
    clock: Arc<dyn Clock>,
    actor: String,
    profile: String,
    environment: EnvName,
    /// The workers that have started, with their names in their groups.
    workers: Vec<(Stage, String)>,
}

impl Reports {
    pub(super) fn new(ports: &Ports, settings: &Settings) -> Self {
        Self {
            journal: Arc::clone(&ports.operators),
            clock: Arc::clone(&ports.clock),
            actor: settings.profile.actor.clone(),
            profile: settings.profile.name.to_string(),
            environment: settings.profile.environment.clone(),
            workers: Vec::new(),
        }
    }

    /// The same for workers that have started.
    pub(super) fn of(&self, workers: Vec<(Stage, String)>) -> Self {
        Self { workers, ..self.clone() }
    }

    /// Writes a report of every worker.
    pub(super) async fn report_all(&self, report: &WorkerReport) {
        for (stage, instance) in &self.workers {
            self.report(*stage, instance, report.clone()).await;
        }
    }

    /// Writes a report of one worker.
    pub(super) async fn report(&self, stage: Stage, instance: &str, report: WorkerReport) {
        let reporter = WorkerReporter {
            journal: self.journal.as_ref(),
            clock: self.clock.as_ref(),
            actor: &self.actor,
            profile: &self.profile,
            environment: &self.environment,
        };
        reporter.report(stage, instance, report).await;
    }
}
