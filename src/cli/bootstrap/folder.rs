//! The inputs that the bootstrap commands share: the selected manifests, and the platform that they are compared with.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;

use crate::bootstrap::manifest::{
    BuiltinDefaults, InvalidField, ResourceDeclaration, ResourceSpec, builtin_declarations, load,
};
use crate::bootstrap::owner_marks::OwnerMarks;
use crate::bootstrap::pending_marks;
use crate::bootstrap::plan::{PlanScope, ResourceSelector};
use crate::bootstrap::resources::{self, ResourceContext};
use crate::cli::context::Connected;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::humane;
use crate::kv::break_glass::BreakGlassExceptions;
use crate::ops::target::TargetKind;
use crate::settings::{Settings, stored};
use mfctl_core::domain::EnvName;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::events::topics::Retention;

/// Partitions of a topic if the profile has no Kafka.
const DEFAULT_PARTITIONS: u32 = 6;

/// A folder of manifests, and the resources in it that a command is limited to.
#[derive(Debug, Clone, ClapArgs)]
pub struct ManifestSelection {
    /// The folder of manifests [default: mfctl's built-in manifests]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Only this kind, or this resource of that kind; may be given several times
    #[arg(long, value_name = "KIND[/NAME]")]
    pub only: Vec<ResourceSelector>,
}

impl ManifestSelection {
    pub fn scope(&self) -> PlanScope {
        PlanScope { only: self.only.clone() }
    }

    /// Every resource that is declared for the profile's environment, whether `--only` selects it or not.
    ///
    /// # Errors
    /// Exit 6 with every problem of the manifests. The built-in manifests depend on mfctl's settings in the environment's
    /// store, and fail where those could not be read.
    pub fn declarations(&self, connected: &Connected) -> Result<Vec<ResourceDeclaration>> {
        match (&self.dir, &connected.unknown_settings) {
            (None, None) => Ok(builtin_declarations(&builtin_defaults(&connected.settings))),
            (None, Some(unknown)) => Err(unknown.clone().while_doing("the built-in manifests depend on the settings")),
            (Some(dir), _) => load_manifests(dir, &connected.target.environment),
        }
    }
}

fn load_manifests(dir: &Path, env: &EnvName) -> Result<Vec<ResourceDeclaration>> {
    load(dir, env, &check_manifest).map_err(|problems| {
        let count = humane::counted(problems.0.len() as u64, "problem", "problems");
        let failure = Failure::invalid(format!("{count} in the manifests in {}", dir.shown()));
        let failure = problems.0.iter().fold(failure, |failure, problem| failure.because(problem));
        failure.hint("the platform was neither read nor changed; fix the files and run the command again")
    })
}

fn check_manifest(declaration: &ResourceDeclaration) -> std::result::Result<(), InvalidField> {
    resources::validate(declaration)?;
    // Every host reads mfctl's own settings.
    let ResourceSpec::ConsulKeys(spec) = &declaration.spec else { return Ok(()) };
    let own = spec.keys.iter().filter(|_| declaration.name == stored::SERVICE);
    own.map(|(key, value)| (key, stored::check(key, resources::setting_text(value).as_bytes())))
        .try_for_each(|(key, checked)| checked.map_err(|message| InvalidField::in_spec(["keys", key], message)))
}

/// The values of the built-in manifests that the profile decides.
pub fn builtin_defaults(settings: &Settings) -> BuiltinDefaults {
    let kafka = settings.profile.services.kafka.as_ref();
    BuiltinDefaults {
        partitions: kafka.map_or(DEFAULT_PARTITIONS, |kafka| kafka.partitions),
        replicas: kafka.map(|kafka| (kafka.replication, kafka.min_insync_replicas)),
        retention: Retention {
            ingest_raw_days: settings.retention.ingest_raw_days,
            media_days: settings.retention.media_days,
        },
        staging_days: settings.retention.staging_days,
    }
}

/// The platform's ports, with the resources that mfctl created there and the keys that were changed by hand in an emergency.
///
/// # Errors
/// Those of the configuration store and, where an apply ended before a change was complete, of its server; exit 6 if `prune` is set and the profile has no configuration store.
pub async fn resource_context(connected: &Connected, prune: bool) -> Result<ResourceContext<'_>> {
    let env = &connected.target.environment;
    let owner_marks = OwnerMarks::read(&connected.ports, env).await?;
    let break_glass = match &connected.ports.config {
        Some(store) => BreakGlassExceptions::read(store.as_ref(), env).await?,
        None => BreakGlassExceptions::default(),
    };
    if prune && connected.ports.config.is_none() {
        return Err(Failure::invalid("cannot prune: there is no record of the resources that mfctl created")
            .hint("that record is in Consul: add [profile.NAME.consul]"));
    }
    let mut context = ResourceContext {
        ports: &connected.ports,
        env,
        buckets: &connected.buckets,
        embedded: connected.target.kind == TargetKind::Embedded,
        prune,
        owner_marks,
        break_glass,
        now: connected.ports.clock.now(),
        actor: &connected.settings.profile.actor,
    };
    pending_marks::resolve(&mut context).await?;
    Ok(context)
}
