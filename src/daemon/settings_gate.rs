//! Decides which settings a worker uses. A shared value must never stop it: one that is not of its type, beyond its bounds, or
//! with which the parser fails a built-in sample is replaced by the last value that passed on this host, else by the default.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::DaemonError;
use super::passed_settings::PassedSettings;
use super::reload::limits;
use crate::settings::{KEYS, Layer, LayerValue, RawValue, RefusedSetting, SettingKey, Settings, ValueOrigin};
use mfctl_core::ports::Clock;
use mfctl_extract::parsers::Limits;
use mfctl_extract::sandbox::Parser;

/// The section whose settings the trial parse checks.
const TRIED_SECTION: &str = "enrich";

/// Parses a built-in sample under given limits.
#[async_trait]
pub(super) trait TrialParse: Send + Sync {
    /// # Errors
    /// Why the sample was not parsed.
    async fn check(&self, limits: &Limits) -> Result<(), String>;
}

#[async_trait]
impl TrialParse for Parser {
    async fn check(&self, limits: &Limits) -> Result<(), String> {
        Self::check(self, limits).await.map_err(|failure| failure.reason)
    }
}

/// Checks settings before a worker uses them.
pub(super) struct SettingsGate {
    passed: PassedSettings,
    /// `None` for a worker that does not enrich.
    trial: Option<Arc<dyn TrialParse>>,
    clock: Arc<dyn Clock>,
}

/// Settings that a worker may use.
#[derive(Debug, Clone)]
pub(super) struct AdmittedSettings {
    /// The settings in force.
    pub(super) settings: Settings,
    /// Values that would be in force, but are not used.
    pub(super) unused: Vec<RefusedSetting>,
    /// Whether the trial parse failed, which may pass without a change of the settings.
    pub(super) is_trial_failed: bool,
}

/// When settings are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckedAt {
    /// At the worker's start, where a flag that does not pass is an error.
    Start,
    /// After a change of the configuration store, when flags are in force already.
    Change,
}

impl SettingsGate {
    pub(super) fn new(data_dir: &Path, trial: Option<Arc<dyn TrialParse>>, clock: Arc<dyn Clock>) -> Self {
        Self { passed: PassedSettings::read(data_dir), trial, clock }
    }

    /// Replaces the values that must not be used, and records those that passed.
    ///
    /// # Errors
    /// `FlagNotUsable` at the start, when the parser fails the sample because of a flag's value.
    pub(super) async fn admit(
        &mut self,
        mut settings: Settings,
        at: CheckedAt,
    ) -> Result<AdmittedSettings, DaemonError> {
        let mut unused: Vec<RefusedSetting> = Vec::new();
        for refused in settings.refused() {
            if unused.iter().all(|known| known.key != refused.key) {
                unused.push(refused.clone());
            }
        }
        for refused in &unused {
            if let Some(value) = self.passed.get(&refused.key) {
                settings.put(&refused.key, LayerValue::valid(value, ValueOrigin::last_passed()));
            }
        }
        let mut is_trial_failed = false;
        if let Some(trial) = self.trial.clone()
            && let Err(reason) = trial.check(&limits(&settings)).await
        {
            is_trial_failed = true;
            let refused = self.blame(trial.as_ref(), &mut settings, &reason, at).await?;
            unused.extend(refused);
        }
        self.record(&settings, &unused, is_trial_failed);
        Ok(AdmittedSettings { settings, unused, is_trial_failed })
    }

