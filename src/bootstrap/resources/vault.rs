//! Helpers that Vault's kinds share.

use std::time::Duration;

use super::{InvalidField, ResourceContext};
use crate::bootstrap::manifest::ResourceKind;
use mfctl_core::ports::{Result, SecretStore, VaultAdmin};

/// Vault's administration API; `None` in a data folder, which needs no Vault.
pub(super) fn admin<'a>(context: &'a ResourceContext<'_>, kind: ResourceKind) -> Result<Option<&'a dyn VaultAdmin>> {
    match &context.ports.vault {
        Some(admin) => Ok(Some(admin.as_ref())),
        None if context.embedded => Ok(None),
        None => Err(super::missing_server(kind, "vault")),
    }
}

/// Vault's secrets.
pub(super) fn store<'a>(context: &'a ResourceContext<'_>, kind: ResourceKind) -> Result<&'a dyn SecretStore> {
    context.ports.secrets.as_deref().ok_or_else(|| super::missing_server(kind, "vault"))
}

/// Parses an optional duration of a manifest; zero if it is absent.
pub(super) fn parse_duration(text: Option<&String>) -> Result<Duration, String> {
    text.map_or(Ok(Duration::ZERO), |text| mfctl_core::humane::parse_duration(text))
}

/// Checks that Vault accepts a path and stores it unchanged.
pub(super) fn check_path(path: &str) -> Result<(), InvalidField> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    let segments_are_valid = path.split('/').all(|segment| !segment.is_empty() && segment != "." && segment != "..");
    match segments_are_valid && path.chars().all(is_allowed) {
        true => Ok(()),
        false => {
            Err(InvalidField::name("a path in Vault consists of a-z A-Z 0-9 - _ . with single slashes in between"))
        }
    }
}
