//! Reads mfctl's own settings from the environment's configuration store.

use super::failure::Result;
use crate::ops::stored_settings;
use crate::settings::{Layers, stored};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::ConfigStore;

/// `layers` above the settings that the store holds now.
///
/// # Errors
/// Those of the store.
pub async fn above(layers: &Layers, store: &dyn ConfigStore, env: &EnvName) -> Result<Layers> {
    let snapshot = store.list(&stored::prefix(env)).await?;
    Ok(stored_settings::overlay(layers, &snapshot, env))
}
