//! What every verb is given: settings, output, the wish to stop, and the way to the profile's ports.

use std::sync::{Arc, OnceLock};

use super::failure::{Failure, Result};
use super::globals::Globals;
use super::output::{Output, OutputOptions};
use super::pin;
use super::record::Recorder;
use super::signals;
use super::stored;
use super::target::{DataDirMode, Target, TargetKind};
use crate::connect::{self, OpenMode};
use crate::ops::platform::PlatformIdentity;
use crate::settings::{Layers, Settings, Sources};
use mfctl_core::domain::names::Buckets;
use mfctl_core::ports::{Clock, ConfigStore, Ports, SystemClock};
use mfctl_core::stop::Stop;
use mfctl_core::telemetry::Metrics;

/// Moves mfctl's clock; for tests of what happens after weeks.
const CLOCK_OFFSET: &str = "MFCTL_TEST_CLOCK_OFFSET_SECONDS";

/// The context of one command.
#[derive(Debug)]
pub struct Context {
    globals: Globals,
    sources: Sources,
    output: Output,
    stop: OnceLock<Stop>,
}

/// A connected profile. The target was announced before the connection was opened.
pub struct Connected {
    /// The ports.
    pub ports: Ports,
    /// The settings in force.
    pub settings: Settings,
    /// What the command works on.
    pub target: Target,
    /// The environment's buckets.
    pub buckets: Buckets,
    /// What is counted in this process.
    pub metrics: Arc<Metrics>,
    /// Why mfctl's own settings in the environment's store are not known; the settings in force are this host's alone then.
    pub unknown_settings: Option<Failure>,
}

/// A connected profile, of which the configuration store alone is needed.
pub struct Configured {
    /// The store.
    pub store: Arc<dyn ConfigStore>,
    /// The settings in force.
    pub settings: Settings,
    /// What the command works on.
    pub target: Target,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Context {
    /// The context of a command line in this process.
    ///
    /// # Errors
    /// When the working folder is gone, or a variable that says how to print is wrong.
    pub fn new(globals: Globals) -> Result<Self> {
        let sources = Sources::of_process(globals.setting_flags())
            .map_err(|error| Failure::invalid("the working folder cannot be read").because(&error))?;
        let options = OutputOptions::resolve(globals.output_flags(), &sources.env).map_err(Failure::usage)?;
        Ok(Self { globals, sources, output: Output::new(options), stop: OnceLock::new() })
    }

    /// Prints.
    #[must_use]
    pub fn out(&self) -> &Output {
        &self.output
    }

    /// The global flags.
    #[must_use]
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// What settings are read from.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The layers, with their warnings said.
    ///
    /// # Errors
    /// A file or variable that is wrong.
    pub fn layers(&self) -> Result<Layers> {
        let layers = Layers::read(&self.sources)?;
        for warning in layers.warnings() {
            self.output.warn(warning);
        }
        Ok(layers)
    }

    /// The settings of the profile in force.
    ///
    /// # Errors
    /// As the rules of profiles say: none chosen is exit 2, another environment is exit 8.
    pub fn settings(&self) -> Result<Settings> {
        Ok(self.layers()?.settings()?)
    }

    /// The wish to stop; signals are listened to from the first call on.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn stop(&self) -> Result<Stop> {
        if let Some(stop) = self.stop.get() {
            return Ok(stop.clone());
        }
        let stop = signals::listen()?;
        Ok(self.stop.get_or_init(|| stop).clone())
    }

    /// The time.
    ///
    /// # Errors
    /// A test's offset that is no number.
    pub fn clock(&self) -> Result<Arc<dyn Clock>> {
        let offset_seconds = match self.sources.env.get(CLOCK_OFFSET) {
            Some(text) => text.parse().map_err(|_| Failure::invalid(format!("{CLOCK_OFFSET} is not a number")))?,
            None => 0,
        };
        Ok(Arc::new(SystemClock { offset_seconds }))
    }

    /// Announces the target, makes sure of the data folder and opens the profile's ports.
    ///
    /// # Errors
    /// Those of [`Context::settings`]; a missing data folder where the verb may not make it is exit 6; a server that
    /// does not answer is exit 5.
    pub async fn connect(&self, mode: DataDirMode) -> Result<Connected> {
        let layers = self.layers()?;
        self.connect_with(&layers, mode).await
    }

