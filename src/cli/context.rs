//! The context of a command: settings, output, the stop signal, and the connection to the profile's ports.

use std::sync::{Arc, OnceLock};

use super::failure::{Failure, Result};
use super::globals::Globals;
use super::output::{Output, OutputOptions};
use super::record::Recorder;
use super::signals;
use super::stored;
use crate::connect::{self, OpenMode};
use crate::ops::pin;
use crate::ops::platform::PlatformIdentity;
use crate::ops::target::{DataDirMode, Target, TargetKind};
use crate::settings::{Layers, RefusedSetting, Settings, Sources};
use mfctl_core::domain::names::Buckets;
use mfctl_core::ports::{Clock, ConfigStore, Ports, SystemClock};
use mfctl_core::stop::Stop;
use mfctl_core::telemetry::Metrics;

/// Moves mfctl's clock by this many seconds, so that tests can reach retention limits.
const CLOCK_OFFSET: &str = "MFCTL_TEST_CLOCK_OFFSET_SECONDS";

/// The context of one command.
#[derive(Debug)]
pub struct Context {
    globals: Globals,
    sources: Sources,
    output: Output,
    stop: OnceLock<Stop>,
}

/// A connected profile, whose target was announced before the connection was opened.
pub struct Connected {
    /// Ports of the platform.
    pub ports: Ports,
    /// The settings in force.
    pub settings: Settings,
    /// The platform and data folder.
    pub target: Target,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
    /// Why mfctl's own settings in the configuration store, or those of retention in it, are not known; the settings in
    /// force are those of this host, or the defaults.
    pub unknown_settings: Option<Failure>,
}

/// A profile of which only the configuration store is connected.
pub struct ConfigConnection {
    /// The configuration store.
    pub store: Arc<dyn ConfigStore>,
    /// The settings in force.
    pub settings: Settings,
    /// The platform and data folder.
    pub target: Target,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

impl Context {
    /// The context of a command line in this process.
    ///
    /// # Errors
    /// When the working directory cannot be read, or an environment variable of the output is invalid.
    pub fn new(globals: Globals) -> Result<Self> {
        let sources = Sources::of_process(globals.setting_flags())
            .map_err(|error| Failure::invalid("the working directory cannot be read").because(&error))?;
        let options = OutputOptions::resolve(globals.output_flags(), &sources.env).map_err(Failure::usage)?;
        Ok(Self { globals, sources, output: Output::new(options), stop: OnceLock::new() })
    }

    /// The output, the only way to print.
    #[must_use]
    pub fn out(&self) -> &Output {
        &self.output
    }

    /// The global flags.
    #[must_use]
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// The sources that settings are read from.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Reads the layers of settings and prints their warnings.
    ///
    /// # Errors
    /// An invalid file or environment variable.
    pub fn layers(&self) -> Result<Layers> {
        let layers = Layers::read(&self.sources)?;
        for warning in layers.warnings() {
            self.output.warn(warning);
        }
        Ok(layers)
    }

    /// As [`Context::layers`], for a worker: it works on where a general setting of a file must not be used.
    ///
    /// # Errors
    /// A file that cannot be parsed, an unknown key, an invalid value of a profile or of an environment variable.
    pub fn worker_layers(&self) -> Result<Layers> {
        let layers = Layers::read_tolerant(&self.sources)?;
        layers.warnings().iter().for_each(|warning| self.output.warn(warning));
        Ok(layers)
    }

    /// The settings of the chosen profile.
    ///
    /// # Errors
    /// No profile is chosen: exit 2; the profile has another environment than `--env`: exit 8; an invalid setting: exit
    /// 6.
    pub fn settings(&self) -> Result<Settings> {
        Ok(self.layers()?.settings()?)
    }

    /// The stop signal. The first call installs the signal handlers.
    ///
    /// # Errors
    /// When a signal handler cannot be installed.
    pub fn stop(&self) -> Result<Stop> {
        if let Some(stop) = self.stop.get() {
            return Ok(stop.clone());
        }
        let stop = signals::listen()?;
        Ok(self.stop.get_or_init(|| stop).clone())
    }

    /// The wall clock, moved by the offset of a test.
    ///
    /// # Errors
    /// When the offset is not a number.
    pub fn clock(&self) -> Result<Arc<dyn Clock>> {
        let offset_seconds = match self.sources.env.get(CLOCK_OFFSET) {
            Some(text) => text.parse().map_err(|_| Failure::invalid(format!("{CLOCK_OFFSET} is not a number")))?,
            None => 0,
        };
        Ok(Arc::new(SystemClock { offset_seconds }))
    }

    /// Announces the target, checks or creates the data folder, and opens the profile's ports.
    ///
    /// # Errors
    /// Those of [`Context::settings`]; a missing data folder that the command may not create: exit 6; a server that
    /// does not answer: exit 5; a data folder that is pinned to another target, with `MayCreate`: exit 8.
    pub async fn connect(&self, mode: DataDirMode) -> Result<Connected> {
        let layers = self.layers()?;
        self.connect_with(&layers, mode).await
    }

