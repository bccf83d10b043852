//! What a worker does beside its stages: retention, and how far each stage is behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::ops::retention;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{EnvName, Stage, lag};
use mfctl_core::ports::{self, Ports};
use mfctl_core::telemetry::Metrics;

/// How often retention runs.
const RETENTION_EVERY: Duration = Duration::from_secs(600);
/// How often the lag is looked at.
const LAG_EVERY: Duration = Duration::from_secs(10);

/// What retention works on, and for how long things are kept.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) ports: Ports,
    pub(super) buckets: Buckets,
    pub(super) staging_kept: Duration,
}

impl Keeper {
    /// Removes what is past its time, and says what it was.
    pub(super) async fn run(&self) {
        match retention::run(&self.ports, &self.buckets, self.staging_kept, self.ports.clock.now()).await {
            Ok(removed) => {
                for (topic, records) in removed.records.removed.iter().filter(|(_, records)| **records > 0) {
                    tracing::info!(topic, records, "removed what was past its retention");
                }
                if removed.staged_objects > 0 {
                    let objects = removed.staged_objects;
                    tracing::info!(objects, kept = removed.kept_for_assets, "removed staged objects past their time");
                }
                if removed.abandoned_uploads > 0 {
                    tracing::info!(uploads = removed.abandoned_uploads, "gave up uploads that were never finished");
                }
            }
            // The next run makes up for it.
            Err(error) => tracing::warn!(error = %error.full(), "retention did not run to its end"),
        }
    }

    /// [`Keeper::run`] again and again, beginning after the first interval.
    pub(super) async fn run_for_ever(self) {
        let mut ticks = every(RETENTION_EVERY);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.run().await;
        }
    }
}

/// Measures the lag of these stages again and again.
pub(super) async fn measure_for_ever(ports: Ports, metrics: Arc<Metrics>, env: EnvName, stages: Vec<Stage>) {
    let mut ticks = every(LAG_EVERY);
    loop {
        ticks.tick().await;
        for stage in &stages {
            if let Err(error) = measure(&ports, &metrics, &env, *stage).await {
                tracing::debug!(%stage, error = %error.full(), "the lag is not known");
            }
        }
    }
}

/// Ticks of periodic work, the first one at once. A run that takes longer than the interval delays the next one.
fn every(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn measure(ports: &Ports, metrics: &Metrics, env: &EnvName, stage: Stage) -> ports::Result<()> {
    let Ok(group) = stage.group(env) else { return Ok(()) };
    for partition in ports.log.progress(&group, &[stage.input()]).await? {
        metrics.lag(stage, &partition.at, lag::lag(partition.span, partition.committed));
    }
    Ok(())
}
