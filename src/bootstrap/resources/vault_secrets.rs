//! Secrets that must exist. Their values are made here at random, or given by somebody; they are never shown, and never in a
//! plan.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec, vault};
use crate::bootstrap::fields::{FieldChange, Fields, SENSITIVE};
use crate::bootstrap::manifest::{FieldSource, Item, Kind, Spec, VaultSecretSpec};
use mfctl_core::domain::{Secret, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, MountClass, Result, SecretShape, VaultMount};

/// Secrets looked at at once.
const AT_ONCE: usize = 16;

pub(super) struct VaultSecrets;

#[async_trait]
impl Resource for VaultSecrets {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        vault::check_path(&item.name)?;
        let Spec::VaultSecret(spec) = &item.spec else { return Ok(()) };
        if place(item).is_none() {
            return Err(Wrong::name("a secret is named <mount>/<path>"));
        }
        if spec.fields.is_empty() {
            return Err(Wrong::at("/spec/fields", "names no field"));
        }
        let outside = spec
            .fields
            .iter()
            .find(|(_, source)| matches!(source, FieldSource::Random(random) if !(16..=256).contains(&random.bytes)));
        match outside {
            Some((field, _)) => Err(Wrong::at(format!("/spec/fields/{field}"), "is made of 16 to 256 bytes")),
            None => Ok(()),
        }
    }

    async fn live(&self, world: &World<'_>, items: &[&Item], also: Also<'_>) -> Result<Looked> {
        if world.embedded && world.ports.secrets.is_none() {
            return Ok(Looked::Nothing);
        }
        let store = vault::store(world, Kind::VaultSecret)?;
        let mut places: Vec<_> = items.iter().filter_map(|item| place(item)).collect();
        if matches!(also, Also::Everything) {
            places = everywhere(world).await?;
        }
        for id in also.ids() {
            let mount = engine(world, id).await?;
            places.extend(mount.and_then(|mount| {
                let path = id.strip_prefix(&mount)?.strip_prefix('/')?.to_owned();
                Some((mount, path))
            }));
        }
        let looked = stream::iter(places).map(|(mount, path)| async move {
            let shape = store.shape(&mount, &path).await?;
            Ok::<_, Error>(shape.map(|shape| (format!("{mount}/{path}"), fields(&shape))))
        });
        let found: Vec<_> = looked.buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(Looked::Live(found.into_iter().flatten().collect::<Live>()))
    }

    /// Fields that others put there stay.
    fn wanted(&self, item: &Item, live: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        let open = live.cloned().unwrap_or_default();
        let names = spec!(item, VaultSecret).fields.keys();
        Ok(names.fold(open, |wanted, name| wanted.with(format!("fields.{name}"), SENSITIVE)))
    }

    async fn judge(&self, _: &World<'_>, item: &Item, live: &Fields, _: &[FieldChange]) -> Result<Verdict> {
        Ok(missing(item, spec!(item, VaultSecret), live).map_or(Verdict::Update, Verdict::Refuse))
    }

    async fn hindrance(&self, _: &World<'_>, item: &Item) -> Result<Option<String>> {
        Ok(missing(item, spec!(item, VaultSecret), &Fields::default()))
    }

    async fn put(&self, world: &World<'_>, item: &Item, live: Option<&Fields>) -> Result<()> {
        let (store, spec) = (vault::store(world, Kind::VaultSecret)?, spec!(item, VaultSecret));
        let (mount, path) = place(item).ok_or_else(|| super::defect(item))?;
        // A version is written whole: what is there is taken over.
        let found = store.read_all(&mount, &path).await?;
        if live.is_some() && found.is_none() {
            return Err(super::moved(format!("secret {mount}/{path}"), ""));
        }
        let (version, mut values) = found.unwrap_or_default();
        for (field, source) in &spec.fields {
            if let (FieldSource::Random(random), false) = (source, values.contains_key(field)) {
                values.insert(field.clone(), made(random.bytes)?);
            }
        }
        store.write(&mount, &path, &values, version).await
    }

    async fn keeps(&self, _: &World<'_>, _: &str) -> Result<Option<String>> {
        Ok(Some("somebody may still need it, and nobody could make it again".to_owned()))
    }

    async fn delete(&self, _: &World<'_>, id: &str) -> Result<()> {
        Err(Error::new(ErrorKind::Denied, format!("remove secret {id}")))
    }

    async fn since(&self, world: &World<'_>, id: &str) -> Result<Option<Timestamp>> {
        let Some(mount) = engine(world, id).await? else { return Ok(None) };
        let path = id.strip_prefix(&mount).unwrap_or(id).trim_start_matches('/');
        vault::store(world, Kind::VaultSecret)?.changed_at(&mount, path).await
    }

    async fn declare(&self, world: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        let Some(mount) = engine(world, id).await? else { return Ok(None) };
        let names = live.0.keys().filter_map(|field| field.strip_prefix("fields."));
        let fields: BTreeMap<&str, FieldSource> = names.map(|name| (name, FieldSource::Given)).collect();
        let mut spec = json!({"fields": fields});
        if mount.contains('/') {
            spec["mount"] = json!(mount);
        }
        Ok(Some(Declared::plain(id, spec)))
    }
}

