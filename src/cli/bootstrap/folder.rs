//! What every bootstrap verb begins with: the folder, the part of it that is meant, and the platform it is about.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use crate::bootstrap::manifest::{
    BuiltinDefaults, InvalidField, ResourceDeclaration, ResourceSpec, builtin_declarations, load,
};
use crate::bootstrap::owner_marks::OwnerMarks;
use crate::bootstrap::plan::{PlanScope, ResourceSelector};
use crate::bootstrap::resources::{self, ResourceContext};
use crate::cli::context::Connected;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::humane;
use crate::kv::break_glass::BreakGlassExceptions;
use crate::ops::target::TargetKind;
use crate::settings::{Settings, stored};
use mfctl_core::domain::EnvName;
use mfctl_core::events::topics::Retention;

/// Partitions of a topic where the profile does not say.
const PARTITIONS: u32 = 6;

/// The folder, and the part of it that is meant.
#[derive(Debug, Clone, ClapArgs)]
pub struct Folder {
    /// The manifests' folder [default: mfctl's own defaults]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Only this kind, or this one of it; may be given several times
    #[arg(long, value_name = "KIND[/NAME]")]
    pub only: Vec<ResourceSelector>,
}

impl Folder {
    /// The scope.
    pub fn scope(&self) -> PlanScope {
        PlanScope { only: self.only.clone() }
    }

    /// What is declared for the profile's environment.
    ///
    /// # Errors
    /// Everything that is wrong with the manifests: exit 6. For mfctl's own defaults, that the settings they are made by
    /// are not known.
    pub fn items(&self, connected: &Connected) -> Result<Vec<ResourceDeclaration>> {
        match (&self.dir, &connected.unknown_settings) {
            (None, None) => Ok(builtin_declarations(&defaults(&connected.settings))),
            (None, Some(unknown)) => Err(unknown.clone().while_doing("what would be declared depends on the settings")),
            (Some(dir), _) => read(dir, &connected.target.environment),
        }
    }
}

fn read(dir: &Path, env: &EnvName) -> Result<Vec<ResourceDeclaration>> {
    load(dir, env, &check).map_err(|problems| {
        let count = humane::counted(problems.0.len() as u64, "thing is", "things are");
        let failure = Failure::invalid(format!("{count} wrong with the manifests in {}", dir.display()));
        let failure = problems.0.iter().fold(failure, |failure, problem| failure.because(problem));
        failure.hint("nothing was looked at or changed; mend the files and run it again")
    })
}

fn check(item: &ResourceDeclaration) -> std::result::Result<(), InvalidField> {
    resources::validate(item)?;
    // mfctl's own settings are read by every host: one that cannot be would keep them all from working.
    let ResourceSpec::ConsulKeys(spec) = &item.spec else { return Ok(()) };
    let own = spec.keys.iter().filter(|_| item.name == stored::SERVICE);
    own.map(|(key, value)| (key, stored::check(key, &resources::setting_text(value))))
        .try_for_each(|(key, fits)| fits.map_err(|said| InvalidField::at(format!("/spec/keys/{key}"), said)))
}

/// What the profile decides about the contract's resources.
pub fn defaults(settings: &Settings) -> BuiltinDefaults {
    let kafka = settings.profile.services.kafka.as_ref();
    BuiltinDefaults {
        partitions: kafka.map_or(PARTITIONS, |kafka| kafka.partitions),
        replicas: kafka.map(|kafka| (kafka.replication, kafka.min_insync_replicas)),
        retention: Retention {
            ingest_raw_days: settings.retention.ingest_raw_days,
            media_days: settings.retention.media_days,
        },
        staging_days: settings.retention.staging_days,
    }
}

/// The platform, with what mfctl made there.
///
/// # Errors
/// Those of the configuration store.
pub async fn world(connected: &Connected, prune: bool) -> Result<ResourceContext<'_>> {
    let env = &connected.target.environment;
    let owner_marks = OwnerMarks::read(&connected.ports, env).await?;
    let break_glass = match &connected.ports.config {
        Some(store) => BreakGlassExceptions::read(store.as_ref(), env).await?,
        None => BreakGlassExceptions::default(),
    };
    if prune && connected.ports.config.is_none() {
        return Err(Failure::invalid("nothing tells here what mfctl made, so that nothing can be pruned")
            .hint("marks are kept in Consul: add [profile.NAME.consul]"));
    }
    Ok(ResourceContext {
        ports: &connected.ports,
        env,
        buckets: &connected.buckets,
        embedded: connected.target.kind == TargetKind::Embedded,
        prune,
        owner_marks,
        break_glass,
        now: connected.ports.clock.now(),
        actor: &connected.settings.profile.actor,
    })
}
