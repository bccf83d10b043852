//! Configuration of services. mfctl owns a service's keys one by one: keys that other tools create are left unchanged.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    setting_text, spec,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::{ResourceDeclaration, ResourceKind, ResourceSpec};
use crate::kv;
use crate::kv::declared::KeyDeclarations;
use crate::kv::history::HistoryEntry;
use crate::kv::write::{self, ChangeMetadata, SettingEdit};
use mfctl_core::domain::{ConfigKey, config_key, secret_like};
use mfctl_core::ports::{Error, ErrorKind, Result};

pub(super) struct ConsulKeysResource;

#[async_trait]
impl Resource for ConsulKeysResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        if !config_key::is_service_name(&declaration.name) {
            return Err(InvalidField::name("a service's name consists of a-z 0-9 -, and does not begin with mfctl-"));
        }
        let ResourceSpec::ConsulKeys(spec) = &declaration.spec else { return Ok(()) };
        for (key, value) in &spec.keys {
            let at = |message: &str| InvalidField::in_spec(["keys", key], message);
            if !config_key::is_key_name(key) {
                return Err(at("a key's name consists of a-z 0-9 _"));
            }
            if let Some(reason) = secret_like::secret_reason(key, &setting_text(value)) {
                return Err(at(&format!("{reason}: a secret belongs in Vault, see kind VaultSecret")));
            }
        }
        Ok(())
    }

    fn tracks_field_ownership(&self) -> bool {
        true
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        declarations: &[&ResourceDeclaration],
        _: ReadScope<'_>,
    ) -> Result<LiveState> {
        let Some(store) = &context.ports.config else {
            return Err(super::missing_server(ResourceKind::ConsulKeys, "consul"));
        };
        let mut live = LiveResources::new();
        for (key, entry) in kv::read_settings(store.as_ref(), context.env, None).await?.entries {
            let fields = live.entry(key.service().to_owned()).or_default();
            fields.0.insert(key.name().to_owned(), live_value(&entry.value));
        }
        // Of a declared service, only the keys that are declared or owned by mfctl are compared.
        for declaration in declarations {
            if let (Some(fields), ResourceSpec::ConsulKeys(spec)) = (live.get_mut(&declaration.name), &declaration.spec)
            {
                let owned = owned_keys(context, &declaration.name);
                fields.0.retain(|key, _| spec.keys.contains_key(key) || owned.contains(key));
                if fields.0.is_empty() {
                    live.remove(&declaration.name);
                }
            }
        }
        Ok(LiveState::Found(live))
    }

    fn orphaned_fields(
        &self,
        declaration: &ResourceDeclaration,
        live: &ResourceFields,
        context: &ResourceContext<'_>,
    ) -> Result<Vec<String>> {
        let declared = &spec!(declaration, ConsulKeys).keys;
        let owned = owned_keys(context, &declaration.name);
        Ok(owned.into_iter().filter(|key| live.get(key).is_some() && !declared.contains_key(key)).collect())
    }

    /// A key with an active break-glass exception keeps its live value.
    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
        context: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        let mut desired = live.filter(|_| !context.prune).cloned().unwrap_or_default();
        for (name, value) in &spec!(declaration, ConsulKeys).keys {
            let is_excepted = ConfigKey::new(&declaration.name, name)
                .is_ok_and(|key| context.break_glass.is_active(&key, context.now));
            match live.and_then(|live| live.get(name)) {
                Some(value) if is_excepted => desired = desired.with(name, value.clone()),
                None if is_excepted => {}
                _ => desired = desired.with(name, setting_text(value)),
            }
        }
        Ok(desired)
    }

    async fn plan_change(
        &self,
        _: &ResourceContext<'_>,
        _: &ResourceDeclaration,
        _: &ResourceFields,
        _: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        Ok(ChangeStrategy::Update)
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
    ) -> Result<()> {
        let changes = live.cloned().unwrap_or_default().changes_to(&self.desired_fields(declaration, live, context)?);
        let location = declaration.location.as_ref().map_or_else(|| "mfctl's defaults".to_owned(), ToString::to_string);
        write_keys(context, &declaration.name, &changes, format!("declared at {location}")).await
    }

    async fn deletion_blocker(&self, _: &ResourceContext<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// Deletes the keys that mfctl owns; those of other tools stay.
    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()> {
        let deletions = owned_keys(context, id).into_iter().map(|field| FieldChange { field, from: None, to: None });
        write_keys(context, id, &deletions.collect::<Vec<_>>(), "no longer declared".to_owned()).await
    }

    async fn generate_manifest(
        &self,
        _: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        let (keys, binary): (BTreeMap<&String, &Value>, BTreeMap<_, _>) =
            live.0.iter().partition(|(_, value)| value.is_string());
        if keys.is_empty() {
            return Ok(None);
        }
        let left_out = binary.keys().map(|key| format!("key {key}, because its value is not text")).collect();
        Ok(Some(GeneratedManifest { left_out, ..GeneratedManifest::new(id, json!({"keys": keys})) }))
    }
}

/// A live value: its text, or `{"base64": …}` where it is not UTF-8, which no declared value equals.
fn live_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"base64": STANDARD.encode(bytes)}),
    }
}

/// The keys of a service that mfctl owns.
fn owned_keys(context: &ResourceContext<'_>, service: &str) -> BTreeSet<String> {
    context.owner_marks.get(ResourceKind::ConsulKeys, service).map(|mark| mark.fields.clone()).unwrap_or_default()
}

/// Writes keys with check-and-set, each with its entry in the history.
async fn write_keys(
    context: &ResourceContext<'_>,
    service: &str,
    changes: &[FieldChange],
    reason: String,
) -> Result<()> {
    let Some(store) = &context.ports.config else {
        return Err(super::missing_server(ResourceKind::ConsulKeys, "consul"));
    };
    let settings = kv::read_settings(store.as_ref(), context.env, Some(service)).await?;
    let edits = changes.iter().map(|change| to_edit(service, change, &settings)).collect::<Result<Vec<_>>>()?;
    let metadata = ChangeMetadata {
        actor: context.actor.to_owned(),
        reason,
        verb: "bootstrap apply".to_owned(),
        batch: HistoryEntry::new_id(),
        at: context.now,
        secret_like: None,
        broken_until: None,
    };
    // No break-glass exception is written for these edits, so their declarations are not needed.
    let declarations = KeyDeclarations::default();
    for edits in write::split_into_transactions(&edits, &metadata, &declarations, 0) {
        let (changes, _) = write::transaction(&edits, &metadata, &declarations, context.env)?;
        store.apply(&changes).await?;
    }
    Ok(())
}

fn to_edit(service: &str, change: &FieldChange, settings: &kv::EnvironmentSettings) -> Result<SettingEdit> {
    let FieldChange { field, from, to } = change;
    let key = ConfigKey::new(service, field)
        .map_err(|error| Error::new(ErrorKind::Invalid, "the key's name is invalid").because(error))?;
    let current = settings.entries.get(&key).cloned();
    let differs = from.is_some() && *from != current.as_ref().map(|entry| live_value(&entry.value));
    if differs || from.is_none() && to.is_some() && current.is_some() {
        return Err(super::changed_since_plan(key, ""));
    }
    Ok(SettingEdit { key, current, to: to.as_ref().map(|to| setting_text(to).into_bytes()) })
}
