//! Publishes to the configuration store which keys the manifests declare, so that `mfctl kv` refuses to change one by
//! accident, and removes break-glass exceptions that no longer apply. Changes no setting.

use std::collections::BTreeMap;

use super::manifest::{ResourceDeclaration, ResourceSpec};
use super::plan::PlanScope;
use super::resources::{ResourceContext, setting_text};
use crate::kv;
use crate::kv::break_glass::BreakGlassException;
use crate::kv::declared::{DeclaredKeys, KeyDeclarations};
use mfctl_core::domain::ConfigKey;
use mfctl_core::ports::{ConfigChange, MAX_CHANGES, Result};

/// The store changes that publish these declarations. With `complete`, they are all that the environment declares, and
/// services that they do not name are removed.
///
/// # Errors
/// Those of the store.
pub async fn pending_changes(
    context: &ResourceContext<'_>,
    declarations: &[ResourceDeclaration],
    scope: &PlanScope,
    complete: bool,
) -> Result<Vec<ConfigChange>> {
    let Some(store) = &context.ports.config else { return Ok(Vec::new()) };
    let complete = complete && scope.only.is_empty();
    let in_scope: Vec<&ResourceDeclaration> =
        declarations.iter().filter(|declaration| scope.covers(declaration.kind(), &declaration.name)).collect();
    let declared_values = declared_values(&in_scope);
    let published = KeyDeclarations::read(store.as_ref(), context.env).await?;
    let mut changes = published.changes_to(&key_declarations(&in_scope), context.env, complete)?;
    if context.break_glass.iter().next().is_some() {
        let live = kv::read_settings(store.as_ref(), context.env, None).await?;
        let is_resolved = |exception: &&BreakGlassException| match declared_values.get(&exception.key) {
            Some(value) => live.entries.get(&exception.key).is_some_and(|entry| entry.value == value.as_bytes()),
            None => complete,
        };
        let resolved = context.break_glass.iter().filter(is_resolved);
        changes.extend(resolved.map(|exception| exception.delete_change(context.env)));
    }
    Ok(changes)
}

/// Applies the changes, at most [`MAX_CHANGES`] in one transaction.
///
/// # Errors
/// Those of the store; earlier transactions stay applied.
pub async fn publish(context: &ResourceContext<'_>, changes: &[ConfigChange]) -> Result<()> {
    if let Some(store) = &context.ports.config {
        for transaction in changes.chunks(MAX_CHANGES) {
            store.apply(transaction).await?;
        }
    }
    Ok(())
}

fn declared_values(declarations: &[&ResourceDeclaration]) -> BTreeMap<ConfigKey, String> {
    let keys = declarations.iter().filter_map(|declaration| match &declaration.spec {
        ResourceSpec::ConsulKeys(spec) => {
            Some(spec.keys.iter().map(|(name, value)| (declaration.name.as_str(), name, value)))
        }
        _ => None,
    });
    let values = keys
        .flatten()
        .filter_map(|(service, name, value)| Some((ConfigKey::new(service, name).ok()?, setting_text(value))));
    values.collect()
}

fn key_declarations(declarations: &[&ResourceDeclaration]) -> KeyDeclarations {
    let services = declarations.iter().filter_map(|declaration| match &declaration.spec {
        ResourceSpec::ConsulKeys(_) => {
            Some((declaration.name.clone(), DeclaredKeys { keys: declaration.key_locations.clone() }))
        }
        _ => None,
    });
    KeyDeclarations(services.collect())
}
