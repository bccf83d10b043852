//! Which keys the manifests declare, told to the configuration store, so that nobody changes one by hand unawares; and the
//! end of exceptions that are none any more. Changes no setting.

use std::collections::BTreeMap;

use super::manifest::{Item, Spec};
use super::plan::Scope;
use super::resources::{World, setting_text};
use crate::kv;
use crate::kv::declared::{Declarations, Declared};
use crate::kv::glass::Broken;
use mfctl_core::domain::ConfigKey;
use mfctl_core::ports::{ConfigChange, MAX_CHANGES, Result};

/// What has to be written for the store to know what these items declare; `whole`: they are all that is declared.
///
/// # Errors
/// Those of the store.
pub async fn pending(world: &World<'_>, items: &[Item], scope: &Scope, whole: bool) -> Result<Vec<ConfigChange>> {
    let Some(store) = &world.ports.config else { return Ok(Vec::new()) };
    let whole = whole && scope.only.is_empty();
    let declared: Vec<&Item> = items.iter().filter(|item| scope.covers(item.kind(), &item.name)).collect();
    let values = values(&declared);
    let is = Declarations::read(store.as_ref(), world.env).await?;
    let mut changes = is.changes_to(&places(&declared), world.env, whole)?;
    if world.glass.all().next().is_some() {
        let live = kv::read(store.as_ref(), world.env, None).await?;
        let is_over = |broken: &&Broken| match values.get(&broken.key) {
            Some(value) => live.entries.get(&broken.key).is_some_and(|entry| entry.value == value.as_bytes()),
            None => whole,
        };
        changes.extend(world.glass.all().filter(is_over).map(|broken| broken.mend(world.env)));
    }
    Ok(changes)
}

/// Writes it.
///
/// # Errors
/// Those of the store.
pub async fn settle(world: &World<'_>, changes: &[ConfigChange]) -> Result<()> {
    if let Some(store) = &world.ports.config {
        for part in changes.chunks(MAX_CHANGES) {
            store.apply(part).await?;
        }
    }
    Ok(())
}

fn values(items: &[&Item]) -> BTreeMap<ConfigKey, String> {
    let keys = items.iter().filter_map(|item| match &item.spec {
        Spec::ConsulKeys(spec) => Some(spec.keys.iter().map(|(name, value)| (item.name.as_str(), name, value))),
        _ => None,
    });
    let keyed = keys
        .flatten()
        .filter_map(|(service, name, value)| Some((ConfigKey::new(service, name).ok()?, setting_text(value))));
    keyed.collect()
}

fn places(items: &[&Item]) -> Declarations {
    let services = items.iter().filter_map(|item| match &item.spec {
        Spec::ConsulKeys(_) => Some((item.name.clone(), Declared { keys: item.places.clone() })),
        _ => None,
    });
    Declarations(services.collect())
}
