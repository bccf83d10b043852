//! What a command works on, said before anything else: profile, environment, kind, endpoints and folder.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::failure::{Failure, Result};
use crate::ops::platform::PlatformIdentity;
use crate::settings::{ProfileKind, Settings};
use mfctl_core::domain::{EnvName, SourcePath, Tenant};

/// What runs behind a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// Everything in one data folder.
    Embedded,
    /// The servers that the profile names.
    Cluster,
}

/// A server that the profile names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Endpoint {
    /// What it is, e.g. `kafka`.
    pub service: String,
    /// Where it is, without credentials.
    pub address: String,
}

/// Whether a verb may make the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataDirMode {
    /// `init`, `demo`, `ingest` and `worker`.
    MayCreate,
    /// All others: a missing folder is exit 6, never an empty table and 0.
    MustExist,
}

/// What a command works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Target {
    /// The profile's name.
    pub profile: String,
    /// Its one environment.
    pub environment: EnvName,
    /// What runs behind it.
    pub kind: TargetKind,
    /// The servers it names; none for embedded.
    pub endpoints: Vec<Endpoint>,
    /// The data folder, as text; a byte that is no UTF-8 is written `\xNN`.
    #[serde(serialize_with = "path_text")]
    #[schemars(with = "String")]
    pub data_dir: PathBuf,
    /// The tenant whose assets it works on.
    pub tenant: Tenant,
    /// Whether dangerous verbs want the environment's name.
    pub protected: bool,
    /// The platform that answered at these endpoints, once asked.
    #[serde(skip)]
    pub met: Option<PlatformIdentity>,
}

impl Target {
    /// The target of these settings.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let profile = &settings.profile;
        let endpoints = profile.services.endpoints().into_iter();
        let endpoints = endpoints.map(|(service, address)| Endpoint { service: service.to_owned(), address });
        Self {
            profile: profile.name.to_string(),
            environment: profile.environment.clone(),
            kind: match profile.kind {
                ProfileKind::Embedded => TargetKind::Embedded,
                ProfileKind::Cluster => TargetKind::Cluster,
            },
            endpoints: endpoints.collect(),
            data_dir: profile.data_dir.clone(),
            tenant: profile.tenant.clone(),
            protected: profile.protected,
            met: None,
        }
    }

    /// stderr's first line: `target: profile=embedded env=dev data=/home/x/.local/share/mfctl`.
    #[must_use]
    pub fn first_line(&self) -> String {
        let mut line = format!("target: profile={} env={}", self.profile, self.environment);
        for endpoint in &self.endpoints {
            line.push_str(&format!(" {}={}", endpoint.service, endpoint.address));
        }
        line.push_str(&format!(" data={}", SourcePath::from_path(&self.data_dir)));
        if self.protected {
            line.push_str(" (protected)");
        }
        line
    }

    /// Makes sure of the data folder: makes it (for its owner alone) where the verb may, else wants it there.
    ///
    /// # Errors
    /// A missing folder is exit 6, one that cannot be made too.
    pub fn ensure_data_dir(&self, mode: DataDirMode) -> Result<()> {
        match mode {
            DataDirMode::MayCreate => create_private(&self.data_dir),
            DataDirMode::MustExist => exists(&self.data_dir),
        }
    }
}

fn create_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Failure::invalid(format!("cannot make the data folder {}", dir.display()))
            .because(&error)
            .hint("choose another with --data-dir, or make it yourself")
    })
}

fn exists(dir: &Path) -> Result<()> {
    match std::fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Failure::invalid(format!("{} is not a folder", dir.display())).hint("check --data-dir")),
        Err(error) => Err(Failure::not_found(format!("there is no data folder at {}", dir.display()))
            .because(&error)
            .hint("`mfctl ingest` and `mfctl init` make one; or check --data-dir, MFCTL_DATA_DIR and the profile")),
    }
}

fn path_text<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    SourcePath::from_path(path).serialize(serializer)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli) fn target(dir: &Path, protected: bool) -> Target {
        Target {
            profile: "embedded".to_owned(),
            environment: EnvName::new(if protected { "prod" } else { "dev" }).unwrap(),
            kind: TargetKind::Embedded,
            endpoints: Vec::new(),
            data_dir: dir.to_path_buf(),
            tenant: Tenant::default(),
            protected,
            met: None,
        }
    }

    #[test]
    fn the_first_line_names_profile_environment_and_folder() {
        let line = target(Path::new("/home/x/.local/share/mfctl"), false).first_line();
        assert_eq!(line, "target: profile=embedded env=dev data=/home/x/.local/share/mfctl");
    }

    #[test]
    fn only_a_verb_that_may_makes_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let target = target(&root.path().join("a/b"), false);
        assert_eq!(target.ensure_data_dir(DataDirMode::MustExist).unwrap_err().exit_code(), 6);
        assert!(!root.path().join("a").exists());
        target.ensure_data_dir(DataDirMode::MayCreate).unwrap();
        target.ensure_data_dir(DataDirMode::MustExist).unwrap();
    }
}
