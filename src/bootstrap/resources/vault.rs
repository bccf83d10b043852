//! What the kinds that are about Vault share.

use std::time::Duration;

use super::{World, Wrong};
use crate::bootstrap::manifest::Kind;
use mfctl_core::ports::{Result, SecretStore, VaultAdmin};

/// Vault's own configuration; none in a data folder, which has no Vault and needs none.
pub(super) fn admin<'a>(world: &'a World<'_>, kind: Kind) -> Result<Option<&'a dyn VaultAdmin>> {
    match &world.ports.vault {
        Some(admin) => Ok(Some(admin.as_ref())),
        None if world.embedded => Ok(None),
        None => Err(super::needs(kind, "vault")),
    }
}

/// Its secrets.
pub(super) fn store<'a>(world: &'a World<'_>, kind: Kind) -> Result<&'a dyn SecretStore> {
    world.ports.secrets.as_deref().ok_or_else(|| super::needs(kind, "vault"))
}

/// A duration as manifests write it; zero where there is none.
pub(super) fn seconds(text: Option<&String>) -> Result<Duration, String> {
    text.map_or(Ok(Duration::ZERO), |text| mfctl_core::humane::parse_duration(text))
}

/// A path that Vault would take and not change.
pub(super) fn check_path(path: &str) -> Result<(), Wrong> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let parts_fit = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    match parts_fit && path.chars().all(fits) {
        true => Ok(()),
        false => Err(Wrong::name("a path in Vault is made of a-z A-Z 0-9 - _ . with single slashes between")),
    }
}
