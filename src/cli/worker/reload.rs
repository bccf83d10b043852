//! Settings of a worker that change while it runs: those that it can take over at once, and word of the others.

use std::sync::Arc;

use tokio::sync::watch;

use super::EnrichArgs;
use crate::cli::stored;
use crate::pipeline::follow::{ConfigFollower, ConfigUpdate};
use crate::pipeline::worker::Tuning;
use crate::settings::{self, Layers, Settings};
use mfctl_core::domain::Stage;
use mfctl_core::ports::{ConfigSnapshot, ConfigStore};
use mfctl_extract::parsers::Limits;

/// Records persisted at the same time where nobody said: they wait for the disk, not for the processor.
const PERSIST_CONCURRENCY: usize = 64;

/// Sends the settings that may change to the loops and steps of one process.
#[derive(Debug, Clone)]
pub(super) struct LiveSettings {
    persist: watch::Sender<Tuning>,
    enrich: watch::Sender<Tuning>,
    limits: watch::Sender<Limits>,
}

impl LiveSettings {
    /// With the values of these settings.
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            persist: watch::Sender::new(tuning(settings, Stage::Persist)),
            enrich: watch::Sender::new(tuning(settings, Stage::Enrich)),
            limits: watch::Sender::new(limits(settings)),
        }
    }

    /// The tuning of a stage's loop.
    pub(super) fn tuning(&self, stage: Stage) -> watch::Receiver<Tuning> {
        match stage {
            Stage::Persist => self.persist.subscribe(),
            Stage::Enrich => self.enrich.subscribe(),
        }
    }

    /// The limits of the parser.
    pub(super) fn limits(&self) -> watch::Receiver<Limits> {
        self.limits.subscribe()
    }

    fn set(&self, settings: &Settings) {
        self.persist.send_replace(tuning(settings, Stage::Persist));
        self.enrich.send_replace(tuning(settings, Stage::Enrich));
        self.limits.send_replace(limits(settings));
    }
}

fn tuning(settings: &Settings, stage: Stage) -> Tuning {
    let settings = &settings.worker;
    let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let best = match stage {
        Stage::Persist => PERSIST_CONCURRENCY,
        Stage::Enrich => cores(),
    };
    Tuning {
        concurrency: settings.concurrency.or_else(|| best),
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
        // Text as JSON may be twice its size, and a thumbnail comes on top.
        output_bytes: defaults.output_bytes.max(enrich.max_text.0.saturating_mul(2)),
        ..defaults
    }
    .with_memory(enrich.memory.0)
}

/// What is needed to take changes over.
pub(super) struct Reload {
    /// What this host says; above it nothing of the store counts.
    pub(super) layers: Layers,
    /// What the command line says, above all.
    pub(super) flags: EnrichArgs,
    /// The settings in force.
    pub(super) settings: Settings,
    /// Where those are seen that may change.
    pub(super) live: LiveSettings,
}

impl Reload {
    /// Follows the store for as long as the process runs.
    pub(super) async fn follow(mut self, store: Arc<dyn ConfigStore>) {
        let prefix = settings::stored::prefix(&self.settings.profile.environment);
        // What changed since the settings were read is seen with the first look.
        let mut follower = ConfigFollower::new(store, prefix, &ConfigSnapshot { entries: Vec::new(), index: 0 });
        let mut refused = None;
        loop {
            match follower.next().await {
                ConfigUpdate::Current { snapshot, after_outage } => {
                    if after_outage {
                        tracing::info!("changes of mfctl's own settings are seen again");
                    }
                    self.take_over(&snapshot, &mut refused);
                }
                ConfigUpdate::Unavailable { error, is_first: true } => {
                    tracing::warn!(error = error.full(), "changes of mfctl's own settings are not seen for now");
                }
                ConfigUpdate::Unavailable { .. } => {}
            }
        }
    }

    /// Takes over what can be; a setting that cannot be leaves all as they are, and is told once.
    fn take_over(&mut self, found: &ConfigSnapshot, refused: &mut Option<String>) {
        let env = &self.settings.profile.environment;
        let settings = stored::above_found(&self.layers, found, env).and_then(|layers| Ok(layers.settings()?));
        match settings {
            Ok(mut settings) => {
                *refused = None;
                self.flags.over(&mut settings);
                self.tell(&settings);
                self.live.set(&settings);
                self.settings = settings;
            }
            Err(failure) => {
                let said = failure.to_string();
                if refused.as_ref() != Some(&said) {
                    tracing::warn!(error = said, "the settings stay as they were");
                    *refused = Some(said);
                }
            }
        }
    }

    fn tell(&self, new: &Settings) {
        for is in &new.resolved {
            let was = self.settings.resolved.iter().find(|was| was.key == is.key);
            if was.is_none_or(|was| was.value == is.value) {
                continue;
            }
            let (key, value, from) = (&is.key, &is.value, is.origin.to_string());
            match key.split_once('.').map_or("", |(section, _)| section) {
                "worker" | "enrich" if self.is_hidden(new) => {
                    tracing::info!(key, value, from, "setting changed; a flag of this worker hides it");
                }
                "worker" | "enrich" => tracing::info!(key, value, from, "setting changed"),
                _ => tracing::info!(key, value, from, "setting changed; this worker takes it over when it begins anew"),
            }
        }
    }

    /// Whether nothing changes for this worker.
    fn is_hidden(&self, new: &Settings) -> bool {
        new.worker == self.settings.worker && new.enrich == self.settings.enrich
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_sees_the_latest_settings() {
        let live = LiveSettings {
            persist: watch::Sender::new(Tuning { concurrency: 1, ..Tuning::default() }),
            enrich: watch::Sender::new(Tuning::default()),
            limits: watch::Sender::new(Limits::default()),
        };
        let first = live.tuning(Stage::Persist);
        let second = first.clone();
        live.persist.send_replace(Tuning { concurrency: 2, ..Tuning::default() });
        assert_eq!((first.borrow().concurrency, second.borrow().concurrency), (2, 2));
    }
}
