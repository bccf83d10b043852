//! The target of a command, announced before anything else: profile, environment, kind, endpoints and data folder.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::platform::PlatformIdentity;
use crate::settings::{ProfileKind, Settings};
use mfctl_core::domain::address::without_credentials;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{EnvName, SourcePath, Tenant};

/// The kind of platform that a profile targets.
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
    /// Its kind, e.g. `kafka`.
    pub service: String,
    /// Its address, without credentials.
    pub address: String,
}

/// Whether a command may create the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataDirMode {
    /// `init`, `demo`, `ingest` and `worker`.
    MayCreate,
    /// All others: a missing folder is an error (exit 6), never an empty result.
    MustExist,
}

/// The platform and data folder that a command works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Target {
    /// Name of the profile.
    pub profile: String,
    /// Environment of the profile.
    pub environment: EnvName,
    /// Kind of the platform.
    pub kind: TargetKind,
    /// The servers that the profile names; none for embedded.
    pub endpoints: Vec<Endpoint>,
    /// The data folder, as text; a byte that is not UTF-8 is written `\xNN`.
    #[serde(serialize_with = "path_text")]
    #[schemars(with = "String")]
    pub data_dir: PathBuf,
    /// Tenant of the assets.
    pub tenant: Tenant,
    /// Whether dangerous commands require the environment's name as confirmation.
    pub protected: bool,
    /// Identity of the platform that answered at these endpoints; `None` until it was read.
    #[serde(skip)]
    pub platform: Option<PlatformIdentity>,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The folder does not exist and could not be created.
    #[error("cannot create the data folder {}", .path.shown())]
    Create {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path exists and is not a folder.
    #[error("{} is not a folder", .path.shown())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The folder does not exist, or cannot be examined.
    #[error("there is no data folder at {}", .path.shown())]
    Missing {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl DataDirError {
    /// Hint on what to do next.
    #[must_use]
    pub fn hint_text(&self) -> &'static str {
        match self {
            Self::Create { .. } => "choose another with --data-dir, or create it yourself",
            Self::NotADirectory { .. } => "check --data-dir",
            Self::Missing { .. } => {
                "`mfctl ingest` and `mfctl init` create one; or check --data-dir, MFCTL_DATA_DIR and the profile"
            }
        }
    }
}

impl Target {
    /// The target of these settings; its platform is not read yet.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let profile = &settings.profile;
        let endpoints = profile.services.endpoints().into_iter();
        let endpoints = endpoints
            .map(|(service, address)| Endpoint { service: service.to_owned(), address: without_credentials(&address) });
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
            platform: None,
        }
    }

    /// Checks that the data folder exists, or creates it (with mode 0700) where `mode` allows that.
    ///
    /// # Errors
    /// `Missing` or `Create` when there is no folder, `NotADirectory` when the path is something else.
    pub fn ensure_data_dir(&self, mode: DataDirMode) -> Result<(), DataDirError> {
        match mode {
            DataDirMode::MayCreate => create_private(&self.data_dir),
            DataDirMode::MustExist => check_exists(&self.data_dir),
        }
    }
}

fn create_private(dir: &Path) -> Result<(), DataDirError> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|source| DataDirError::Create { path: dir.to_owned(), source })
}

fn check_exists(dir: &Path) -> Result<(), DataDirError> {
    match std::fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataDirError::NotADirectory { path: dir.to_owned() }),
        Err(source) => Err(DataDirError::Missing { path: dir.to_owned(), source }),
    }
}

fn path_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    SourcePath::from_path(path).serialize(serializer)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn target(dir: &Path, protected: bool) -> Target {
        Target {
            profile: "embedded".to_owned(),
            environment: EnvName::new(if protected { "prod" } else { "dev" }).unwrap(),
            kind: TargetKind::Embedded,
            endpoints: Vec::new(),
            data_dir: dir.to_path_buf(),
            tenant: Tenant::default(),
            protected,
            platform: None,
        }
    }

    #[test]
    fn the_data_folder_is_created_only_where_that_is_allowed() {
        let root = tempfile::tempdir().unwrap();
        let target = target(&root.path().join("a/b"), false);
        let missing = target.ensure_data_dir(DataDirMode::MustExist).unwrap_err();
        assert!(matches!(missing, DataDirError::Missing { .. }), "{missing}");
        assert!(!root.path().join("a").exists());
        target.ensure_data_dir(DataDirMode::MayCreate).unwrap();
        target.ensure_data_dir(DataDirMode::MustExist).unwrap();
    }
}
