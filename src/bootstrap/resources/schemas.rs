//! JSON Schemas under their subjects. A version never changes; another one is added when the registry's compatibility lets it.

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{Item, Spec};
use mfctl_core::domain::TopicName;
use mfctl_core::events::schemas as ours;
use mfctl_core::ports::{Error, ErrorKind, Result};

/// The latest version, by the digest of its JSON.
const SCHEMA: &str = "schema";
/// Every version, likewise.
const VERSIONS: &str = "versions";
const COMPATIBILITY: &str = "compatibility";
/// Subjects looked at at once.
const AT_ONCE: usize = 8;

pub(super) struct Schemas;

#[async_trait]
impl Resource for Schemas {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        let Spec::Schema(spec) = &item.spec else { return Ok(()) };
        if spec.file.is_none() && item.schema.is_none() && text_of(&item.name).is_none() {
            return Err(Wrong::at("/spec", "mfctl has no schema of its own for this subject: name its `file`"));
        }
        Ok(())
    }

    async fn live(&self, world: &World<'_>, items: &[&Item], also: Also<'_>) -> Result<Looked> {
        let registry = &world.ports.registry;
        let subjects = match also {
            Also::Everything => registry.subjects().await?,
            _ => items.iter().map(|item| item.name.clone()).chain(also.ids().iter().cloned()).collect(),
        };
        let looked = stream::iter(subjects).map(|subject| async move {
            let versions = registry.versions(&subject).await?;
            let Some(last) = versions.last() else { return Ok(None) };
            let level = registry.compatibility(&subject).await?;
            let digests: Vec<Value> = versions.iter().map(|version| digest(&version.schema).into()).collect();
            let fields = Fields::default()
                .with(SCHEMA, digest(&last.schema))
                .with(VERSIONS, digests)
                .with(COMPATIBILITY, level.as_str());
            Ok::<_, Error>(Some((subject, fields)))
        });
        let found: Vec<_> = looked.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Looked::Live(found.into_iter().flatten().collect::<Live>()))
    }

    fn wanted(&self, item: &Item, live: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        let spec = spec!(item, Schema);
        let digest = digest(&content(item)?);
        let open = live.cloned().unwrap_or_default();
        let versions = open.get(VERSIONS).and_then(Value::as_array).cloned().unwrap_or_default();
        let is_there = versions.iter().any(|version| version.as_str() == Some(&digest));
        let wanted = open.with(COMPATIBILITY, spec.compatibility.as_str());
        if is_there {
            return Ok(wanted);
        }
        let versions: Vec<Value> = versions.into_iter().chain([Value::from(digest.as_str())]).collect();
        Ok(wanted.with(SCHEMA, digest).with(VERSIONS, versions))
    }

    async fn judge(&self, world: &World<'_>, item: &Item, _: &Fields, changes: &[FieldChange]) -> Result<Verdict> {
        if !changes.iter().any(|change| change.field == SCHEMA) {
            return Ok(Verdict::Update);
        }
        let reasons = world.ports.registry.check_compatibility(&item.name, &content(item)?).await?;
        if reasons.is_empty() {
            return Ok(Verdict::Update);
        }
        let said = reasons.join("; ");
        Ok(Verdict::Refuse(format!(
            "readers or writers of the versions before it would break: {said}. `mfctl schema check` says what would mend it"
        )))
    }

    async fn put(&self, world: &World<'_>, item: &Item, _: Option<&Fields>) -> Result<()> {
        let (registry, level) = (&world.ports.registry, spec!(item, Schema).compatibility);
        registry.register(&item.name, &content(item)?).await?;
        if registry.compatibility(&item.name).await? == level {
            return Ok(());
        }
        registry.set_compatibility(&item.name, level).await
    }

    async fn keeps(&self, _: &World<'_>, _: &str) -> Result<Option<String>> {
        Ok(Some("records that were written with it could not be read any more".to_owned()))
    }

    async fn delete(&self, _: &World<'_>, id: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, format!("remove subject {id}")))
    }

    async fn declare(&self, world: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        let Some(latest) = world.ports.registry.latest(id).await? else { return Ok(None) };
        let file = format!("schemas/{}.json", id.replace(['/', '\\'], "_"));
        let spec = json!({"file": file, "compatibility": live.get(COMPATIBILITY)});
        Ok(Some(Declared { name: id.to_owned(), spec, file: Some((file, latest.schema)) }))
    }
}

fn content(item: &Item) -> Result<Value> {
    if let Some(schema) = &item.schema {
        return Ok(schema.clone());
    }
    let text = text_of(&item.name).and_then(|text| serde_json::from_str(text).ok());
    text.ok_or_else(|| Error::new(ErrorKind::Invalid, format!("subject {} has no schema of mfctl's own", item.name)))
}

/// This mfctl's own schema of a subject.
fn text_of(subject: &str) -> Option<&'static str> {
    let topic = TopicName::new(subject.strip_suffix("-value")?).ok()?;
    ours::text_of(&topic)
}

/// The same for the same JSON, however it is written: `serde_json` keeps keys in order.
fn digest(schema: &Value) -> String {
    format!("sha256:{}", hex::encode(&Sha256::digest(schema.to_string().as_bytes())[..16]))
}
