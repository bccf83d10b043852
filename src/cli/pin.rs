//! What a data folder was first used for, so that it is never used for something else by mistake.
//!
//! The first verb that may make a data folder writes `pin.json` into it: environment, tenant and, in a cluster, which
//! platform answered. From then on a target that differs may look, with a warning, and may not write (exit 8) until
//! `mfctl config trust`. The tenant is part of every asset's identity and cannot be changed even so.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureKind, OrFail, Result};
use super::target::Target;
use crate::ops::platform::PlatformIdentity;
use mfctl_core::domain::{EnvName, Tenant, Timestamp};

const FILE: &str = "pin.json";
/// A pin is never larger.
const LARGEST: u64 = 64 * 1024;

/// What a data folder is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pin {
    /// The environment whose records and objects it holds.
    pub environment: EnvName,
    /// The tenant of its assets.
    pub tenant: Tenant,
    /// The profile that used it first; any profile of the same environment and tenant may use it.
    pub profile: String,
    /// The platform it met; none for a folder that is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformIdentity>,
    /// When it was pinned.
    #[schemars(with = "String")]
    pub pinned_at: Timestamp,
}

/// Makes sure that writing to this target is what its folder is for; pins a folder that has no pin.
///
/// # Errors
/// Exit 8 when it was pinned for something else.
pub fn ensure(target: &Target, now: Timestamp) -> Result<()> {
    if read(&target.data_dir)?.is_none() {
        let pin = Pin::of(target, now);
        // Of two that come first, one wins; both then read the same pin.
        write(&target.data_dir, &pin, Existing::Keep)?;
    }
    verify(target)?;
    learn(target)
}

/// Adds to the pin what is known of the platform only now: a part that was made since.
fn learn(target: &Target) -> Result<()> {
    let (Some(met), Some(pin)) = (&target.met, read(&target.data_dir)?) else { return Ok(()) };
    let known = met.clone().or(pin.platform.clone().unwrap_or_default());
    if pin.platform.as_ref() == Some(&known) {
        return Ok(());
    }
    write(&target.data_dir, &Pin { platform: Some(known), ..pin }, Existing::Replace)
}

/// Makes sure that a folder that has a pin has one for this target.
///
/// # Errors
/// Exit 8 when it was pinned for something else.
pub fn verify(target: &Target) -> Result<()> {
    match mismatch(target)? {
        Some(said) => Err(Failure::refused(said).hint(
            "choose another profile or data folder; if this one's purpose did change, `mfctl config trust` pins it anew",
        )),
        None => Ok(()),
    }
}

/// What is wrong with this target's pin, as a sentence; none when it fits or there is none.
///
/// # Errors
/// When the pin cannot be read.
pub fn mismatch(target: &Target) -> Result<Option<String>> {
    let Some(pin) = read(&target.data_dir)? else { return Ok(None) };
    if pin.environment == target.environment && pin.tenant == target.tenant {
        let differing = match (&target.met, &pin.platform) {
            (Some(met), Some(pinned)) => met.differs_from(pinned),
            _ => Vec::new(),
        };
        return Ok((!differing.is_empty()).then(|| {
            let differing = differing.join(", ");
            format!("profile {} has met another platform than before: {differing}", target.profile)
        }));
    }
    Ok(Some(format!(
        "the data folder {} belongs to environment {}, tenant {}, and profile {} is environment {}, tenant {}",
        target.data_dir.display(),
        pin.environment,
        pin.tenant,
        target.profile,
        target.environment,
        target.tenant
    )))
}

/// Pins the folder anew for this target; gives the pin it had and the one it has.
///
/// # Errors
/// Exit 8 when the tenant differs, which no pin can change.
pub fn trust(target: &Target, now: Timestamp) -> Result<(Option<Pin>, Pin)> {
    let before = read(&target.data_dir)?;
    if let Some(pin) = before.as_ref().filter(|pin| pin.tenant != target.tenant) {
        return Err(Failure::refused(format!("the data folder holds tenant {}, not {}", pin.tenant, target.tenant))
            .hint("a tenant is part of every asset's identity: use another data folder for another tenant"));
    }
    let pin = Pin::of(target, now);
    write(&target.data_dir, &pin, Existing::Replace)?;
    Ok((before, pin))
}

impl Pin {
    fn of(target: &Target, now: Timestamp) -> Self {
        Self {
            environment: target.environment.clone(),
            tenant: target.tenant.clone(),
            profile: target.profile.clone(),
            platform: target.met.clone(),
            pinned_at: now,
        }
    }
}

