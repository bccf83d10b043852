//! mfctl's own settings in the environment's configuration store, as a layer of settings.

use super::failure::Result;
use crate::settings::{Layers, stored};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{ConfigSnapshot, ConfigStore};

/// These layers above those that the store holds now.
///
/// # Errors
/// Those of the store; an invalid setting in it.
pub async fn above(layers: &Layers, store: &dyn ConfigStore, env: &EnvName) -> Result<Layers> {
    let found = store.list(&stored::prefix(env)).await?;
    above_found(layers, &found, env)
}

/// These layers above a snapshot of the store.
///
/// # Errors
/// An invalid setting in the snapshot.
pub fn above_found(layers: &Layers, found: &ConfigSnapshot, env: &EnvName) -> Result<Layers> {
    let prefix = stored::prefix(env);
    let entries = found.entries.iter();
    let named = entries.filter_map(|entry| Some((entry.key.strip_prefix(&prefix)?, entry.value.as_slice())));
    Ok(layers.clone().above_stored(env, named)?)
}
