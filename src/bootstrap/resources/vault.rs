//! What the kinds that are about Vault share.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{World, Wrong};
use crate::bootstrap::manifest::Kind;
use crate::domain::Secret;
use crate::ports::{Result, SecretShape, SecretStore, VaultAdmin};

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

/// A secret's shape and every value it has: a version is written whole, so that what is there is to be taken over.
pub(super) async fn whole(
    store: &dyn SecretStore,
    mount: &str,
    path: &str,
) -> Result<(Option<SecretShape>, BTreeMap<String, Secret>)> {
    let shape = store.shape(mount, path).await?;
    let mut values = BTreeMap::new();
    for field in shape.iter().flat_map(|shape| &shape.fields) {
        if let Some(value) = store.read(mount, path, field).await? {
            values.insert(field.clone(), value);
        }
    }
    Ok((shape, values))
}

/// A duration as manifests write it; zero where there is none.
pub(super) fn seconds(text: Option<&String>) -> Result<Duration, String> {
    text.map_or(Ok(Duration::ZERO), |text| crate::humane::parse_duration(text))
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
