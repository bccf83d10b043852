//! Supervision of the stages in one process: starts a worker per stage, passes the stop signal on, and collects how
//! each worker ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::instance::Instance;
use super::limit_messages::ExplainedExtractor;
use super::reload::ReloadableSettings;
use super::{Daemon, DaemonError};
use crate::ops::setting_report::UnusedSetting;
use crate::ops::worker_reports::{WorkerReport, WorkerReporter};
use crate::pipeline::enrich::Enrich;
use crate::pipeline::persist::Persist;
use crate::pipeline::scratch::Scratch;
use crate::pipeline::store_check::StoreBaseline;
use crate::pipeline::worker::{
    self, PipelineStep, Until, WorkerEnd, WorkerHealth, WorkerOptions, WorkerOutcome, WorkerPause, WorkerPorts,
};
use mfctl_core::domain::Stage;
use mfctl_core::events::EventCodec;
use mfctl_core::ports::{self, FetchLimits};
use mfctl_core::stop::{Stop, StopReason, Stopper};
use mfctl_extract::sandbox::Parser;

/// A pause that is over sooner is not reported.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// How the worker of one stage ended.
#[derive(Debug)]
pub struct StageOutcome {
    /// The stage.
    pub stage: Stage,
    /// Its name in the consumer group.
    pub instance: String,
    /// Why it ended, and its totals.
    pub outcome: WorkerOutcome,
    /// From its start to its end.
    pub elapsed: Duration,
}

/// The end of a stage, for its exit code.
#[derive(Debug)]
pub enum StageEnd<'a> {
    /// The worker ended by itself, or was stopped.
    Ended(&'a StageOutcome),
    /// The worker could not start, or a port failed for good.
    Failed(&'a ports::Error),
}

/// The workers of one process, one per stage.
pub(super) struct Supervisor<'a> {
    daemon: &'a Daemon,
    codec: Arc<EventCodec>,
    baseline: StoreBaseline,
    reloadable: ReloadableSettings,
    stopper: Stopper,
    stop: Stop,
    health: Vec<(Stage, WorkerHealth)>,
    reporter: WorkerReporter,
    /// The instance names of the stages that were spawned.
    instances: Vec<(Stage, String)>,
    running: JoinSet<StageExit>,
    /// Becomes `true` when the stage spawned last is drained.
    last_drained: Option<watch::Receiver<bool>>,
}

/// What the task of a stage returns.
struct StageExit {
    stage: Stage,
    /// Held until the task has ended, so that no other process takes the name earlier.
    instance: Instance,
    started: Instant,
    result: ports::Result<WorkerOutcome>,
}

impl<'a> Supervisor<'a> {
    /// Supervises no stage yet. A stop of the process, as `process_stop` signals it, stops every stage.
    pub(super) async fn new(daemon: &'a Daemon, reloadable: ReloadableSettings, process_stop: Stop) -> Self {
        let registry = Arc::clone(&daemon.ports.registry);
        let codec = Arc::new(EventCodec::new(registry, daemon.target.environment.clone()));
        let (stopper, stop) = Stop::channel();
        let relay = stopper.clone();
        tokio::spawn(async move { relay.stop(process_stop.wait().await) });
        Self {
            daemon,
            codec,
            baseline: StoreBaseline::read(daemon.ports.objects.as_ref(), &daemon.buckets).await,
            reloadable,
            stopper,
            stop,
            health: Vec::new(),
            reporter: WorkerReporter::new(
                Arc::clone(&daemon.ports.operators),
                Arc::clone(&daemon.ports.clock),
                &daemon.settings,
            ),
            instances: Vec::new(),
            running: JoinSet::new(),
            last_drained: None,
        }
    }

    /// Reports the start of each stage, and the values of settings that are not used.
    pub(super) fn report_started(&self) {
        self.reporter.report_all(&self.instances, &WorkerReport::Started);
        let unused = self.reloadable.unused().borrow().clone();
        if !unused.is_empty() {
            self.reporter.report_all(&self.instances, &WorkerReport::Settings(unused));
        }
    }

    /// Reports the pauses of each stage, until dropped.
    pub(super) fn pause_reports(&self) -> impl Iterator<Item = impl Future<Output = ()> + use<>> {
        let named = self.health.iter().zip(&self.instances);
        named.map(|((stage, health), (_, instance))| {
            report_pauses(health.pauses(), self.reporter.clone(), *stage, instance.clone())
        })
    }

    /// The reporter of this process.
    pub(super) fn reporter(&self) -> WorkerReporter {
        self.reporter.clone()
    }

    /// The stages that were spawned, with the names of their workers.
    pub(super) fn instances(&self) -> Vec<(Stage, String)> {
        self.instances.clone()
    }

    /// The values of settings that are not used.
    pub(super) fn unused_settings(&self) -> watch::Receiver<Vec<UnusedSetting>> {
        self.reloadable.unused()
    }

    /// Starts the worker of a stage. With `until_drained`, it counts as drained only once the stage spawned before it
    /// is.
    ///
    /// # Errors
    /// When the instance name is invalid or taken, or the parser's program cannot be found.
    pub(super) fn spawn_stage(&mut self, stage: Stage) -> Result<(), DaemonError> {
        let requested_name = self.daemon.options.instance.as_deref();
        let instance = Instance::acquire(&self.daemon.target.data_dir, stage, requested_name)?;
        match stage {
            Stage::Persist => self.spawn(self.persist_step(), instance),
            Stage::Enrich => self.spawn(self.enrich_step()?, instance),
        }
        Ok(())
    }

