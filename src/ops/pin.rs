//! The pin of a data folder: what the folder was first used for, so that it is not used for something else by mistake.
//!
//! The first command that may create a data folder writes `pin.json` into it: environment, tenant and, in a cluster,
//! the identity of the platform. A target that differs from the pin may then be read, with a warning, but not changed
//! (exit 8) until `mfctl config trust`. The tenant is part of every asset's identity and cannot be changed even so.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::platform::PlatformIdentity;
use super::target::Target;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::domain::{EnvName, Tenant, Timestamp};

const PIN_FILE: &str = "pin.json";
const MAX_PIN_BYTES: u64 = 64 * 1024;

/// The use that a data folder is pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pin {
    /// Environment of its records and objects.
    pub environment: EnvName,
    /// Tenant of its assets.
    pub tenant: Tenant,
    /// The profile that pinned it; any profile of the same environment and tenant may use it.
    pub profile: String,
    /// Identity of the cluster; none for an embedded platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformIdentity>,
    /// When it was pinned.
    #[schemars(with = "String")]
    pub pinned_at: Timestamp,
}

/// Why a data folder may not be changed, or its pin cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The folder is pinned to another environment, tenant or platform.
    #[error("{0}")]
    Mismatch(String),
    /// The folder is pinned to another tenant, which `trust` cannot change.
    #[error("the data folder holds tenant {pinned}, not {wanted}")]
    OtherTenant {
        /// Tenant of the pin.
        pinned: Tenant,
        /// Tenant of the target.
        wanted: Tenant,
    },
    /// The pin file is no file, or larger than any pin.
    #[error("{} is not a pin file", .path.shown())]
    NotAPin {
        /// The pin file.
        path: PathBuf,
    },
    /// The pin file cannot be read.
    #[error("cannot read {}", .path.shown())]
    Read {
        /// The pin file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The pin file is damaged.
    #[error("cannot read {}", .path.shown())]
    Parse {
        /// The pin file.
        path: PathBuf,
        /// What is wrong with its JSON.
        source: serde_json::Error,
    },
    /// The pin cannot be serialized, which is a defect.
    #[error("cannot write {}", .path.shown())]
    Serialize {
        /// The pin file.
        path: PathBuf,
        /// The serializer's error.
        source: serde_json::Error,
    },
    /// The bytes of the pin cannot be written: the disk is full.
    #[error("cannot write {}", .path.shown())]
    Write {
        /// The pin file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The pin file cannot be created or replaced in the folder.
    #[error("cannot write {}", .path.shown())]
    Create {
        /// The pin file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl PinError {
    /// Hint on what to do next, if there is one.
    #[must_use]
    pub fn hint_text(&self) -> Option<&'static str> {
        match self {
            Self::Mismatch(_) => {
                Some("choose another profile or data folder; if its use did change, `mfctl config trust` pins it again")
            }
            Self::OtherTenant { .. } => {
                Some("a tenant is part of every asset's identity: use another data folder for another tenant")
            }
            Self::Parse { .. } => {
                Some("if you know what this folder is for, move the file away and run `mfctl config trust`")
            }
            _ => None,
        }
    }
}

/// Checks that the folder is pinned to this target, and pins a folder that has no pin. Adds to the pin the identity of
/// servers that had none when it was written.
///
/// # Errors
/// `Mismatch` when it is pinned to something else; otherwise the file system's.
pub fn ensure(target: &Target, now: Timestamp) -> Result<(), PinError> {
    if read(&target.data_dir)?.is_none() {
        let pin = Pin::new(target, now);
        // Of two concurrent commands one wins; both then read the same pin.
        write(&target.data_dir, &pin, IfExists::Keep)?;
    }
    verify(target)?;
    complete(target)
}

/// Adds identities to the pin that the platform did not have before.
fn complete(target: &Target) -> Result<(), PinError> {
    let Some(platform) = &target.platform else { return Ok(()) };
    let Some(pin) = read(&target.data_dir)? else { return Ok(()) };
    let complete = platform.clone().or(pin.platform.clone().unwrap_or_default());
    if pin.platform.as_ref() == Some(&complete) {
        return Ok(());
    }
    write(&target.data_dir, &Pin { platform: Some(complete), ..pin }, IfExists::Replace)
}

/// Checks that a folder with a pin is pinned to this target.
///
/// # Errors
/// `Mismatch` when it is pinned to something else; otherwise the file system's.
pub fn verify(target: &Target) -> Result<(), PinError> {
    match mismatch(target)? {
        Some(message) => Err(PinError::Mismatch(message)),
        None => Ok(()),
    }
}

/// The difference between this target and its pin, as a message; `None` when they agree or there is no pin.
///
/// # Errors
/// When the pin cannot be read.
pub fn mismatch(target: &Target) -> Result<Option<String>, PinError> {
    let Some(pin) = read(&target.data_dir)? else { return Ok(None) };
    if pin.environment == target.environment && pin.tenant == target.tenant {
        let differences = match (&target.platform, &pin.platform) {
            (Some(platform), Some(pinned)) => platform.differs_from(pinned),
            _ => Vec::new(),
        };
        return Ok((!differences.is_empty()).then(|| {
            let differences = differences.join(", ");
            format!("profile {} reaches another platform than before: {differences}", target.profile)
        }));
    }
    Ok(Some(format!(
        "the data folder {} belongs to environment {}, tenant {}, and profile {} is environment {}, tenant {}",
        target.data_dir.shown(),
        pin.environment,
        pin.tenant,
        target.profile,
        target.environment,
        target.tenant
    )))
}

/// Pins the folder to this target; returns the pin before, if there was one, and the pin now.
///
/// # Errors
/// `OtherTenant` when the tenant differs; otherwise the file system's.
pub fn trust(target: &Target, now: Timestamp) -> Result<(Option<Pin>, Pin), PinError> {
    let before = read(&target.data_dir)?;
    if let Some(pin) = before.as_ref().filter(|pin| pin.tenant != target.tenant) {
        return Err(PinError::OtherTenant { pinned: pin.tenant.clone(), wanted: target.tenant.clone() });
    }
    let pin = Pin::new(target, now);
    write(&target.data_dir, &pin, IfExists::Replace)?;
    Ok((before, pin))
}

impl Pin {
    fn new(target: &Target, now: Timestamp) -> Self {
        Self {
            environment: target.environment.clone(),
            tenant: target.tenant.clone(),
            profile: target.profile.clone(),
            platform: target.platform.clone(),
            pinned_at: now,
        }
    }
}

/// The folder's pin, if it has one.
///
/// # Errors
/// When the pin file exists and cannot be read or is damaged.
pub fn read(data_dir: &Path) -> Result<Option<Pin>, PinError> {
    let path = data_dir.join(PIN_FILE);
    match std::fs::metadata(&path) {
        // A FIFO would be waited for.
        Ok(metadata) if !metadata.is_file() || metadata.len() > MAX_PIN_BYTES => {
            return Err(PinError::NotAPin { path });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PinError::Read { path, source }),
    }
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(source) => return Err(PinError::Read { path, source }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| PinError::Parse { path, source })
}

/// Whether a pin file that exists is replaced.
#[derive(Clone, Copy, PartialEq)]
enum IfExists {
    Keep,
    Replace,
}

/// Writes the pin file atomically.
fn write(data_dir: &Path, pin: &Pin, if_exists: IfExists) -> Result<(), PinError> {
    let path = data_dir.join(PIN_FILE);
    let create_error = |source| PinError::Create { path: path.clone(), source };
    let text = serde_json::to_vec_pretty(pin).map_err(|source| PinError::Serialize { path: path.clone(), source })?;
    let mut file = tempfile::NamedTempFile::new_in(data_dir).map_err(create_error)?;
    let written = file.write_all(&text).and_then(|()| file.as_file().sync_all());
    written.map_err(|source| PinError::Write { path: path.clone(), source })?;
    if if_exists == IfExists::Replace {
        return file.persist(&path).map(drop).map_err(|error| create_error(error.error));
    }
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(create_error(error.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::tests::target;
    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T03:40:58Z".parse().unwrap()
    }

    fn is_mismatch(result: &Result<(), PinError>) -> bool {
        matches!(result, Err(PinError::Mismatch(_)))
    }

    #[test]
    fn a_folder_stays_pinned_until_another_target_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let dev = target(dir.path(), false);
        let prod = target(dir.path(), true);
        assert!(verify(&dev).is_ok());
        ensure(&dev, now()).unwrap();
        ensure(&dev, now()).unwrap();
        let error = ensure(&prod, now()).unwrap_err();
        assert!(error.to_string().contains("belongs to environment dev"), "{error}");
        assert!(is_mismatch(&Err(error)));
        let (before, after) = trust(&prod, now()).unwrap();
        assert_eq!((before.unwrap().environment.as_str(), after.environment.as_str()), ("dev", "prod"));
        assert!(ensure(&prod, now()).is_ok());
        assert!(is_mismatch(&verify(&dev)));
    }

    #[test]
    fn a_tenant_cannot_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let first = target(dir.path(), false);
        ensure(&first, now()).unwrap();
        let other = Target { tenant: "other".parse().unwrap(), ..first };
        assert!(is_mismatch(&verify(&other)));
        assert!(matches!(trust(&other, now()), Err(PinError::OtherTenant { .. })));
    }

    #[test]
    fn another_platform_at_the_same_addresses_is_refused_until_it_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let with_identity = |log: &str, catalog: Option<&str>| Target {
            platform: Some(PlatformIdentity {
                log: Some(log.into()),
                catalog: catalog.map(str::to_owned),
                ..PlatformIdentity::default()
            }),
            ..target(dir.path(), false)
        };
        // Before `bootstrap apply` there is no catalog; its identity is added once it exists.
        ensure(&with_identity("a", None), now()).unwrap();
        ensure(&with_identity("a", Some("c")), now()).unwrap();
        let error = ensure(&with_identity("a", Some("d")), now()).unwrap_err();
        assert!(error.to_string().contains("the catalog is d and was c"), "{error}");
        assert!(is_mismatch(&Err(error)));
        assert!(is_mismatch(&verify(&with_identity("b", Some("c")))));
        trust(&with_identity("b", Some("d")), now()).unwrap();
        assert!(verify(&with_identity("b", Some("d"))).is_ok());
        // A target whose identity could not be read is not refused.
        assert!(verify(&target(dir.path(), false)).is_ok());
    }

    #[test]
    fn a_damaged_pin_is_an_error_and_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PIN_FILE), "{}").unwrap();
        assert!(matches!(ensure(&target(dir.path(), false), now()), Err(PinError::Parse { .. })));
    }
}