    /// [`Context::connect`] with layers that were read before. What the environment's store says of mfctl itself comes
    /// between them; a verb that only looks does without what it cannot learn.
    ///
    /// # Errors
    /// As [`Context::connect`]; a setting in the store that cannot be.
    pub async fn connect_with(&self, layers: &Layers, mode: DataDirMode) -> Result<Connected> {
        let mut connected = self.connect_to(layers.settings()?, mode).await?;
        let Some(store) = &connected.ports.config else { return Ok(connected) };
        match stored::above(layers, store.as_ref(), &connected.target.environment).await {
            Ok(layers) => {
                layers.stored_warnings().iter().for_each(|warning| self.output.warn(warning));
                connected.settings = layers.settings()?;
            }
            // Whoever looks at a platform in trouble sees what can be seen.
            Err(failure) if mode == DataDirMode::MustExist => {
                self.output.warn(format!("mfctl's own settings in the store are not known: {failure}"));
                connected.unknown_settings = Some(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(connected)
    }

    /// [`Context::connect`] with these settings, whatever the environment's store says.
    ///
    /// # Errors
    /// As [`Context::connect`].
    pub async fn connect_to(&self, settings: Settings, mode: DataDirMode) -> Result<Connected> {
        let mut target = Target::of(&settings);
        self.output.set_target(&target);
        // In a cluster the folder holds what is this host's own, its jobs and its pin: a host that has none yet reads what
        // the servers say all the same.
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
            target.met = self.met(&ports, &buckets, &target, mode).await?;
            self.check_pin(&target, mode)?;
        }
        Ok(Connected { ports, settings, target, buckets, metrics, unknown_settings: None })
    }

    /// Announces the target of settings, for a verb that opens its connections itself.
    ///
    /// # Errors
    /// A data folder that cannot be made.
    pub fn announce(&self, settings: &Settings) -> Result<Target> {
        let target = Target::of(settings);
        self.output.set_target(&target);
        let is_cluster = target.kind == TargetKind::Cluster;
        target.ensure_data_dir(if is_cluster { DataDirMode::MayCreate } else { DataDirMode::MustExist })?;
        Ok(target)
    }

    /// As [`Context::connect`], with the configuration store alone: whoever changes a setting at night needs no other server.
    ///
    /// # Errors
    /// As [`Context::connect`]; a profile that names no such store is exit 6.
    pub async fn connect_config(&self) -> Result<Configured> {
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
            target.met =
                Some(PlatformIdentity { config: Some(store.identity().await?), ..PlatformIdentity::default() });
        }
        self.check_pin(&target, DataDirMode::MustExist)?;
        Ok(Configured { store, settings, target, clock })
    }

    /// Which platform answers. A verb that only looks does so also where a part of it is down.
    async fn met(
        &self,
        ports: &Ports,
        buckets: &Buckets,
        target: &Target,
        mode: DataDirMode,
    ) -> Result<Option<PlatformIdentity>> {
        match PlatformIdentity::read(ports, buckets, &target.environment).await {
            Ok(met) => Ok(Some(met)),
            Err(error) if mode == DataDirMode::MustExist => {
                tracing::debug!(error = error.full(), "which platform this is cannot be told");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A verb that may make a data folder writes into it, so the folder must be for this target. Others may look, and
    /// `guard` asks again before they change anything.
    fn check_pin(&self, target: &Target, mode: DataDirMode) -> Result<()> {
        match mode {
            DataDirMode::MayCreate => pin::ensure(target, self.clock()?.now()),
            DataDirMode::MustExist => {
                if let Some(said) = pin::mismatch(target)? {
                    self.output.warn(said);
                }
                Ok(())
            }
        }
    }
}

impl Connected {
    /// Records what the operator does with this command.
    #[must_use]
    pub fn recorder(&self) -> Recorder {
        Recorder::new(Arc::clone(&self.ports.operators), Arc::clone(&self.ports.clock), &self.settings)
    }
}
