//! The worker daemon: one consume loop per stage in one process, with retention, lag metrics, settings that are
//! reloaded while it runs, and an HTTP server for health and metrics.
//!
//! It is given a connected platform and returns how each stage ended. It parses no flags, prints nothing and knows no
//! exit codes: `cli::worker` does that.

mod error;
mod instance;
mod limit_messages;
mod listen;
mod passed_settings;
mod reload;
mod settings_gate;
mod supervisor;
mod upkeep;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use error::DaemonError;
pub use listen::bind;
pub use passed_settings::{PassedValue, last_passed};
pub use reload::FlagOverlay;
pub use supervisor::{StageEnd, StageOutcome};

use crate::ops::claim_folding::ClaimFolding;
use crate::ops::setting_report::SettingAuthors;
use crate::ops::target::{Target, TargetKind};
use crate::settings::{Layers, Settings};
use listen::HttpState;
use mfctl_core::domain::Stage;
use mfctl_core::domain::names::Buckets;
use mfctl_core::ports::{self, EventLog, Ports};
use mfctl_core::stop::Stop;
use mfctl_core::telemetry::Metrics;
use mfctl_extract::sandbox::Parser;
use reload::{ReloadableSettings, SettingsReloader, TrialRetry};
use settings_gate::{CheckedAt, SettingsGate, TrialParse};
use supervisor::Supervisor;
use upkeep::{GroupUpkeep, LagMonitor, RetentionJob};

/// What the daemon runs, and until when.
#[derive(Debug, Clone)]
pub struct DaemonOptions {
    /// The stages, upstream first.
    pub stages: Vec<Stage>,
    /// Name of this worker in each stage's group; `None` for the host, the data folder's id and the lowest free slot.
    pub instance: Option<String>,
    /// Whether each stage ends once its group has consumed every partition to the end.
    pub until_drained: bool,
}

/// A worker daemon that is ready to run.
pub struct Daemon {
    /// Ports of the connected platform.
    pub ports: Ports,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// The platform that the ports are connected to; its data folder holds the lock files of instances.
    pub target: Target,
    /// The process's metrics, which `/metrics` serves.
    pub metrics: Arc<Metrics>,
    /// The settings in force, command-line flags included.
    pub settings: Settings,
    /// This host's layers, from which the settings are computed again after a change in the configuration store.
    pub layers: Layers,
    /// Applies the command-line flags to settings that were computed again.
    pub flags: FlagOverlay,
    /// Stages, instance name and end condition.
    pub options: DaemonOptions,
    /// The exit code of a stage's end, which is part of its report.
    pub exit_code: fn(&StageEnd<'_>) -> u8,
}

impl Daemon {
    /// Runs the stages until all have ended. A stage that is stopped or fails stops the others.
    ///
    /// `listener` serves health and metrics; `on_listening` is called with its address once the stages have started.
    ///
    /// The settings are checked first: one that must not be used is replaced by the last value that passed on this host.
    ///
    /// # Errors
    /// When a stage cannot start: its instance name is invalid or taken, its group cannot be joined, a schema is
    /// missing, or the parser fails a built-in sample because of a flag.
    pub async fn run(
        mut self,
        listener: Option<TcpListener>,
        stop: Stop,
        on_listening: impl FnOnce(SocketAddr),
    ) -> Result<Vec<StageOutcome>, DaemonError> {
        let given = self.settings.clone();
        let mut gate = self.settings_gate()?;
        let admitted = gate.admit(given.clone(), CheckedAt::Start).await?;
        self.settings = admitted.settings.clone();
        let authors = match &self.ports.config {
            Some(store) => reload::authors(store.as_ref(), &self.settings).await,
            None => SettingAuthors::default(),
        };
        let reloadable = ReloadableSettings::new(&admitted, &authors, &self.metrics);
        let is_embedded = self.target.kind == TargetKind::Embedded;
        if is_embedded {
            self.retention_job().run_once().await;
        }
        let mut supervisor = Supervisor::new(&self, reloadable.clone(), stop).await;
        for stage in &self.options.stages {
            supervisor.spawn_stage(*stage)?;
        }
        supervisor.report_started();
        let mut background = JoinSet::new();
        let reloader = SettingsReloader {
            layers: self.layers.clone(),
            flags: Arc::clone(&self.flags),
            gate,
            given,
            in_force: self.settings.clone(),
            retry: TrialRetry::after(admitted.is_trial_failed),
            reloadable,
            metrics: Arc::clone(&self.metrics),
            reporter: supervisor.reporter(),
            workers: supervisor.instances(),
        };
        background.spawn(reloader.run(self.ports.config.clone()));
        supervisor.pause_reports().for_each(|reports| drop(background.spawn(reports)));
        if self.options.stages.contains(&Stage::Enrich) {
            background.spawn(upkeep::sweep_temporary_folders());
        }
        if let Some(listener) = listener {
            if let Ok(address) = listener.local_addr() {
                on_listening(address);
            }
            background.spawn(listen::serve(listener, self.http_state(&supervisor)));
            background.spawn(self.lag_monitor().run());
        }
        if is_embedded {
            background.spawn(self.retention_job().run_periodically());
        }
        let members = supervisor.instances().into_iter();
        let upkeep = GroupUpkeep {
            ports: self.ports.clone(),
            env: self.target.environment.clone(),
            members: members.map(|(stage, instance)| (stage, instance, ClaimFolding::from_anywhere())).collect(),
            retention: (!is_embedded).then(|| self.retention_job()),
        };
        background.spawn(upkeep.run_periodically());
        // The background tasks are aborted when the set is dropped, after every stage has ended.
        supervisor.join_all().await
    }

