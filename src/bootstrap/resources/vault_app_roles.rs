//! Roles that programs log in to Vault as.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec, vault};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{Item, Kind, Spec, VaultAppRoleSpec};
use mfctl_core::ports::{AppRole, Error, ErrorKind, MountClass, Result};

/// Durations, as fields and in a spec.
const TIMES: [&str; 3] = ["token_ttl", "token_max_ttl", "secret_id_ttl"];

pub(super) struct VaultAppRoles;

#[async_trait]
impl Resource for VaultAppRoles {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        let role = item.name.rsplit_once('/').map(|(_, role)| role);
        if role.is_none_or(|role| role != role.to_ascii_lowercase()) {
            return Err(Wrong::name("a role is named <mount>/<role>, the role in lower case"));
        }
        vault::check_path(&item.name)?;
        let Spec::VaultAppRole(spec) = &item.spec else { return Ok(()) };
        for (field, text) in TIMES.into_iter().zip([&spec.token_ttl, &spec.token_max_ttl, &spec.secret_id_ttl]) {
            vault::seconds(text.as_ref()).map_err(|said| Wrong::at(format!("/spec/{field}"), said))?;
        }
        Ok(())
    }

    async fn live(&self, world: &World<'_>, items: &[&Item], also: Also<'_>) -> Result<Looked> {
        let Some(admin) = vault::admin(world, Kind::VaultAppRole)? else { return Ok(Looked::Nothing) };
        let names = items.iter().map(|item| &item.name).chain(also.ids());
        let declared = names.filter_map(|name| Some(name.rsplit_once('/')?.0.to_owned()));
        let mut mounts: BTreeSet<String> = declared.collect();
        let mounted = admin.mounts().await?;
        let app_roles = mounted.iter().filter(|mount| mount.class == MountClass::Auth && mount.kind == "approle");
        mounts.extend(app_roles.filter(|_| matches!(also, Also::Everything)).map(|mount| mount.path.clone()));
        let mut live = Live::new();
        for mount in mounts {
            let roles = admin.roles(&mount).await?;
            live.extend(roles.into_iter().map(|role| (format!("{mount}/{}", role.name), fields(&role))));
        }
        Ok(Looked::Live(live))
    }

    fn wanted(&self, item: &Item, _: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        Ok(fields(&role(item, spec!(item, VaultAppRole))?))
    }

    async fn judge(&self, _: &World<'_>, _: &Item, _: &Fields, _: &[FieldChange]) -> Result<Verdict> {
        Ok(Verdict::Update)
    }

    async fn put(&self, world: &World<'_>, item: &Item, _: Option<&Fields>) -> Result<()> {
        let Some(admin) = vault::admin(world, Kind::VaultAppRole)? else { return Ok(()) };
        admin.put_role(&role(item, spec!(item, VaultAppRole))?).await
    }

    async fn keeps(&self, _: &World<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        let Some(admin) = vault::admin(world, Kind::VaultAppRole)? else { return Ok(()) };
        match id.rsplit_once('/') {
            Some((mount, name)) => admin.delete_role(mount, name).await,
            None => Ok(()),
        }
    }

    async fn declare(&self, _: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        let mut spec = json!(live);
        for field in TIMES {
            if let Some(seconds) = live.get(field).and_then(Value::as_u64) {
                spec[field] = json!(format!("{seconds}s"));
            }
        }
        Ok(Some(Declared::plain(id, spec)))
    }
}

fn role(item: &Item, spec: &VaultAppRoleSpec) -> Result<AppRole> {
    let time =
        |text: &Option<String>| vault::seconds(text.as_ref()).map_err(|said| Error::new(ErrorKind::Invalid, said));
    let (mount, name) = item.name.rsplit_once('/').ok_or_else(|| super::defect(item))?;
    Ok(AppRole {
        mount: mount.to_owned(),
        name: name.to_owned(),
        policies: spec.policies.iter().cloned().collect(),
        token_ttl: time(&spec.token_ttl)?,
        token_max_ttl: time(&spec.token_max_ttl)?,
        secret_id_ttl: time(&spec.secret_id_ttl)?,
        secret_id_uses: spec.secret_id_uses.unwrap_or(0),
    })
}

fn fields(role: &AppRole) -> Fields {
    let time = |time: Duration| Some(time.as_secs()).filter(|seconds| *seconds > 0);
    Fields::default()
        .with("policies", json!(role.policies))
        .with_some("token_ttl", time(role.token_ttl))
        .with_some("token_max_ttl", time(role.token_max_ttl))
        .with_some("secret_id_ttl", time(role.secret_id_ttl))
        .with_some("secret_id_uses", Some(role.secret_id_uses).filter(|uses| *uses > 0))
}
