//! Secrets that must exist. A value is generated here or stored by an operator; it is never printed and never in a plan.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec, vault,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields, SENSITIVE};
use crate::bootstrap::manifest::{ResourceDeclaration, ResourceKind, ResourceSpec, SecretFieldSource, VaultSecretSpec};
use mfctl_core::domain::{Secret, SecretValue, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, MountClass, Result, SecretShape, VaultMount};

/// Secrets that are read concurrently.
const CONCURRENCY: usize = 16;

pub(super) struct VaultSecretResource;

#[async_trait]
impl Resource for VaultSecretResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        vault::check_path(&declaration.name)?;
        let ResourceSpec::VaultSecret(spec) = &declaration.spec else { return Ok(()) };
        if secret_path(declaration).is_none() {
            return Err(InvalidField::name("a secret's name is <mount>/<path>"));
        }
        if spec.fields.is_empty() {
            return Err(InvalidField::in_spec(["fields"], "names no field"));
        }
        let out_of_range = spec.fields.iter().find(
            |(_, source)| matches!(source, SecretFieldSource::Random(random) if !(16..=256).contains(&random.bytes)),
        );
        match out_of_range {
            Some((field, _)) => Err(InvalidField::in_spec(["fields", field], "must have 16 to 256 bytes")),
            None => Ok(()),
        }
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        declarations: &[&ResourceDeclaration],
        read_scope: ReadScope<'_>,
    ) -> Result<LiveState> {
        if context.embedded && context.ports.secrets.is_none() {
            return Ok(LiveState::NotApplicable);
        }
        let store = vault::store(context, ResourceKind::VaultSecret)?;
        let mut paths: Vec<_> = declarations.iter().filter_map(|declaration| secret_path(declaration)).collect();
        if matches!(read_scope, ReadScope::All) {
            paths = all_paths(context).await?;
        }
        for id in read_scope.additional_ids() {
            let mount = mount_of(context, id).await?;
            paths.extend(mount.and_then(|mount| {
                let path = id.strip_prefix(&mount)?.strip_prefix('/')?.to_owned();
                Some((mount, path))
            }));
        }
        let states = stream::iter(paths).map(|(mount, path)| async move {
            let shape = store.shape(&mount, &path).await?;
            Ok::<_, Error>(shape.map(|shape| (format!("{mount}/{path}"), fields(&shape))))
        });
        let resources: Vec<_> = states.buffer_unordered(CONCURRENCY).try_collect().await?;
        Ok(LiveState::Found(resources.into_iter().flatten().collect::<LiveResources>()))
    }

    /// Fields that other tools added stay.
    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        let current = live.cloned().unwrap_or_default();
        let names = spec!(declaration, VaultSecret).fields.keys();
        Ok(names.fold(current, |desired, name| desired.with(format!("fields.{name}"), SENSITIVE)))
    }

    async fn plan_change(
        &self,
        _: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        live: &ResourceFields,
        _: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        Ok(missing_fields(declaration, spec!(declaration, VaultSecret), live)
            .map_or(ChangeStrategy::Update, ChangeStrategy::Refuse))
    }

    async fn creation_blocker(
        &self,
        _: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
    ) -> Result<Option<String>> {
        Ok(missing_fields(declaration, spec!(declaration, VaultSecret), &ResourceFields::default()))
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
    ) -> Result<()> {
        let store = vault::store(context, ResourceKind::VaultSecret)?;
        let spec = spec!(declaration, VaultSecret);
        let (mount, path) = secret_path(declaration).ok_or_else(|| super::wrong_kind(declaration))?;
        // A write creates a new version with all fields, so the existing fields are written back.
        let current = store.read_all(&mount, &path).await?;
        if live.is_some() && current.is_none() {
            return Err(super::changed_since_plan(format!("secret {mount}/{path}"), ""));
        }
        let (version, mut values) = current.unwrap_or_default();
        generate_missing(spec, &mut values)?;
        store.write(&mount, &path, &values, version).await
    }

    async fn deletion_blocker(&self, _: &ResourceContext<'_>, _: &str) -> Result<Option<String>> {
        Ok(Some("it may still be in use, and its values could not be restored".to_owned()))
    }

    async fn delete(&self, _: &ResourceContext<'_>, id: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, format!("delete secret {id}")))
    }

    async fn changed_at(&self, context: &ResourceContext<'_>, id: &str) -> Result<Option<Timestamp>> {
        let Some(mount) = mount_of(context, id).await? else { return Ok(None) };
        let path = id.strip_prefix(&mount).unwrap_or(id).trim_start_matches('/');
        vault::store(context, ResourceKind::VaultSecret)?.changed_at(&mount, path).await
    }

    async fn generate_manifest(
        &self,
        context: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        let Some(mount) = mount_of(context, id).await? else { return Ok(None) };
        let names = live.0.keys().filter_map(|field| field.strip_prefix("fields."));
        let fields: BTreeMap<&str, SecretFieldSource> = names.map(|name| (name, SecretFieldSource::Given)).collect();
        // A manifest names at least one field.
        if fields.is_empty() {
            return Ok(None);
        }
        let mut spec = json!({"fields": fields});
        if mount.contains('/') {
            spec["mount"] = json!(mount);
        }
        Ok(Some(GeneratedManifest::new(id, spec)))
    }
}

