//! Configuration of services. A service's keys are mfctl's one by one: those that others put beside them are left alone.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Declared, Live, Looked, Resource, Verdict, World, Wrong, spec};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{Item, Kind, Spec};
use crate::domain::secret_like;
use crate::ports::{ConfigChange, ConfigStore, Error, ErrorKind, MOST_CHANGES, Result};

/// Services that are mfctl's own: its lock, its marks, its history.
const OWN: &str = "mfctl-";

pub(super) struct ConsulKeys;

#[async_trait]
impl Resource for ConsulKeys {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        let slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !item.name.chars().all(slug) || item.name.starts_with(OWN) {
            return Err(Wrong::name("a service is made of a-z 0-9 -, and does not begin with mfctl-"));
        }
        let Spec::ConsulKeys(spec) = &item.spec else { return Ok(()) };
        for (key, value) in &spec.keys {
            let at = |message: &str| Wrong::at(format!("/spec/keys/{key}"), message);
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
                return Err(at("a key is made of a-z 0-9 _"));
            }
            if let Some(why) = secret_like::reason(key, &text(value)) {
                return Err(at(&format!("{why}: a secret belongs into Vault, see kind VaultSecret")));
            }
        }
        Ok(())
    }

    fn is_of_parts(&self) -> bool {
        true
    }

    async fn live(&self, world: &World<'_>, items: &[&Item]) -> Result<Looked> {
        let Some(store) = &world.ports.config else { return Err(super::needs(Kind::ConsulKeys, "consul")) };
        let prefix = format!("{}/", world.env);
        let mut live = Live::new();
        for entry in store.list(&prefix).await?.entries {
            let Some((service, key)) = entry.key[prefix.len()..].split_once('/') else { continue };
            if service.starts_with(OWN) || key.contains('/') {
                continue;
            }
            let fields = live.entry(service.to_owned()).or_default();
            fields.0.insert(key.to_owned(), Value::from(String::from_utf8_lossy(&entry.value)));
        }
        // Where keys are declared, those that are neither declared nor mfctl's are nobody's business here.
        for item in items {
            if let (Some(fields), Spec::ConsulKeys(spec)) = (live.get_mut(&item.name), &item.spec) {
                let ours = owned(world, &item.name);
                fields.0.retain(|key, _| spec.keys.contains_key(key) || ours.contains(key));
                if fields.0.is_empty() {
                    live.remove(&item.name);
                }
            }
        }
        Ok(Looked::Live(live))
    }

    fn wanted(&self, item: &Item, live: Option<&Fields>, world: &World<'_>) -> Result<Fields> {
        let keys = &spec!(item, ConsulKeys).keys;
        let stays = live.filter(|_| !world.prune).cloned().unwrap_or_default();
        Ok(keys.iter().fold(stays, |wanted, (key, value)| wanted.with(key, text(value))))
    }

    async fn judge(&self, _: &World<'_>, _: &Item, _: &Fields, _: &[FieldChange]) -> Result<Verdict> {
        Ok(Verdict::Update)
    }

    async fn put(&self, world: &World<'_>, item: &Item, live: Option<&Fields>) -> Result<()> {
        let changes = live.cloned().unwrap_or_default().changes_to(&self.wanted(item, live, world)?);
        change(world, &item.name, &changes).await
    }

    async fn keeps(&self, _: &World<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// The keys that mfctl made; others' stay.
    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        let gone = owned(world, id).into_iter().map(|field| FieldChange { field, from: None, to: None });
        change(world, id, &gone.collect::<Vec<_>>()).await
    }

    async fn declare(&self, _: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        Ok(Some(Declared::plain(id, json!({"keys": live}))))
    }
}

/// A service's keys that mfctl made.
fn owned(world: &World<'_>, service: &str) -> BTreeSet<String> {
    world.owned.get(Kind::ConsulKeys, service).map(|mark| mark.fields.clone()).unwrap_or_default()
}

/// Text as it is, everything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Writes keys, each only if it is still what was looked at.
async fn change(world: &World<'_>, service: &str, changes: &[FieldChange]) -> Result<()> {
    let Some(store) = &world.ports.config else { return Err(super::needs(Kind::ConsulKeys, "consul")) };
    let versions = versions(store.as_ref(), &format!("{}/{service}/", world.env)).await?;
    let mut parts = Vec::with_capacity(changes.len());
    for FieldChange { field, from, to } in changes {
        let key = format!("{}/{service}/{field}", world.env);
        let there = versions.get(&key);
        let moved = from.as_ref().is_some_and(|from| there.is_none_or(|(_, value)| from.as_str() != Some(value)));
        if moved || from.is_none() && to.is_some() && there.is_some() {
            let what = format!("{key} is not what it was when this was planned");
            return Err(Error::new(ErrorKind::Conflict, what).hint("plan again, and look at what changed"));
        }
        let version = there.map_or(0, |(version, _)| *version);
        match to {
            Some(to) => parts.push(ConfigChange::Set { key, value: text(to).into_bytes(), if_version: Some(version) }),
            None if version == 0 => {}
            None => parts.push(ConfigChange::Delete { key, if_version: Some(version) }),
        }
    }
    for parts in parts.chunks(MOST_CHANGES) {
        store.apply(parts).await?;
    }
    Ok(())
}

async fn versions(store: &dyn ConfigStore, prefix: &str) -> Result<BTreeMap<String, (u64, String)>> {
    let entries = store.list(prefix).await?.entries.into_iter();
    Ok(entries.map(|entry| (entry.key, (entry.version, String::from_utf8_lossy(&entry.value).into_owned()))).collect())
}
