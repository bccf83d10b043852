//! mfctl's own settings in the configuration store, as a layer below those of the host.

use crate::settings::{Layers, stored};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::ConfigSnapshot;

/// The layers of a host with the settings in `snapshot`, which the host's own layers override.
#[must_use]
pub fn overlay(layers: &Layers, snapshot: &ConfigSnapshot, env: &EnvName) -> Layers {
    let prefix = stored::prefix(env);
    let entries = snapshot.entries.iter();
    let named = entries.filter_map(|entry| Some((entry.key.strip_prefix(&prefix)?, entry.value.as_slice())));
    layers.clone().above_stored(env, named)
}
