//! Periodic work of the daemon beside its stages: retention, the folding of claims, the measurement of lag, and the
//! sweep of temporary folders that dead workers left.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::ops::claim_folding::{ClaimFolding, does_periodic_work};
use crate::ops::retention;
use crate::pipeline::scratch;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{EnvName, Stage, lag};
use mfctl_core::ports::{self, Ports};
use mfctl_core::telemetry::Metrics;

/// Between two runs of retention, and of the folding of claims.
const RETENTION_INTERVAL: Duration = Duration::from_secs(600);
const LAG_INTERVAL: Duration = Duration::from_secs(10);
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Deletes expired records and staged objects; in a cluster, aborts incomplete uploads.
#[derive(Clone)]
pub(super) struct RetentionJob {
    pub(super) ports: Ports,
    pub(super) buckets: Buckets,
    /// Age at which a staged object expires.
    pub(super) staging_retention: Duration,
}

impl RetentionJob {
    /// Deletes what has expired now, and logs it.
    pub(super) async fn run_once(&self) {
        match retention::run(&self.ports, &self.buckets, self.staging_retention, self.ports.clock.now()).await {
            Ok(removed) => {
                for (topic, records) in removed.records.removed.iter().filter(|(_, records)| **records > 0) {
                    tracing::info!(topic, records, "deleted expired records");
                }
                if removed.staged_objects > 0 {
                    let objects = removed.staged_objects;
                    tracing::info!(objects, kept = removed.kept_for_assets, "deleted expired staged objects");
                }
                if removed.abandoned_uploads > 0 {
                    tracing::info!(uploads = removed.abandoned_uploads, "aborted incomplete uploads");
                }
            }
            // The next run deletes the rest.
            Err(error) => tracing::warn!(error = %error.full(), "stopped retention early; retrying at the next run"),
        }
    }

    /// Runs once per interval, the first time after one interval.
    pub(super) async fn run_periodically(self) {
        let mut ticks = ticks_every(RETENTION_INTERVAL);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.run_once().await;
        }
    }
}

/// The work that one member of each group does for all of its members.
pub(super) struct GroupUpkeep {
    pub(super) ports: Ports,
    pub(super) env: EnvName,
    /// The stages of this process, each with the name of its member and with what it has folded.
    pub(super) members: Vec<(Stage, String, ClaimFolding)>,
    /// What one process does for all of them; `None` where each does it.
    pub(super) retention: Option<RetentionJob>,
}

impl GroupUpkeep {
    /// Runs once per interval, the first time after one interval.
    pub(super) async fn run_periodically(mut self) {
        let mut ticks = ticks_every(RETENTION_INTERVAL);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.run_once().await;
        }
    }

    async fn run_once(&mut self) {
        let now = self.ports.clock.now();
        for (stage, instance, folding) in &mut self.members {
            let Ok(group) = stage.group(&self.env) else { continue };
            let (log, catalog) = (self.ports.log.as_ref(), self.ports.catalog.as_ref());
            match log.members(&group).await.map(|members| does_periodic_work(&members, *stage, instance)) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tracing::warn!(%stage, error = %error.full(), "cannot see who does periodic work; retrying at the next run");
                    continue;
                }
            }
            match folding.run(log, catalog, (*stage, &group), now).await {
                Ok(0) => {}
                Ok(claims) => tracing::info!(%stage, claims, "removed old claims"),
                Err(error) => {
                    tracing::warn!(%stage, error = %error.full(), "cannot remove old claims; retrying at the next run");
                }
            }
            if let Some(retention) = self.retention.as_ref().filter(|_| *stage == Stage::Persist) {
                retention.run_once().await;
            }
        }
    }
}

/// Measures the lag of each stage's group for the metrics.
pub(super) struct LagMonitor {
    pub(super) ports: Ports,
    pub(super) metrics: Arc<Metrics>,
    pub(super) env: EnvName,
    pub(super) stages: Vec<Stage>,
}

impl LagMonitor {
    /// Measures once per interval, the first time at once.
    pub(super) async fn run(self) {
        let mut ticks = ticks_every(LAG_INTERVAL);
        loop {
            ticks.tick().await;
            for stage in &self.stages {
                if let Err(error) = self.measure(*stage).await {
                    tracing::debug!(%stage, error = %error.full(), "skipped a lag measurement");
                }
            }
        }
    }

    async fn measure(&self, stage: Stage) -> ports::Result<()> {
        let Ok(group) = stage.group(&self.env) else { return Ok(()) };
        for partition in self.ports.log.progress(&group, &[stage.input()]).await? {
            self.metrics.lag(stage, &partition.at, lag::lag(partition.span, partition.committed));
        }
        Ok(())
    }
}

/// Deletes temporary folders that dead workers left, once per interval, the first time at once.
pub(super) async fn sweep_temporary_folders() {
    let mut ticks = ticks_every(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let parent = std::env::temp_dir();
        let swept = tokio::task::spawn_blocking(move || scratch::sweep(&parent)).await;
        match swept.map_err(std::io::Error::other).flatten() {
            Ok(swept) => {
                if swept.deleted > 0 {
                    tracing::info!(folders = swept.deleted, "deleted temporary folders of workers that are gone");
                }
                for (folder, error) in swept.failed {
                    tracing::warn!(folder = %folder.shown(), %error, "cannot delete an unused temporary folder");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look for unused temporary folders"),
        }
    }
}

/// Ticks of periodic work, the first one at once. A run that takes longer than the interval delays the next tick.
fn ticks_every(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
