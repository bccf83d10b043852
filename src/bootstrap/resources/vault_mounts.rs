//! Vault mounts: secrets engines and auth methods.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec, vault,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::{ResourceDeclaration, ResourceKind, ResourceSpec, VaultMountSpec};
use mfctl_core::ports::{Error, ErrorKind, MountClass, Result, VaultMount};

/// Prefix of an auth method's path, as in Vault's API.
const AUTH_PREFIX: &str = "auth/";

pub(super) struct VaultMountResource;

#[async_trait]
impl Resource for VaultMountResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        vault::check_path(&declaration.name)?;
        let ResourceSpec::VaultMount(spec) = &declaration.spec else { return Ok(()) };
        if spec.kv_version.is_some() != (spec.kind == "kv") {
            return Err(InvalidField::in_spec(
                ["kv_version"],
                "is required for type kv, and not allowed for any other",
            ));
        }
        vault::parse_duration(spec.max_lease.as_ref())
            .map(drop)
            .map_err(|message| InvalidField::in_spec(["max_lease"], message))
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        _: &[&ResourceDeclaration],
        _: ReadScope<'_>,
    ) -> Result<LiveState> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultMount)? else { return Ok(LiveState::NotApplicable) };
        let live = admin.mounts().await?.into_iter().map(|mount| (mount_id(mount.class, &mount.path), fields(&mount)));
        Ok(LiveState::Found(live.collect::<LiveResources>()))
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        Ok(fields(&vault_mount(declaration, spec!(declaration, VaultMount))?))
    }

    async fn plan_change(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        _: &ResourceFields,
        changes: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        if !changes.iter().any(|change| matches!(change.field.as_str(), "type" | "kv_version")) {
            return Ok(ChangeStrategy::Update);
        }
        let reason = "its type cannot be changed in place, and replacing it would delete its contents";
        Ok(match self.deletion_blocker(context, &declaration.name).await? {
            None => ChangeStrategy::Replace,
            Some(blocker) => ChangeStrategy::Refuse(format!("{reason}: {blocker}")),
        })
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
    ) -> Result<()> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultMount)? else { return Ok(()) };
        admin.put_mount(&vault_mount(declaration, spec!(declaration, VaultMount))?).await
    }

    /// The contents of a KV version 2 engine and of AppRole can be counted; those of other mounts are unknown.
    async fn deletion_blocker(&self, context: &ResourceContext<'_>, id: &str) -> Result<Option<String>> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultMount)? else { return Ok(None) };
        let mounts = admin.mounts().await?;
        let Some(mount) = mounts.into_iter().find(|mount| mount_id(mount.class, &mount.path) == id) else {
            return Ok(None);
        };
        let count = match (mount.class, mount.kind.as_str(), mount.kv_version) {
            (MountClass::Secrets, "kv", Some(2)) => {
                vault::store(context, ResourceKind::VaultMount)?.paths(&mount.path).await?.len()
            }
            (MountClass::Auth, "approle", _) => admin.roles(&mount.path).await?.len(),
            (_, kind, _) => {
                return Ok(Some(format!(
                    "the contents of a mount of type {kind} cannot be counted: unmount it by hand"
                )));
            }
        };
        Ok((count > 0).then(|| format!("it holds {count} entries, which would be deleted with it")))
    }

    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultMount)? else { return Ok(()) };
        let (class, path) = parse_id(id);
        admin.delete_mount(class, path).await
    }

    async fn generate_manifest(
        &self,
        _: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        let mut spec = json!(live);
        if let (Some(fields), Some(seconds)) = (spec.as_object_mut(), live.get("max_lease").and_then(Value::as_u64)) {
            fields.insert("max_lease".to_owned(), json!(format!("{seconds}s")));
        }
        Ok(Some(GeneratedManifest::new(id, spec)))
    }
}

fn mount_id(class: MountClass, path: &str) -> String {
    match class {
        MountClass::Secrets => path.to_owned(),
        MountClass::Auth => format!("{AUTH_PREFIX}{path}"),
    }
}

fn parse_id(id: &str) -> (MountClass, &str) {
    match id.strip_prefix(AUTH_PREFIX) {
        Some(path) => (MountClass::Auth, path),
        None => (MountClass::Secrets, id),
    }
}

fn vault_mount(declaration: &ResourceDeclaration, spec: &VaultMountSpec) -> Result<VaultMount> {
    let max_lease =
        vault::parse_duration(spec.max_lease.as_ref()).map_err(|message| Error::new(ErrorKind::Invalid, message))?;
    let (class, path) = parse_id(&declaration.name);
    Ok(VaultMount {
        class,
        path: path.to_owned(),
        kind: spec.kind.clone(),
        description: spec.description.clone(),
        kv_version: spec.kv_version,
        max_lease,
    })
}

fn fields(mount: &VaultMount) -> ResourceFields {
    let description = (!mount.description.is_empty()).then_some(mount.description.as_str());
    let max_lease = Some(mount.max_lease.as_secs()).filter(|seconds| *seconds > 0);
    ResourceFields::default()
        .with("type", mount.kind.as_str())
        .with_some("kv_version", mount.kv_version)
        .with_some("description", description)
        .with_some("max_lease", max_lease)
}
