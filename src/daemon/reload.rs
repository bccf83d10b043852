//! Reload of settings while the daemon runs: applies the settings of the stages at once, and logs a change of any
//! other.

use std::sync::Arc;

use tokio::sync::watch;

use crate::ops::stored_settings;
use crate::pipeline::follow::{ConfigFollower, ConfigUpdate};
use crate::pipeline::worker::Tuning;
use crate::settings::{self, Layers, Settings};
use mfctl_core::domain::Stage;
use mfctl_core::domain::error_chain::error_chain;
use mfctl_core::ports::{ConfigSnapshot, ConfigStore};
use mfctl_extract::parsers::Limits;

/// Puts the values of command-line flags, which override every layer, into settings.
pub type FlagOverlay = Arc<dyn Fn(&mut Settings) + Send + Sync>;

/// Default concurrency of persist, which waits for the disk and not for the processor.
const PERSIST_CONCURRENCY: usize = 64;

/// The settings that may change while the daemon runs. Consume loops and steps subscribe to them.
#[derive(Debug, Clone)]
pub(super) struct ReloadableSettings {
    persist: watch::Sender<Tuning>,
    enrich: watch::Sender<Tuning>,
    limits: watch::Sender<Limits>,
}

impl ReloadableSettings {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            persist: watch::Sender::new(tuning(settings, Stage::Persist)),
            enrich: watch::Sender::new(tuning(settings, Stage::Enrich)),
            limits: watch::Sender::new(limits(settings)),
        }
    }

    /// Subscribes to the tuning of a stage's consume loop.
    pub(super) fn tuning(&self, stage: Stage) -> watch::Receiver<Tuning> {
        match stage {
            Stage::Persist => self.persist.subscribe(),
            Stage::Enrich => self.enrich.subscribe(),
        }
    }

    /// Subscribes to the limits of the parser.
    pub(super) fn limits(&self) -> watch::Receiver<Limits> {
        self.limits.subscribe()
    }

    fn publish(&self, settings: &Settings) {
        self.persist.send_replace(tuning(settings, Stage::Persist));
        self.enrich.send_replace(tuning(settings, Stage::Enrich));
        self.limits.send_replace(limits(settings));
    }
}

fn tuning(settings: &Settings, stage: Stage) -> Tuning {
    let settings = &settings.worker;
    let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let default_concurrency = match stage {
        Stage::Persist => PERSIST_CONCURRENCY,
        Stage::Enrich => cores(),
    };
    Tuning {
        concurrency: settings.concurrency.or_else(|| default_concurrency),
        drain_timeout: settings.drain_timeout,
        give_up_after: settings.give_up_after,
        dead_letter_ratio: Some(settings.dead_letter_ratio.get()),
    }
}

fn limits(settings: &Settings) -> Limits {
    let enrich = &settings.enrich;
    let defaults = Limits::default();
    Limits {
        max_text_bytes: usize::try_from(enrich.max_text.0).unwrap_or(usize::MAX),
        max_pixels: enrich.max_pixels,
        cpu_seconds: enrich.cpu.as_secs().max(1),
        timeout_seconds: enrich.wall.as_secs().max(1),
        // JSON may double the size of the text, and the thumbnail is added to it.
        output_bytes: defaults.output_bytes.max(enrich.max_text.0.saturating_mul(2)),
        ..defaults
    }
    .with_memory(enrich.memory.0)
}

/// Follows mfctl's own settings in the configuration store and applies their changes.
pub(super) struct SettingsReloader {
    /// Layers of this host, which override the store's.
    pub(super) layers: Layers,
    /// Command-line flags, which override all layers.
    pub(super) flags: FlagOverlay,
    /// The settings in force.
    pub(super) settings: Settings,
    /// Receives the new values.
    pub(super) reloadable: ReloadableSettings,
}

impl SettingsReloader {
    /// Follows the store until dropped.
    pub(super) async fn run(mut self, store: Arc<dyn ConfigStore>) {
        let prefix = settings::stored::prefix(&self.settings.profile.environment);
        // From index 0, so that the first query returns what changed since the settings were read.
        let mut follower = ConfigFollower::new(store, prefix, &ConfigSnapshot { entries: Vec::new(), index: 0 });
        let mut last_error = None;
        loop {
            match follower.next().await {
                ConfigUpdate::Current { snapshot, after_outage } => {
                    if after_outage {
                        tracing::info!("resumed following mfctl's own settings");
                    }
                    self.apply(&snapshot, &mut last_error);
                }
                ConfigUpdate::Unavailable { error, is_first: true } => {
                    tracing::warn!(error = error.full(), "retrying the query for mfctl's own settings");
                }
                ConfigUpdate::Unavailable { .. } => {}
            }
        }
    }

    /// Applies a snapshot of the store. An invalid setting leaves all settings as they are, and is logged once.
    fn apply(&mut self, snapshot: &ConfigSnapshot, last_error: &mut Option<String>) {
        let env = &self.settings.profile.environment;
        let settings = stored_settings::overlay(&self.layers, snapshot, env).and_then(|layers| layers.settings());
        match settings {
            Ok(mut settings) => {
                *last_error = None;
                (self.flags)(&mut settings);
                self.log_changes(&settings);
                self.reloadable.publish(&settings);
                self.settings = settings;
            }
            Err(error) => {
                let error = error_chain(&error);
                if last_error.as_ref() != Some(&error) {
                    tracing::warn!(error, "refused a changed setting; the settings in force stay unchanged");
                    *last_error = Some(error);
                }
            }
        }
    }

    fn log_changes(&self, new: &Settings) {
        for setting in &new.resolved {
            let old = self.settings.resolved.iter().find(|old| old.key == setting.key);
            if old.is_none_or(|old| old.value == setting.value) {
                continue;
            }
            let key = &setting.key;
            let value = &setting.value;
            let from = setting.origin.to_string();
            match key.split_once('.').map_or("", |(section, _)| section) {
                "worker" | "enrich" if self.is_overridden(new) => {
                    tracing::info!(key, value, from, "setting changed; a flag of this worker overrides it");
                }
                "worker" | "enrich" => tracing::info!(key, value, from, "setting changed"),
                _ => tracing::info!(key, value, from, "setting changed; it takes effect when this worker is restarted"),
            }
        }
    }

    /// Whether nothing changes for this worker, because flags override what changed.
    fn is_overridden(&self, new: &Settings) -> bool {
        new.worker == self.settings.worker && new.enrich == self.settings.enrich
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_receives_the_latest_settings() {
        let reloadable = ReloadableSettings {
            persist: watch::Sender::new(Tuning { concurrency: 1, ..Tuning::default() }),
            enrich: watch::Sender::new(Tuning::default()),
            limits: watch::Sender::new(Limits::default()),
        };
        let first = reloadable.tuning(Stage::Persist);
        let second = first.clone();
        reloadable.persist.send_replace(Tuning { concurrency: 2, ..Tuning::default() });
        assert_eq!((first.borrow().concurrency, second.borrow().concurrency), (2, 2));
    }
}
