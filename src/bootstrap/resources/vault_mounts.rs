//! What is mounted in Vault: engines of secrets and ways to log in.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec, vault};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{Item, Kind, Spec, VaultMountSpec};
use mfctl_core::ports::{Error, ErrorKind, MountClass, Result, VaultMount};

/// Put before the path of a way to log in, as Vault does.
const AUTH: &str = "auth/";

pub(super) struct VaultMounts;

#[async_trait]
impl Resource for VaultMounts {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        vault::check_path(&item.name)?;
        let Spec::VaultMount(spec) = &item.spec else { return Ok(()) };
        if spec.kv_version.is_some() != (spec.kind == "kv") {
            return Err(Wrong::at("/spec/kv_version", "stands with type kv, and with it alone"));
        }
        vault::seconds(spec.max_lease.as_ref()).map(drop).map_err(|said| Wrong::at("/spec/max_lease", said))
    }

    async fn live(&self, world: &World<'_>, _: &[&Item], _: Also<'_>) -> Result<Looked> {
        let Some(admin) = vault::admin(world, Kind::VaultMount)? else { return Ok(Looked::Nothing) };
        let live = admin.mounts().await?.into_iter().map(|mount| (id_of(mount.class, &mount.path), fields(&mount)));
        Ok(Looked::Live(live.collect::<Live>()))
    }

    fn wanted(&self, item: &Item, _: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        Ok(fields(&mount(item, spec!(item, VaultMount))?))
    }

    async fn judge(&self, world: &World<'_>, item: &Item, _: &Fields, changes: &[FieldChange]) -> Result<Verdict> {
        if !changes.iter().any(|change| matches!(change.field.as_str(), "type" | "kv_version")) {
            return Ok(Verdict::Update);
        }
        let reason = "its type cannot be changed in place, and what it holds would be gone";
        Ok(match self.keeps(world, &item.name).await? {
            None => Verdict::Replace,
            Some(holds) => Verdict::Refuse(format!("{reason}: {holds}")),
        })
    }

    async fn put(&self, world: &World<'_>, item: &Item, _: Option<&Fields>) -> Result<()> {
        let Some(admin) = vault::admin(world, Kind::VaultMount)? else { return Ok(()) };
        admin.put_mount(&mount(item, spec!(item, VaultMount))?).await
    }

    /// What a `kv` engine or AppRole holds can be looked at; of other engines nobody knows.
    async fn keeps(&self, world: &World<'_>, id: &str) -> Result<Option<String>> {
        let Some(admin) = vault::admin(world, Kind::VaultMount)? else { return Ok(None) };
        let mounts = admin.mounts().await?;
        let Some(mount) = mounts.into_iter().find(|mount| id_of(mount.class, &mount.path) == id) else {
            return Ok(None);
        };
        let held = match (mount.class, mount.kind.as_str(), mount.kv_version) {
            (MountClass::Secrets, "kv", Some(2)) => {
                vault::store(world, Kind::VaultMount)?.paths(&mount.path).await?.len()
            }
            (MountClass::Auth, "approle", _) => admin.roles(&mount.path).await?.len(),
            (_, kind, _) => {
                return Ok(Some(format!("what an engine of type {kind} holds cannot be told: unmount it by hand")));
            }
        };
        Ok((held > 0).then(|| format!("it holds {held}, which would be gone with it")))
    }

    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        let Some(admin) = vault::admin(world, Kind::VaultMount)? else { return Ok(()) };
        let (class, path) = place(id);
        admin.delete_mount(class, path).await
    }

    async fn declare(&self, _: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        let mut spec = json!(live);
        if let (Some(fields), Some(seconds)) = (spec.as_object_mut(), live.get("max_lease").and_then(Value::as_u64)) {
            fields.insert("max_lease".to_owned(), json!(format!("{seconds}s")));
        }
        Ok(Some(Declared::plain(id, spec)))
    }
}

fn id_of(class: MountClass, path: &str) -> String {
    match class {
        MountClass::Secrets => path.to_owned(),
        MountClass::Auth => format!("{AUTH}{path}"),
    }
}

fn place(id: &str) -> (MountClass, &str) {
    match id.strip_prefix(AUTH) {
        Some(path) => (MountClass::Auth, path),
        None => (MountClass::Secrets, id),
    }
}

fn mount(item: &Item, spec: &VaultMountSpec) -> Result<VaultMount> {
    let max_lease = vault::seconds(spec.max_lease.as_ref()).map_err(|said| Error::new(ErrorKind::Invalid, said))?;
    let (class, path) = place(&item.name);
    Ok(VaultMount {
        class,
        path: path.to_owned(),
        kind: spec.kind.clone(),
        description: spec.description.clone(),
        kv_version: spec.kv_version,
        max_lease,
    })
}

fn fields(mount: &VaultMount) -> Fields {
    let described = (!mount.description.is_empty()).then_some(mount.description.as_str());
    let limited = Some(mount.max_lease.as_secs()).filter(|seconds| *seconds > 0);
    Fields::default()
        .with("type", mount.kind.as_str())
        .with_some("kv_version", mount.kv_version)
        .with_some("description", described)
        .with_some("max_lease", limited)
}
