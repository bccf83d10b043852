//! The layers of `config show` and `config explain`, with mfctl's own settings from the configuration store.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::stored;
use crate::connect;
use crate::settings::{Layers, Settings};

/// Timeout for reading the store, without which these commands still work.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// These layers above those in the chosen profile's store. A store that cannot be read is a warning, because these
/// commands are how an operator finds that out.
pub(super) async fn with_stored(layers: Layers, cx: &Context) -> Layers {
    let Ok(settings) = layers.settings() else { return layers };
    let read = match tokio::time::timeout(STORE_TIMEOUT, read(&layers, &settings, cx)).await {
        Ok(read) => read,
        Err(_) => Err(Failure::new(FailureKind::Unreachable, "the store did not answer in time")),
    };
    match read {
        Ok(layers) => {
            layers.stored_warnings().iter().for_each(|warning| cx.out().warn(warning));
            layers
        }
        Err(failure) => {
            cx.out().warn(format!("mfctl's own settings in the store are not shown: {failure}"));
            layers
        }
    }
}

async fn read(layers: &Layers, settings: &Settings, cx: &Context) -> Result<Layers> {
    // A data folder that does not exist yet has no settings in it.
    let is_cluster = settings.profile.services.consul.is_some();
    if !is_cluster && !settings.profile.data_dir.exists() {
        return Ok(layers.clone());
    }
    let store = connect::config(settings, &cx.sources().env, cx.clock()?, &Arc::default()).await?;
    match store {
        Some(store) => stored::above(layers, store.as_ref(), &settings.profile.environment).await,
        None => Ok(layers.clone()),
    }
}