    /// [`Context::connect`] with layers that were read before. mfctl's own settings in the configuration store are
    /// added below the host's; when they cannot be read, `MustExist` warns and continues without them.
    ///
    /// A value in the store that must not be used leaves the one below it in effect, with a warning; a worker reports it
    /// itself.
    ///
    /// # Errors
    /// As [`Context::connect`].
    pub async fn connect_with(&self, layers: &Layers, mode: DataDirMode) -> Result<Connected> {
        let mut connected = self.connect_to(layers.settings()?, mode).await?;
        let Some(store) = &connected.ports.config else { return Ok(connected) };
        match stored::above(layers, store.as_ref(), &connected.target.environment).await {
            Ok(layers) => {
                layers.stored_warnings().iter().for_each(|warning| self.output.warn(warning));
                connected.settings = layers.settings()?;
                if !layers.is_tolerant() {
                    connected
                        .settings
                        .refused()
                        .for_each(|refused| self.output.warn(not_used(&connected.settings, refused)));
                }
                let is_retention = |refused: &&RefusedSetting| refused.key.starts_with("retention.");
                let unknown = connected.settings.refused().find(is_retention);
                connected.unknown_settings =
                    unknown.map(|refused| Failure::invalid(format!("{}: {}", refused.origin, refused.reason)));
            }
            // A command that only reads must work on a platform of which a part is down.
            Err(failure) if mode == DataDirMode::MustExist => {
                self.output.warn(format!("mfctl's own settings in the store cannot be read: {failure}"));
                connected.unknown_settings = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(connected)
    }

    /// [`Context::connect`] with these settings, without those in the configuration store.
    ///
    /// # Errors
    /// As [`Context::connect`].
    pub async fn connect_to(&self, settings: Settings, mode: DataDirMode) -> Result<Connected> {
        let mut target = Target::of(&settings);
        self.output.set_target(&target);
        // In a cluster the folder only holds this host's jobs and pin, so that a host without one can read the
        // platform.
        target.ensure_data_dir(if target.kind == TargetKind::Cluster { DataDirMode::MayCreate } else { mode })?;
        let buckets = Buckets::of(&target.environment)
            .map_err(|error| Failure::invalid("name the environment's buckets").because(&error))?;
        let open = match mode {
            DataDirMode::MayCreate => OpenMode::MayCreate,
            DataDirMode::MustExist => OpenMode::MustExist,
        };
        if target.kind == TargetKind::Embedded {
            self.check_pin(&target, mode)?;
        }
        let metrics = Arc::default();
        let ports = connect::connect(&settings, &self.sources.env, open, self.clock()?, &metrics).await?;
        if target.kind == TargetKind::Cluster {
            target.platform = self.platform_identity(&ports, &buckets, &target, mode).await?;
            self.check_pin(&target, mode)?;
        }
        Ok(Connected { ports, settings, target, buckets, metrics, unknown_settings: None })
    }

    /// Announces the target, for a command that opens its connections itself.
    ///
    /// # Errors
    /// An embedded profile's data folder is missing, or a cluster profile's cannot be created: exit 6.
    pub fn announce(&self, settings: &Settings) -> Result<Target> {
        let target = Target::of(settings);
        self.output.set_target(&target);
        let is_cluster = target.kind == TargetKind::Cluster;
        target.ensure_data_dir(if is_cluster { DataDirMode::MayCreate } else { DataDirMode::MustExist })?;
        Ok(target)
    }

    /// As [`Context::connect`], with the configuration store alone, so that a setting can be changed while other
    /// servers are down.
    ///
    /// # Errors
    /// As [`Context::connect`]; a profile without a configuration store: exit 6.
    pub async fn connect_config(&self) -> Result<ConfigConnection> {
        let settings = self.settings()?;
        let mut target = self.announce(&settings)?;
        let is_cluster = target.kind == TargetKind::Cluster;
        let clock = self.clock()?;
        let store = connect::config(&settings, &self.sources.env, Arc::clone(&clock), &Arc::default())
            .await?
            .ok_or_else(|| {
                Failure::invalid(format!("profile {} names no Consul", settings.profile.name))
                    .hint(format!("add [profile.{}.consul] with its url", settings.profile.name))
            })?;
        if is_cluster {
            let config = Some(store.identity().await?);
            target.platform = Some(PlatformIdentity { config, ..PlatformIdentity::default() });
        }
        self.check_pin(&target, DataDirMode::MustExist)?;
        Ok(ConfigConnection { store, settings, target, clock })
    }

    /// The identity of the platform. With `MustExist` it is `None` while a part of the platform is down.
    async fn platform_identity(
        &self,
        ports: &Ports,
        buckets: &Buckets,
        target: &Target,
        mode: DataDirMode,
    ) -> Result<Option<PlatformIdentity>> {
        match PlatformIdentity::read(ports, buckets, &target.environment).await {
            Ok(identity) => Ok(Some(identity)),
            Err(error) if mode == DataDirMode::MustExist => {
                tracing::debug!(error = error.full(), "skipped the check of the platform's identity");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that the data folder is pinned to this target. `MayCreate` pins a folder that has no pin, and refuses
    /// another target's; `MustExist` only warns, because `guard` checks again before a change.
    fn check_pin(&self, target: &Target, mode: DataDirMode) -> Result<()> {
        match mode {
            DataDirMode::MayCreate => pin::ensure(target, self.clock()?.now())?,
            DataDirMode::MustExist => {
                if let Some(message) = pin::mismatch(target)? {
                    self.output.warn(message);
                }
            }
        }
        Ok(())
    }
}

/// Says that a value is not used, why, and which value this command uses: a worker of this host may use another one, which
/// passed there before.
pub(super) fn not_used(settings: &Settings, refused: &RefusedSetting) -> String {
    let RefusedSetting { key, origin, reason, .. } = refused;
    let used = settings.resolved(key).map(|used| format!("; this command uses {} ({})", used.value, used.origin));
    format!("{origin} is not used: {reason}{}", used.unwrap_or_default())
}

impl Connected {
    /// A recorder of the changes that the operator makes with this command.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder::new(Arc::clone(&self.ports.operators), Arc::clone(&self.ports.clock), &self.settings)
    }
}