    fn spawn<S: PipelineStep>(&mut self, step: S, instance: Instance) {
        let stage = step.stage();
        let (drained_sender, drained) = watch::channel(false);
        let upstream_drained = self.last_drained.replace(drained);
        let options = self.worker_options(stage, &instance, upstream_drained);
        let ports = self.worker_ports();
        let health = WorkerHealth::default();
        self.health.push((stage, health.clone()));
        self.instances.push((stage, instance.name.clone()));
        let stop = self.stop.clone();
        let started = Instant::now();
        self.running.spawn(async move {
            let result = worker::run(Arc::new(step), ports, options, health, &stop).await;
            drained_sender.send_replace(matches!(&result, Ok(outcome) if outcome.ended == WorkerEnd::Drained));
            StageExit { stage, instance, started, result }
        });
    }

    /// Health of each stage that was spawned.
    pub(super) fn health(&self) -> Vec<(Stage, WorkerHealth)> {
        self.health.clone()
    }

    fn worker_ports(&self) -> WorkerPorts {
        let ports = &self.daemon.ports;
        WorkerPorts {
            log: Arc::clone(&ports.log),
            catalog: Arc::clone(&ports.catalog),
            objects: Arc::clone(&ports.objects),
            buckets: self.daemon.buckets.clone(),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&ports.clock),
            metrics: Arc::clone(&self.daemon.metrics),
        }
    }

    fn worker_options(
        &self,
        stage: Stage,
        instance: &Instance,
        upstream_drained: Option<watch::Receiver<bool>>,
    ) -> WorkerOptions {
        let (window_records, max_records, commit_records) = match stage {
            Stage::Persist => (2048, 512, 1024),
            Stage::Enrich => (256, 64, 256),
        };
        let until_drained = self.daemon.options.until_drained;
        let defaults = WorkerOptions::default();
        WorkerOptions {
            instance: instance.name.clone(),
            tuning: self.reloadable.tuning(stage),
            window_records,
            batch: FetchLimits { max_records, ..defaults.batch },
            commit_records,
            until: if until_drained { Until::Drained { after: upstream_drained } } else { Until::Stopped },
            ..defaults
        }
    }

    fn persist_step(&self) -> Persist {
        let ports = &self.daemon.ports;
        Persist {
            objects: Arc::clone(&ports.objects),
            catalog: Arc::clone(&ports.catalog),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&ports.clock),
            buckets: self.daemon.buckets.clone(),
            baseline: self.baseline,
        }
    }

    fn enrich_step(&self) -> Result<Enrich, DaemonError> {
        let ports = &self.daemon.ports;
        let parser = Parser::of_this_program().map_err(DaemonError::ParserProgram)?;
        Ok(Enrich {
            extractor: Arc::new(ExplainedExtractor { extractor: parser, limits: self.reloadable.limit_texts() }),
            limits: self.reloadable.limits(),
            objects: Arc::clone(&ports.objects),
            catalog: Arc::clone(&ports.catalog),
            search: Arc::clone(&ports.search),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&ports.clock),
            buckets: self.daemon.buckets.clone(),
            baseline: self.baseline,
            scratch: Scratch::new(std::env::temp_dir()),
        })
    }

    /// Waits for every stage; returns the outcomes in the order in which the stages ended. A stage that was not drained
    /// stops the others.
    ///
    /// # Errors
    /// The error of the first stage that returned one or panicked, after all have ended.
    pub(super) async fn join_all(mut self) -> Result<Vec<StageOutcome>, DaemonError> {
        let mut outcomes = Vec::new();
        let mut first_error: Option<DaemonError> = None;
        while let Some(joined) = self.running.join_next().await {
            let StageExit { stage, instance, started, result } = match joined {
                Ok(exit) => exit,
                // The others are stopped as at a signal: what they have in flight is committed.
                Err(panic) => {
                    self.stopper.stop(StopReason::Terminated);
                    first_error.get_or_insert(DaemonError::StagePanicked(panic));
                    continue;
                }
            };
            match result {
                Ok(outcome) => {
                    if outcome.ended != WorkerEnd::Drained {
                        self.stopper.stop(StopReason::Terminated);
                    }
                    let elapsed = started.elapsed();
                    let reason = outcome.ended.to_string();
                    let outcome = StageOutcome { stage, instance: instance.name.clone(), outcome, elapsed };
                    self.report_end(stage, &instance, &StageEnd::Ended(&outcome), reason).await;
                    outcomes.push(outcome);
                }
                Err(error) => {
                    self.stopper.stop(StopReason::Terminated);
                    self.report_end(stage, &instance, &StageEnd::Failed(&error), error.full()).await;
                    first_error.get_or_insert(error.into());
                }
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Ok(outcomes),
        }
    }

    /// Reports how a stage ended, before its instance name is free again.
    async fn report_end(&self, stage: Stage, instance: &Instance, end: &StageEnd<'_>, reason: String) {
        let exit_code = (self.daemon.exit_code)(end);
        self.reporter.report(stage, &instance.name, WorkerReport::Ended { exit_code, reason });
        self.reporter.flush().await;
    }
}

/// Reports the pauses of one worker. One that is over at once is not reported.
async fn report_pauses(
    mut pauses: watch::Receiver<Option<WorkerPause>>,
    reporter: WorkerReporter,
    stage: Stage,
    instance: String,
) {
    while let Ok(pause) = pauses.wait_for(Option::is_some).await.map(|pause| pause.clone()) {
        let Some(WorkerPause { dependency, reason, since }) = pause else { continue };
        if tokio::time::timeout(SHORT_PAUSE, pauses.changed()).await.is_ok() {
            continue;
        }
        reporter.report(stage, &instance, WorkerReport::Paused { dependency: dependency.to_string(), reason, since });
        if pauses.changed().await.is_ok() && pauses.borrow().is_none() {
            reporter.report(stage, &instance, WorkerReport::Resumed);
        }
    }
}
