//! Reload of settings while the daemon runs: checks the settings of the stages and applies them at once, and logs a change
//! of any other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::limit_messages::LimitTexts;
use super::settings_gate::{AdmittedSettings, CheckedAt, SettingsGate};
use crate::ops::setting_report::{SettingAuthors, UnusedSetting};
use crate::ops::stored_settings;
use crate::ops::worker_reports::{WorkerReport, WorkerReporter};
use crate::pipeline::follow::{ConfigFollower, ConfigUpdate};
use crate::pipeline::worker::Tuning;
use crate::settings::{self, Layer, Layers, ResolvedSetting, Settings};
use mfctl_core::domain::Stage;
use mfctl_core::domain::error_chain::error_chain;
use mfctl_core::ports::{ConfigSnapshot, ConfigStore};
use mfctl_core::telemetry::Metrics;
use mfctl_core::telemetry::events::{SettingsNotUsed, WorkerEvent as _};
use mfctl_core::wait::Backoff;
use mfctl_extract::parsers::Limits;

/// Puts the values of command-line flags, which override every layer, into settings.
pub type FlagOverlay = Arc<dyn Fn(&mut Settings) + Send + Sync>;

/// Default concurrency of persist, which waits for the disk and not for the processor.
const PERSIST_CONCURRENCY: usize = 64;
/// Delay before settings are tried again with which the trial parse failed.
const TRIAL_BACKOFF: Backoff = Backoff::exponential(Duration::from_secs(2), Duration::from_secs(60));
/// Longest wait for the history of the settings, which only adds to messages.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings that may change while the daemon runs. Consume loops and steps subscribe to them.
#[derive(Debug, Clone)]
pub(super) struct ReloadableSettings {
    persist: watch::Sender<Tuning>,
    enrich: watch::Sender<Tuning>,
    limits: watch::Sender<Limits>,
    limit_texts: watch::Sender<LimitTexts>,
    unused: watch::Sender<Vec<UnusedSetting>>,
}