    /// The check of settings; a worker that enriches also tries the parser.
    fn settings_gate(&self) -> Result<SettingsGate, DaemonError> {
        let trial = if self.options.stages.contains(&Stage::Enrich) {
            let parser = Parser::of_this_program().map_err(DaemonError::ParserProgram)?;
            Some(Arc::new(parser) as Arc<dyn TrialParse>)
        } else {
            None
        };
        Ok(SettingsGate::new(&self.target.data_dir, trial, Arc::clone(&self.ports.clock)))
    }

    /// In the embedded profile each process runs it, in a cluster one: see [`GroupUpkeep`].
    fn retention_job(&self) -> RetentionJob {
        let days = u64::from(self.settings.retention.staging_days);
        RetentionJob {
            ports: self.ports.clone(),
            buckets: self.buckets.clone(),
            staging_retention: Duration::from_secs(days * 24 * 60 * 60),
        }
    }

    fn http_state(&self, supervisor: &Supervisor<'_>) -> Arc<HttpState> {
        let metrics = Arc::clone(&self.metrics);
        let unused = supervisor.unused_settings();
        Arc::new(HttpState { metrics, stages: supervisor.health(), ports: self.ports.clone(), unused })
    }

    fn lag_monitor(&self) -> LagMonitor {
        LagMonitor {
            ports: self.ports.clone(),
            metrics: Arc::clone(&self.metrics),
            env: self.target.environment.clone(),
            stages: self.options.stages.clone(),
        }
    }
}

/// Checks that the input, output and dead-letter topics of `stages` exist. Workers never create topics.
///
/// # Errors
/// Those of the log; `NotFound` names a missing topic and the command that creates it.
pub async fn check_topics(log: &dyn EventLog, stages: &[Stage]) -> ports::Result<()> {
    // One stage's output is the next one's input.
    let topics: BTreeSet<_> =
        stages.iter().flat_map(|stage| [stage.input(), stage.input().dead_letters(), stage.output()]).collect();
    let topics: Vec<_> = topics.into_iter().collect();
    match log.offsets(&topics).await {
        Err(error) if error.kind() == ports::ErrorKind::NotFound && error.hint_text().is_none() => {
            Err(error
                .hint("`mfctl bootstrap apply` creates the topics of a cluster, `mfctl init` those of a data folder"))
        }
        result => result.map(drop),
    }
}