/// The engine and the path of a secret.
fn place(item: &Item) -> Option<(String, String)> {
    let Spec::VaultSecret(spec) = &item.spec else { return None };
    let (mount, path) = match &spec.mount {
        Some(mount) => (mount.as_str(), item.name.strip_prefix(mount)?.strip_prefix('/')?),
        None => item.name.split_once('/')?,
    };
    Some((mount.to_owned(), path.to_owned()))
}

/// Every secret of every versioned key-value engine.
async fn everywhere(world: &World<'_>) -> Result<Vec<(String, String)>> {
    let Some(admin) = vault::admin(world, Kind::VaultSecret)? else { return Ok(Vec::new()) };
    let store = vault::store(world, Kind::VaultSecret)?;
    let mut places = Vec::new();
    for mount in admin.mounts().await? {
        if mount.class == MountClass::Secrets && mount.kv_version == Some(2) {
            let paths = store.paths(&mount.path).await?;
            places.extend(paths.into_iter().map(|path| (mount.path.clone(), path)));
        }
    }
    Ok(places)
}

/// The engine that an id is in: an engine's path may have slashes too.
async fn engine(world: &World<'_>, id: &str) -> Result<Option<String>> {
    let Some(admin) = vault::admin(world, Kind::VaultSecret)? else { return Ok(None) };
    let holds = |mount: &VaultMount| {
        mount.class == MountClass::Secrets && id.strip_prefix(&mount.path).is_some_and(|rest| rest.starts_with('/'))
    };
    Ok(admin.mounts().await?.into_iter().find(holds).map(|mount| mount.path))
}

fn fields(shape: &SecretShape) -> Fields {
    shape.fields.iter().fold(Fields::default(), |fields, name| fields.with(format!("fields.{name}"), SENSITIVE))
}

/// What somebody has to put there first.
fn missing(item: &Item, spec: &VaultSecretSpec, live: &Fields) -> Option<String> {
    let given = spec.fields.iter().filter(|(_, source)| **source == FieldSource::Given);
    let missing: Vec<&str> = given
        .map(|(name, _)| name.as_str())
        .filter(|name| live.get(&format!("fields.{name}")).map(Value::is_string) != Some(true))
        .collect();
    (!missing.is_empty()).then(|| {
        let (name, first) = (&item.name, missing[0]);
        format!(
            "{} must be put there by somebody who has it, such as with `vault kv patch {name} {first}=-`",
            missing.join(", ")
        )
    })
}

/// A secret nobody knows, from the system's randomness.
fn made(bytes: u16) -> Result<Secret> {
    let mut random = vec![0; usize::from(bytes)];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("the system gives no random bytes: {error}")))?;
    Ok(Secret::new(hex::encode(random)))
}
