//! The dependencies of a worker, as its breaker sees them: their canaries, and the reports of their outages.

use std::sync::Arc;

use async_trait::async_trait;

use super::options::WorkerPorts;
use super::step::PipelineStep;
use mfctl_core::breaker::{BreakerHost, OutageCause, OutageEnd};
use mfctl_core::domain::AssetId;
use mfctl_core::ports::{Dependency, Result};
use mfctl_core::telemetry::events::{DependencyDown, DependencyRecovered, WorkerEvent as _};

/// The dependencies of one worker: those of its step, and those of the loop itself.
pub(super) struct WorkerDependencies<S> {
    pub(super) step: Arc<S>,
    pub(super) ports: WorkerPorts,
}

#[async_trait]
impl<S: PipelineStep> BreakerHost for WorkerDependencies<S> {
    async fn check(&self, dependency: Dependency) -> Option<Result<()>> {
        match dependency {
            Dependency::Catalog => {
                let no_asset = [AssetId(uuid::Uuid::nil())];
                Some(self.ports.catalog.assets(&no_asset).await.map(drop))
            }
            Dependency::Registry => Some(self.ports.codec.check_registry(&self.step.stage().input()).await),
            // Its failed calls speak for themselves: they are not made for one record.
            Dependency::Log => None,
            Dependency::Objects | Dependency::Search | Dependency::Parser | Dependency::Scratch => {
                self.step.check(dependency).await
            }
        }
    }

    fn opened(&self, dependency: Dependency, cause: OutageCause, error: &str) {
        let stage = self.step.stage();
        let pauses_intake = cause != OutageCause::Records;
        DependencyDown { stage, dependency: dependency.as_str(), error, pauses_intake }.emit(&self.ports.metrics);
    }

    fn closed(&self, dependency: Dependency, end: OutageEnd) {
        let stage = self.step.stage();
        let dependency = dependency.as_str();
        match end {
            OutageEnd::Recovered { last } => {
                DependencyRecovered { stage, dependency, last }.emit(&self.ports.metrics);
            }
            OutageEnd::Unwatched => self.ports.metrics.dependency_down(stage, dependency, false),
        }
    }
}