impl ReloadableSettings {
    /// The settings that were admitted at the start; reports the values that are not used.
    pub(super) fn new(admitted: &AdmittedSettings, authors: &SettingAuthors, metrics: &Metrics) -> Self {
        let settings = &admitted.settings;
        let reloadable = Self {
            persist: watch::Sender::new(tuning(settings, Stage::Persist)),
            enrich: watch::Sender::new(tuning(settings, Stage::Enrich)),
            limits: watch::Sender::new(limits(settings)),
            limit_texts: watch::Sender::new(LimitTexts::new(settings, authors)),
            unused: watch::Sender::new(Vec::new()),
        };
        reloadable.publish(admitted, authors, metrics);
        reloadable
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

    /// Subscribes to the words for the limits of the parser.
    pub(super) fn limit_texts(&self) -> watch::Receiver<LimitTexts> {
        self.limit_texts.subscribe()
    }

    /// Subscribes to the values that are not used.
    pub(super) fn unused(&self) -> watch::Receiver<Vec<UnusedSetting>> {
        self.unused.subscribe()
    }

    /// Puts settings in force; returns whether the values that are not used have changed.
    fn publish(&self, admitted: &AdmittedSettings, authors: &SettingAuthors, metrics: &Metrics) -> bool {
        let settings = &admitted.settings;
        self.persist.send_replace(tuning(settings, Stage::Persist));
        self.enrich.send_replace(tuning(settings, Stage::Enrich));
        self.limit_texts.send_replace(LimitTexts::new(settings, authors));
        self.limits.send_replace(limits(settings));
        let unused: Vec<_> =
            admitted.unused.iter().map(|refused| UnusedSetting::new(refused, settings, authors)).collect();
        let is_changed = *self.unused.borrow() != unused;
        if is_changed {
            let lines: Vec<String> = unused.iter().map(ToString::to_string).collect();
            SettingsNotUsed { lines: &lines }.emit(metrics);
            self.unused.send_replace(unused);
        }
        is_changed
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

/// The limits of the parser.
pub(super) fn limits(settings: &Settings) -> Limits {
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

/// The history's authors of mfctl's own settings; none where it cannot be read, because they only add to messages.
pub(super) async fn authors(store: &dyn ConfigStore, settings: &Settings) -> SettingAuthors {
    let read = SettingAuthors::read(store, &settings.profile.environment);
    match tokio::time::timeout(HISTORY_TIMEOUT, read).await {
        Ok(Ok(authors)) => authors,
        Ok(Err(error)) => {
            tracing::warn!(error = error.full(), "the history of the settings cannot be read");
            SettingAuthors::default()
        }
        Err(_) => SettingAuthors::default(),
    }
}

/// Follows mfctl's own settings in the configuration store and applies their changes.
pub(super) struct SettingsReloader {
    /// Layers of this host, which override the store's.
    pub(super) layers: Layers,
    /// Command-line flags, which override all layers.
    pub(super) flags: FlagOverlay,
    /// Checks settings before they are in force.
    pub(super) gate: SettingsGate,
    /// The settings as the layers and the flags give them, before they were checked.
    pub(super) given: Settings,
    /// The settings in force.
    pub(super) in_force: Settings,
    /// When the given settings are tried again.
    pub(super) retry: TrialRetry,
    /// Receives the new values.
    pub(super) reloadable: ReloadableSettings,
    /// The process's metrics.
    pub(super) metrics: Arc<Metrics>,
    /// Reports the values that are not used.
    pub(super) reporter: WorkerReporter,
    /// The workers of this process, for which it reports.
    pub(super) workers: Vec<(Stage, String)>,
}

impl SettingsReloader {
    /// Follows the store, where there is one, and tries settings again with which the trial parse failed, until dropped.
    pub(super) async fn run(mut self, store: Option<Arc<dyn ConfigStore>>) {
        let prefix = settings::stored::prefix(&self.given.profile.environment);
        // From index 0, so that the first query returns what changed since the settings were read.
        let start = ConfigSnapshot { entries: Vec::new(), index: 0 };
        let mut follower = store.as_ref().map(|store| ConfigFollower::new(Arc::clone(store), prefix, &start));
        loop {
            let update = tokio::select! {
                // 1. The store answered, or failed.
                update = next_update(&mut follower) => update,
                // 2. Settings with which the trial parse failed are due again: this host may have been at fault.
                () = self.retry.due() => {
                    self.admit(self.given.clone(), store.as_deref()).await;
                    continue;
                }
            };
            match update {
                ConfigUpdate::Current { snapshot, after_outage } => {
                    if after_outage {
                        tracing::info!("resumed following mfctl's own settings");
                    }
                    self.apply(&snapshot, store.as_deref()).await;
                }
                ConfigUpdate::Unavailable { error, is_first: true } => {
                    tracing::warn!(error = error.full(), "retrying the query for mfctl's own settings");
                }
                ConfigUpdate::Unavailable { .. } => {}
            }
        }
    }

    /// Applies a snapshot of the store: the values that pass.
    async fn apply(&mut self, snapshot: &ConfigSnapshot, store: Option<&dyn ConfigStore>) {
        let env = &self.given.profile.environment;
        let mut given = match stored_settings::overlay(&self.layers, snapshot, env).settings() {
            Ok(settings) => settings,
            // The layers of the host gave settings before, and the store's values cannot make them fail.
            Err(error) => return tracing::error!(error = error_chain(&error), "the settings cannot be computed"),
        };
        (self.flags)(&mut given);
        if given != self.given {
            self.retry = TrialRetry::default();
            self.admit(given, store).await;
        }
    }

    /// Checks settings and puts the values that pass in force.
    async fn admit(&mut self, given: Settings, store: Option<&dyn ConfigStore>) {
        let admitted = match self.gate.admit(given.clone(), CheckedAt::Change).await {
            Ok(admitted) => admitted,
            // Flags were checked at the start.
            Err(error) => return tracing::error!(error = error_chain(&error), "the settings cannot be checked"),
        };
        self.given = given;
        self.retry.tried(admitted.is_trial_failed);
        log_changes(&self.in_force, &admitted.settings);
        let authors = match store {
            Some(store) => authors(store, &self.given).await,
            None => SettingAuthors::default(),
        };
        let is_changed = self.reloadable.publish(&admitted, &authors, &self.metrics);
        self.in_force = admitted.settings;
        if is_changed {
            let unused = self.reloadable.unused().borrow().clone();
            self.reporter.report_all(&self.workers, &WorkerReport::Settings(unused));
        }
    }
}

/// The next answer of the store; waits for ever without one.
async fn next_update(follower: &mut Option<ConfigFollower>) -> ConfigUpdate {
    match follower {
        Some(follower) => follower.next().await,
        None => std::future::pending().await,
    }
}

/// When settings are tried again with which the trial parse failed.
#[derive(Debug, Default)]
pub(super) struct TrialRetry {
    /// Failed trials in a row.
    failures: u32,
    at: Option<Instant>,
}

impl TrialRetry {
    /// The retry after the first trial.
    pub(super) fn after(is_failed: bool) -> Self {
        let mut retry = Self::default();
        retry.tried(is_failed);
        retry
    }

    fn tried(&mut self, is_failed: bool) {
        self.failures = if is_failed { self.failures.saturating_add(1) } else { 0 };
        self.at = is_failed.then(|| Instant::now() + TRIAL_BACKOFF.delay(self.failures));
    }

    /// Waits until they are due; for ever after a trial that succeeded.
    async fn due(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// Logs each value in force that has changed.
fn log_changes(old: &Settings, new: &Settings) {
    for setting in &new.resolved {
        let Some(old) = old.resolved(&setting.key) else { continue };
        let (value, origin) = below_flag(setting);
        if below_flag(old).0 == value {
            continue;
        }
        let key = &setting.key;
        let from = origin.to_string();
        let is_overridden = setting.origin.layer == Layer::Flag;
        match key.split_once('.').map_or("", |(section, _)| section) {
            "worker" | "enrich" if is_overridden => {
                tracing::info!(key, value, from, "setting changed; a flag of this worker overrides it");
            }
            "worker" | "enrich" => tracing::info!(key, value, from, "setting changed"),
            _ => tracing::info!(key, value, from, "setting changed; it takes effect when this worker is restarted"),
        }
    }
}

/// The value of a setting below the flag that overrides it, if one does.
fn below_flag(setting: &ResolvedSetting) -> (&str, &settings::ValueOrigin) {
    match setting.hidden.first() {
        Some((value, origin)) if setting.origin.layer == Layer::Flag => (value, origin),
        _ => (&setting.value, &setting.origin),
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
            limit_texts: watch::Sender::new(LimitTexts::default()),
            unused: watch::Sender::new(Vec::new()),
        };
        let first = reloadable.tuning(Stage::Persist);
        let second = first.clone();
        reloadable.persist.send_replace(Tuning { concurrency: 2, ..Tuning::default() });
        assert_eq!((first.borrow().concurrency, second.borrow().concurrency), (2, 2));
    }
}
