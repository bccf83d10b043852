//! mfctl's own settings in the environment's configuration store, asked for.

use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::failure::{Failure, FailureKind, Result};
use crate::connect;
use crate::settings::{Layers, Settings, stored};
use mfctl_core::domain::EnvName;
use mfctl_core::ports::{ConfigSnapshot, ConfigStore};

/// A verb that shows settings waits no longer for those that are in the store.
const PATIENCE: Duration = Duration::from_secs(5);

/// These layers above what the store says now.
///
/// # Errors
/// Those of the store; a setting there that cannot be.
pub async fn above(layers: &Layers, store: &dyn ConfigStore, env: &EnvName) -> Result<Layers> {
    let found = store.list(&stored::prefix(env)).await?;
    above_found(layers, &found, env)
}

/// These layers above what was found in the store.
///
/// # Errors
/// A setting there that cannot be.
pub fn above_found(layers: &Layers, found: &ConfigSnapshot, env: &EnvName) -> Result<Layers> {
    let prefix = stored::prefix(env);
    let entries = found.entries.iter();
    let named = entries.filter_map(|entry| Some((entry.key.strip_prefix(&prefix)?, entry.value.as_slice())));
    Ok(layers.clone().above_stored(env, named)?)
}

/// These layers for a verb that shows them: above what the chosen profile's store says, where it can be asked. That it
/// cannot is told, and nothing to fail for: this is where one finds out.
pub async fn shown(layers: Layers, cx: &Context) -> Layers {
    let Ok(settings) = layers.settings() else { return layers };
    let asked = match tokio::time::timeout(PATIENCE, ask(&layers, &settings, cx)).await {
        Ok(asked) => asked,
        Err(_) => Err(Failure::new(FailureKind::Unreachable, "the store did not answer in time")),
    };
    match asked {
        Ok(found) => {
            found.stored_warnings().iter().for_each(|warning| cx.out().warn(warning));
            found
        }
        Err(failure) => {
            cx.out().warn(format!("mfctl's own settings in the store are not shown: {failure}"));
            layers
        }
    }
}

async fn ask(layers: &Layers, settings: &Settings, cx: &Context) -> Result<Layers> {
    // A folder that nobody made yet has no settings in it.
    let is_cluster = settings.profile.services.consul.is_some();
    if !is_cluster && !settings.profile.data_dir.exists() {
        return Ok(layers.clone());
    }
    let store = connect::config(settings, &cx.sources().env, cx.clock()?, &Arc::default()).await?;
    match store {
        Some(store) => above(layers, store.as_ref(), &settings.profile.environment).await,
        None => Ok(layers.clone()),
    }
}
