//! The layers of `config show` and `config explain`, with mfctl's own settings from the configuration store.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::stored;
use crate::connect;
use crate::ops::setting_report::SettingAuthors;
use crate::settings::{Layers, Settings};

/// Timeout for reading the store, without which these commands still work.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// The layers, and who set the values in the store.
#[derive(Debug)]
pub struct WithStored {
    pub(super) layers: Layers,
    pub(super) authors: SettingAuthors,
}

/// These layers above those in the chosen profile's store. A store that cannot be read is a warning, because these
/// commands are how an operator finds that out.
pub(super) async fn with_stored(layers: Layers, cx: &Context) -> WithStored {
    let Ok(settings) = layers.settings() else { return WithStored { layers, authors: SettingAuthors::default() } };
    let read = match tokio::time::timeout(STORE_TIMEOUT, read(&layers, &settings, cx)).await {
        Ok(read) => read,
        Err(_) => Err(Failure::new(FailureKind::Unreachable, "the store did not answer in time")),
    };
    match read {
        Ok(read) => {
            read.layers.stored_warnings().iter().for_each(|warning| cx.out().warn(warning));
            read
        }
        Err(failure) => {
            cx.out().warn(format!("mfctl's own settings in the store are not shown: {failure}"));
            WithStored { layers, authors: SettingAuthors::default() }
        }
    }
}

async fn read(layers: &Layers, settings: &Settings, cx: &Context) -> Result<WithStored> {
    // A data folder that does not exist yet has no settings in it.
    let is_cluster = settings.profile.services.consul.is_some();
    if !is_cluster && !settings.profile.data_dir.exists() {
        return Ok(WithStored { layers: layers.clone(), authors: SettingAuthors::default() });
    }
    let store = connect::config(settings, &cx.sources().env, cx.clock()?, &Arc::default()).await?;
    let Some(store) = store else {
        return Ok(WithStored { layers: layers.clone(), authors: SettingAuthors::default() });
    };
    let env = &settings.profile.environment;
    let layers = stored::above(layers, store.as_ref(), env).await?;
    Ok(WithStored { layers, authors: SettingAuthors::read(store.as_ref(), env).await? })
}
