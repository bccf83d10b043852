//! JSON Schemas in the registry, by subject. A version never changes; a new one is added if the registry finds it compatible.

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::{ResourceDeclaration, ResourceSpec};
use mfctl_core::domain::TopicName;
use mfctl_core::events::schemas as builtin;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// Field: digest of the latest version's JSON.
const SCHEMA: &str = "schema";
/// Field: digests of all versions, oldest first.
const VERSIONS: &str = "versions";
const COMPATIBILITY: &str = "compatibility";
/// Subjects that are read concurrently.
const CONCURRENCY: usize = 8;

pub(super) struct SchemaResource;

#[async_trait]
impl Resource for SchemaResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        let ResourceSpec::Schema(spec) = &declaration.spec else { return Ok(()) };
        if spec.file.is_none() && declaration.schema.is_none() && builtin_schema(&declaration.name).is_none() {
            return Err(InvalidField::in_spec([], "mfctl has no built-in schema of this subject: set `file`"));
        }
        Ok(())
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        declarations: &[&ResourceDeclaration],
        read_scope: ReadScope<'_>,
    ) -> Result<LiveState> {
        let registry = &context.ports.registry;
        let subjects = match read_scope {
            ReadScope::All => registry.subjects().await?,
            _ => declarations
                .iter()
                .map(|declaration| declaration.name.clone())
                .chain(read_scope.additional_ids().iter().cloned())
                .collect(),
        };
        let states = stream::iter(subjects).map(|subject| async move {
            let versions = registry.versions(&subject).await?;
            let Some(latest) = versions.last() else { return Ok(None) };
            let level = registry.compatibility(&subject).await?;
            let digests: Vec<Value> = versions.iter().map(|version| digest(&version.schema).into()).collect();
            let fields = ResourceFields::default()
                .with(SCHEMA, digest(&latest.schema))
                .with(VERSIONS, digests)
                .with(COMPATIBILITY, level.as_str());
            Ok::<_, Error>(Some((subject, fields)))
        });
        let resources: Vec<_> = states.buffer_unordered(CONCURRENCY).try_collect().await?;
        Ok(LiveState::Found(resources.into_iter().flatten().collect::<LiveResources>()))
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        let spec = spec!(declaration, Schema);
        let digest = digest(&declared_schema(declaration)?);
        let current = live.cloned().unwrap_or_default();
        let versions = current.get(VERSIONS).and_then(Value::as_array).cloned().unwrap_or_default();
        let is_registered = versions.iter().any(|version| version.as_str() == Some(&digest));
        let desired = current.with(COMPATIBILITY, spec.compatibility.as_str());
        if is_registered {
            return Ok(desired);
        }
        let versions: Vec<Value> = versions.into_iter().chain([Value::from(digest.as_str())]).collect();
        Ok(desired.with(SCHEMA, digest).with(VERSIONS, versions))
    }

    async fn plan_change(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        _: &ResourceFields,
        changes: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        if !changes.iter().any(|change| change.field == SCHEMA) {
            return Ok(ChangeStrategy::Update);
        }
        let reasons =
            context.ports.registry.check_compatibility(&declaration.name, &declared_schema(declaration)?).await?;
        if reasons.is_empty() {
            return Ok(ChangeStrategy::Update);
        }
        let reasons = reasons.join("; ");
        Ok(ChangeStrategy::Refuse(format!(
            "readers or writers of the previous versions would break: {reasons}. `mfctl schema check` suggests a fix"
        )))
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
    ) -> Result<()> {
        let registry = &context.ports.registry;
        let level = spec!(declaration, Schema).compatibility;
        registry.register(&declaration.name, &declared_schema(declaration)?).await?;
        if registry.compatibility(&declaration.name).await? == level {
            return Ok(());
        }
        registry.set_compatibility(&declaration.name, level).await
    }

    async fn deletion_blocker(&self, _: &ResourceContext<'_>, _: &str) -> Result<Option<String>> {
        Ok(Some("records that were written with it could no longer be read".to_owned()))
    }

    async fn delete(&self, _: &ResourceContext<'_>, id: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, format!("delete subject {id}")))
    }

    async fn generate_manifest(
        &self,
        context: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        let Some(latest) = context.ports.registry.latest(id).await? else { return Ok(None) };
        let file = format!("schemas/{}.json", id.replace(['/', '\\'], "_"));
        let spec = json!({"file": file, "compatibility": live.get(COMPATIBILITY)});
        let file = Some((file, latest.schema));
        Ok(Some(GeneratedManifest { file, ..GeneratedManifest::new(id, spec) }))
    }
}

fn declared_schema(declaration: &ResourceDeclaration) -> Result<Value> {
    if let Some(schema) = &declaration.schema {
        return Ok(schema.clone());
    }
    let schema = builtin_schema(&declaration.name).and_then(|text| serde_json::from_str(text).ok());
    schema.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("mfctl has no built-in schema of subject {}", declaration.name))
    })
}

/// The text of this mfctl's built-in schema of a subject.
fn builtin_schema(subject: &str) -> Option<&'static str> {
    let topic = TopicName::new(subject.strip_suffix("-value")?).ok()?;
    builtin::text_of(&topic)
}

/// Digest of the JSON value, independent of white space and key order: `serde_json` sorts keys.
fn digest(schema: &Value) -> String {
    format!("sha256:{}", hex::encode(&Sha256::digest(schema.to_string().as_bytes())[..16]))
}