/// The mount and the path of a secret.
fn secret_path(declaration: &ResourceDeclaration) -> Option<(String, String)> {
    let ResourceSpec::VaultSecret(spec) = &declaration.spec else { return None };
    let (mount, path) = match &spec.mount {
        Some(mount) => (mount.as_str(), declaration.name.strip_prefix(mount)?.strip_prefix('/')?),
        None => declaration.name.split_once('/')?,
    };
    Some((mount.to_owned(), path.to_owned()))
}

/// Mount and path of every secret in every KV version 2 engine.
async fn all_paths(context: &ResourceContext<'_>) -> Result<Vec<(String, String)>> {
    let Some(admin) = vault::admin(context, ResourceKind::VaultSecret)? else { return Ok(Vec::new()) };
    let store = vault::store(context, ResourceKind::VaultSecret)?;
    let mut all = Vec::new();
    for mount in admin.mounts().await? {
        if mount.class == MountClass::Secrets && mount.kv_version == Some(2) {
            let paths = store.paths(&mount.path).await?;
            all.extend(paths.into_iter().map(|path| (mount.path.clone(), path)));
        }
    }
    Ok(all)
}

/// The path of the engine that holds an id: it may contain slashes, so the id alone does not tell.
async fn mount_of(context: &ResourceContext<'_>, id: &str) -> Result<Option<String>> {
    let Some(admin) = vault::admin(context, ResourceKind::VaultSecret)? else { return Ok(None) };
    let holds = |mount: &VaultMount| {
        mount.class == MountClass::Secrets && id.strip_prefix(&mount.path).is_some_and(|rest| rest.starts_with('/'))
    };
    Ok(admin.mounts().await?.into_iter().find(holds).map(|mount| mount.path))
}

fn fields(shape: &SecretShape) -> ResourceFields {
    shape.fields.iter().fold(ResourceFields::default(), |fields, name| fields.with(format!("fields.{name}"), SENSITIVE))
}

/// The reason to refuse while fields are missing that an operator has to store.
fn missing_fields(declaration: &ResourceDeclaration, spec: &VaultSecretSpec, live: &ResourceFields) -> Option<String> {
    let given = spec.fields.iter().filter(|(_, source)| **source == SecretFieldSource::Given);
    let missing: Vec<&str> = given
        .map(|(name, _)| name.as_str())
        .filter(|name| live.get(&format!("fields.{name}")).map(Value::is_string) != Some(true))
        .collect();
    (!missing.is_empty()).then(|| {
        let name = &declaration.name;
        let first = missing[0];
        format!("an operator must store {}, for example with `vault kv patch {name} {first}=-`", missing.join(", "))
    })
}

/// Generates the random fields that are missing, null or empty.
fn generate_missing(spec: &VaultSecretSpec, values: &mut BTreeMap<String, SecretValue>) -> Result<()> {
    for (field, source) in &spec.fields {
        let is_missing = values.get(field).is_none_or(SecretValue::is_empty);
        if let (SecretFieldSource::Random(random), true) = (source, is_missing) {
            values.insert(field.clone(), random_secret(random.bytes)?.into());
        }
    }
    Ok(())
}

/// A secret from the operating system's random number generator, as hexadecimal digits.
fn random_secret(bytes: u16) -> Result<Secret> {
    let mut random = vec![0; usize::from(bytes)];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("the system returned no random bytes: {error}")))?;
    Ok(Secret::new(hex::encode(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_fields_are_generated_where_they_are_missing_or_empty_and_others_stay() {
        let source = json!({"random": {"bytes": 16}});
        let fields = json!({"absent": source, "null": source, "empty": source, "stored": source, "given": "given"});
        let spec: VaultSecretSpec = serde_json::from_value(json!({"fields": fields})).unwrap();
        let stored = json!({"null": null, "empty": "", "stored": 5432, "given": null, "other": {"a": 1}});
        let stored: BTreeMap<String, Value> = serde_json::from_value(stored).unwrap();
        let mut values: BTreeMap<String, SecretValue> =
            stored.into_iter().map(|(name, value)| (name, SecretValue::new(value))).collect();
        generate_missing(&spec, &mut values).unwrap();
        for field in ["absent", "null", "empty"] {
            assert_eq!(values[field].expose().as_str().map(str::len), Some(32), "{field}");
        }
        let kept = ["stored", "given", "other"].map(|field| values[field].expose().clone());
        assert_eq!(kept, [json!(5432), json!(null), json!({"a": 1})]);
    }
}