    /// Finds the settings with which the trial parse fails, and replaces them in `settings`.
    async fn blame(
        &self,
        trial: &dyn TrialParse,
        settings: &mut Settings,
        reason: &str,
        at: CheckedAt,
    ) -> Result<Vec<RefusedSetting>, DaemonError> {
        let suspects: Vec<Suspect> = self.suspects(settings, at);
        if suspects.is_empty() {
            tracing::warn!(reason, "the trial parse failed with settings that passed before: this host is at fault");
            return Ok(Vec::new());
        }
        let mut base = settings.clone();
        suspects.iter().for_each(|suspect| suspect.replace_in(&mut base));
        let mut culprits: Vec<(&Suspect, String)> = Vec::new();
        if trial.check(&limits(&base)).await.is_err() {
            let reason = format!("the trial parse failed, and so it did with the last values that passed: {reason}");
            culprits.extend(suspects.iter().filter(|suspect| !suspect.is_flag()).map(|s| (s, reason.clone())));
        } else {
            for suspect in &suspects {
                let mut single = base.clone();
                single.put(suspect.key.name, suspect.current.clone());
                if let Err(reason) = trial.check(&limits(&single)).await {
                    culprits.push((suspect, format!("the trial parse failed: {reason}")));
                }
            }
            let mut without = settings.clone();
            culprits.iter().for_each(|(suspect, _)| suspect.replace_in(&mut without));
            // They may pass one by one and fail together.
            if culprits.len() < suspects.len() && trial.check(&limits(&without)).await.is_err() {
                let reason = format!("the trial parse failed: {reason}");
                let is_flag = suspects.iter().all(Suspect::is_flag);
                let all = suspects.iter().filter(|suspect| is_flag || !suspect.is_flag());
                culprits = all.map(|suspect| (suspect, reason.clone())).collect();
            }
            if let Some((suspect, reason)) = culprits.iter().find(|(suspect, _)| suspect.is_flag()) {
                let message = format!("{} {}: {reason}", suspect.current.origin, suspect.shown);
                return Err(DaemonError::FlagNotUsable { message, setting: suspect.key.name });
            }
        }
        culprits.iter().for_each(|(suspect, _)| suspect.replace_in(settings));
        Ok(culprits.into_iter().map(|(suspect, reason)| suspect.refused(reason)).collect())
    }

    /// The settings of the parser whose value is not the one to fall back on.
    fn suspects(&self, settings: &Settings, at: CheckedAt) -> Vec<Suspect> {
        let tried = KEYS.iter().filter(|key| key.section == TRIED_SECTION);
        let suspect = |key: &'static SettingKey| {
            let resolved = settings.resolved(key.name)?;
            let fallback = match self.passed.get(key.name) {
                Some(raw) => LayerValue::valid(raw, ValueOrigin::last_passed()),
                None => LayerValue::valid(RawValue::Text(key.default.to_owned()), ValueOrigin::default_layer()),
            };
            let raw = RawValue::Text(resolved.value.clone());
            let current = LayerValue::valid(raw, resolved.origin.clone());
            let suspect = Suspect { key, shown: resolved.value.clone(), current, fallback };
            let differs = !key.is_same(&suspect.current.raw, &suspect.fallback.raw);
            (differs && (at == CheckedAt::Start || !suspect.is_flag())).then_some(suspect)
        };
        tried.filter_map(suspect).collect()
    }

    /// Records the values that passed: those of the parser only where the trial parse succeeded with them.
    fn record(&mut self, settings: &Settings, unused: &[RefusedSetting], is_trial_failed: bool) {
        let is_tried = self.trial.is_some() && !is_trial_failed;
        let passed = settings.resolved.iter().filter(|resolved| {
            let is_general = KEYS.iter().any(|key| key.name == resolved.key);
            let is_of_parser = resolved.key.strip_prefix(TRIED_SECTION).is_some_and(|rest| rest.starts_with('.'));
            is_general
                && (is_tried || !is_of_parser)
                && !matches!(resolved.origin.layer, Layer::Flag | Layer::LastPassed)
                && unused.iter().all(|refused| refused.key != resolved.key)
        });
        let passed = passed.map(|resolved| (resolved.key.as_str(), resolved.value.as_str()));
        self.passed.record(passed, self.clock.now());
    }
}

/// A setting with which the trial parse may have failed.
struct Suspect {
    key: &'static SettingKey,
    /// The current value in canonical form.
    shown: String,
    current: LayerValue,
    /// The value to use in its place.
    fallback: LayerValue,
}

impl Suspect {
    fn is_flag(&self) -> bool {
        self.current.origin.layer == Layer::Flag
    }

    fn replace_in(&self, settings: &mut Settings) {
        settings.put(self.key.name, self.fallback.clone());
    }

    fn refused(&self, reason: String) -> RefusedSetting {
        let origin = self.current.origin.clone();
        RefusedSetting { key: self.key.name.to_owned(), value: Some(self.shown.clone()), origin, reason }
    }
}

#[cfg(test)]
#[path = "settings_gate_tests.rs"]
mod tests;
