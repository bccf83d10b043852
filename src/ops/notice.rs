//! What an operator should know at a glance, on one line: workers that pause, and the latest change of a setting.

use super::{lag, status_settings, status_workers, worker_reports};
use mfctl_core::domain::EnvName;
use mfctl_core::humane;
use mfctl_core::ports::Ports;

/// Reads the notice of an environment.
pub struct NoticeReader {
    /// The platform's ports.
    pub ports: Ports,
    /// The environment.
    pub env: EnvName,
}

impl NoticeReader {
    /// The notice; `None` when no worker pauses and no setting has changed in the last 24 hours. Nothing is said of what
    /// cannot be read: the panels of the dashboard show what is down.
    pub async fn read(&self) -> Option<String> {
        let mut notices = self.pauses().await;
        notices.extend(self.latest_change().await);
        (!notices.is_empty()).then(|| notices.join("; "))
    }

    async fn pauses(&self) -> Vec<String> {
        let Ok(groups) = lag::pipeline_groups(self.ports.log.as_ref(), &self.env).await else { return Vec::new() };
        let reports = worker_reports::latest(self.ports.operators.as_ref(), &self.env).await.unwrap_or_default();
        status_workers::paused(groups.iter(), &reports, &self.env).iter().map(ToString::to_string).collect()
    }

    async fn latest_change(&self) -> Option<String> {
        let store = self.ports.config.as_ref()?;
        let now = self.ports.clock.now();
        let changes = status_settings::recent_changes(store.as_ref(), &self.env, now).await.ok()?;
        let more = match changes.len() {
            0 | 1 => String::new(),
            count => format!(" ({} more in `mfctl status`)", humane::count(count as u64 - 1)),
        };
        Some(format!("{}{more}", changes.first()?))
    }
}
