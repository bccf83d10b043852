//! Configuration of services. A service's keys are mfctl's one by one: those that others put beside them are left alone.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, setting_text, spec};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{Item, Kind, Spec};
use crate::kv;
use crate::kv::declared::Declarations;
use crate::kv::history::Entry;
use crate::kv::write::{self, Edit, Why};
use mfctl_core::domain::{ConfigKey, config_key, secret_like};
use mfctl_core::ports::{Error, ErrorKind, Result};

pub(super) struct ConsulKeys;

#[async_trait]
impl Resource for ConsulKeys {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        if !config_key::is_service_name(&item.name) {
            return Err(Wrong::name("a service is made of a-z 0-9 -, and does not begin with mfctl-"));
        }
        let Spec::ConsulKeys(spec) = &item.spec else { return Ok(()) };
        for (key, value) in &spec.keys {
            let at = |message: &str| Wrong::at(format!("/spec/keys/{key}"), message);
            if !config_key::is_key_name(key) {
                return Err(at("a key is made of a-z 0-9 _"));
            }
            if let Some(why) = secret_like::secret_reason(key, &setting_text(value)) {
                return Err(at(&format!("{why}: a secret belongs into Vault, see kind VaultSecret")));
            }
        }
        Ok(())
    }

    fn is_of_parts(&self) -> bool {
        true
    }

    async fn live(&self, world: &World<'_>, items: &[&Item], _: Also<'_>) -> Result<Looked> {
        let Some(store) = &world.ports.config else { return Err(super::needs(Kind::ConsulKeys, "consul")) };
        let mut live = Live::new();
        for (key, entry) in kv::read(store.as_ref(), world.env, None).await?.entries {
            let fields = live.entry(key.service().to_owned()).or_default();
            fields.0.insert(key.name().to_owned(), Value::from(String::from_utf8_lossy(&entry.value)));
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

    /// A key whose glass is broken is wanted as it is.
    fn wanted(&self, item: &Item, live: Option<&Fields>, world: &World<'_>) -> Result<Fields> {
        let mut wanted = live.filter(|_| !world.prune).cloned().unwrap_or_default();
        for (name, value) in &spec!(item, ConsulKeys).keys {
            let is_held = ConfigKey::new(&item.name, name).is_ok_and(|key| world.glass.holds(&key, world.now));
            match live.and_then(|live| live.get(name)) {
                Some(is) if is_held => wanted = wanted.with(name, is.clone()),
                None if is_held => {}
                _ => wanted = wanted.with(name, setting_text(value)),
            }
        }
        Ok(wanted)
    }

    async fn judge(&self, _: &World<'_>, _: &Item, _: &Fields, _: &[FieldChange]) -> Result<Verdict> {
        Ok(Verdict::Update)
    }

    async fn put(&self, world: &World<'_>, item: &Item, live: Option<&Fields>) -> Result<()> {
        let changes = live.cloned().unwrap_or_default().changes_to(&self.wanted(item, live, world)?);
        let place = item.origin.as_ref().map_or_else(|| "mfctl's defaults".to_owned(), ToString::to_string);
        change(world, &item.name, &changes, format!("declared at {place}")).await
    }

    async fn keeps(&self, _: &World<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// The keys that mfctl made; others' stay.
    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        let gone = owned(world, id).into_iter().map(|field| FieldChange { field, from: None, to: None });
        change(world, id, &gone.collect::<Vec<_>>(), "declared no more".to_owned()).await
    }

    async fn declare(&self, _: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        Ok(Some(Declared::plain(id, json!({"keys": live}))))
    }
}

/// A service's keys that mfctl made.
fn owned(world: &World<'_>, service: &str) -> BTreeSet<String> {
    world.owned.get(Kind::ConsulKeys, service).map(|mark| mark.fields.clone()).unwrap_or_default()
}

/// Writes keys, each only if it is still what was looked at, and each with its record in the history.
async fn change(world: &World<'_>, service: &str, changes: &[FieldChange], reason: String) -> Result<()> {
    let Some(store) = &world.ports.config else { return Err(super::needs(Kind::ConsulKeys, "consul")) };
    let settings = kv::read(store.as_ref(), world.env, Some(service)).await?;
    let edits = changes.iter().map(|change| edit(service, change, &settings)).collect::<Result<Vec<_>>>()?;
    let why = Why {
        actor: world.actor.to_owned(),
        reason,
        verb: "bootstrap apply".to_owned(),
        batch: Entry::new_id(),
        at: world.now,
        secret_like: None,
        broken_until: None,
    };
    let nobody = Declarations::default();
    for edits in write::split(&edits, &why, &nobody, 0) {
        store.apply(&write::transaction(&edits, &why, &nobody, world.env)?.0).await?;
    }
    Ok(())
}

fn edit(service: &str, change: &FieldChange, settings: &kv::Settings) -> Result<Edit> {
    let FieldChange { field, from, to } = change;
    let key = ConfigKey::new(service, field)
        .map_err(|error| Error::new(ErrorKind::Invalid, "a key that cannot be written").because(error))?;
    let is = settings.entries.get(&key).cloned();
    let value = is.as_ref().map(|entry| String::from_utf8_lossy(&entry.value));
    let moved = from.as_ref().is_some_and(|from| value.as_deref().is_none_or(|value| from.as_str() != Some(value)));
    if moved || from.is_none() && to.is_some() && is.is_some() {
        let what = format!("{key} is not what it was when this was planned");
        return Err(Error::new(ErrorKind::Conflict, what).hint("plan again, and look at what changed"));
    }
    Ok(Edit { key, is, to: to.as_ref().map(|to| setting_text(to).into_bytes()) })
}