/// The folder's pin, if it has one.
///
/// # Errors
/// When it is there and cannot be read or is none.
pub fn read(data_dir: &Path) -> Result<Option<Pin>> {
    let path = data_dir.join(FILE);
    match std::fs::metadata(&path) {
        Ok(found) if found.len() > LARGEST => return Err(Failure::invalid(format!("{} is no pin", path.display()))),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&path).because(&error)),
    }
    let text = std::fs::read(&path).map_err(|error| unreadable(&path).because(&error))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        unreadable(&path)
            .because(&error)
            .hint("if you know what this folder is for, `mfctl config trust` after moving it away")
    })
}

fn unreadable(path: &Path) -> Failure {
    Failure::invalid(format!("cannot read {}", path.display()))
}

#[derive(Clone, Copy, PartialEq)]
enum Existing {
    Keep,
    Replace,
}

/// Writes the pin whole or not at all.
fn write(data_dir: &Path, pin: &Pin, existing: Existing) -> Result<()> {
    let path: PathBuf = data_dir.join(FILE);
    let failed = || format!("cannot write {}", path.display());
    let text = serde_json::to_vec_pretty(pin).or_fail(FailureKind::Unexpected, failed)?;
    let mut file = tempfile::NamedTempFile::new_in(data_dir).or_fail(FailureKind::Invalid, failed)?;
    file.write_all(&text).and_then(|()| file.as_file().sync_all()).or_fail(FailureKind::Full, failed)?;
    if existing == Existing::Replace {
        return file.persist(&path).map(drop).map_err(|error| Failure::invalid(failed()).because(&error.error));
    }
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Failure::invalid(failed()).because(&error.error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::tests::target;
    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T03:40:58Z".parse().unwrap()
    }

    #[test]
    fn a_folder_keeps_the_purpose_it_was_first_used_for_until_it_is_trusted_anew() {
        let dir = tempfile::tempdir().unwrap();
        let dev = target(dir.path(), false);
        let prod = target(dir.path(), true);
        assert!(verify(&dev).is_ok());
        ensure(&dev, now()).unwrap();
        ensure(&dev, now()).unwrap();
        let failure = ensure(&prod, now()).unwrap_err();
        assert_eq!(failure.exit_code(), 8);
        assert!(failure.message().contains("belongs to environment dev"), "{failure}");
        let (before, after) = trust(&prod, now()).unwrap();
        assert_eq!((before.unwrap().environment.as_str(), after.environment.as_str()), ("dev", "prod"));
        assert!(ensure(&prod, now()).is_ok());
        assert_eq!(verify(&dev).unwrap_err().exit_code(), 8);
    }

    #[test]
    fn a_tenant_cannot_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let first = target(dir.path(), false);
        ensure(&first, now()).unwrap();
        let other = Target { tenant: "other".parse().unwrap(), ..first };
        assert_eq!(verify(&other).unwrap_err().exit_code(), 8);
        assert_eq!(trust(&other, now()).unwrap_err().exit_code(), 8);
    }

    #[test]
    fn another_platform_behind_the_same_addresses_is_refused_until_it_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let met = |log: &str, catalog: Option<&str>| Target {
            met: Some(PlatformIdentity {
                log: Some(log.into()),
                catalog: catalog.map(str::to_owned),
                ..PlatformIdentity::default()
            }),
            ..target(dir.path(), false)
        };
        // Before `bootstrap apply` there is no catalog; it is learnt when there is.
        ensure(&met("a", None), now()).unwrap();
        ensure(&met("a", Some("c")), now()).unwrap();
        let failure = ensure(&met("a", Some("d")), now()).unwrap_err();
        assert_eq!(failure.exit_code(), 8);
        assert!(failure.message().contains("the catalog is d and was c"), "{failure}");
        assert_eq!(verify(&met("b", Some("c"))).unwrap_err().exit_code(), 8);
        trust(&met("b", Some("d")), now()).unwrap();
        assert!(verify(&met("b", Some("d"))).is_ok());
        // A verb that could not ask is not refused.
        assert!(verify(&target(dir.path(), false)).is_ok());
    }

    #[test]
    fn a_damaged_pin_is_never_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{}").unwrap();
        assert_eq!(ensure(&target(dir.path(), false), now()).unwrap_err().exit_code(), 6);
    }
}
