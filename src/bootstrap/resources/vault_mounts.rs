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
        type_and_version(spec).map_err(|message| InvalidField::in_spec(["kv_version"], message))?;
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
    let (kind, kv_version) = type_and_version(spec).map_err(|message| Error::new(ErrorKind::Invalid, message))?;
    let (class, path) = parse_id(&declaration.name);
    Ok(VaultMount {
        class,
        path: path.to_owned(),
        kind: kind.to_owned(),
        description: spec.description.clone(),
        kv_version,
        max_lease,
    })
}

/// The type and the KV version of a mount as Vault reports them: `kv-v1` and `kv-v2` are type `kv` with a version.
///
/// # Errors
/// The reason, for a version that is missing, unknown or not that of the type.
fn type_and_version(spec: &VaultMountSpec) -> Result<(&str, Option<u8>), String> {
    let of_type = match spec.kind.as_str() {
        "kv-v1" => 1,
        "kv-v2" => 2,
        "kv" => match spec.kv_version {
            Some(version @ (1 | 2)) => return Ok(("kv", Some(version))),
            _ => return Err("must be 1 or 2 for type kv".to_owned()),
        },
        _ if spec.kv_version.is_some() => return Err("is not allowed for a type other than kv".to_owned()),
        kind => return Ok((kind, None)),
    };
    match spec.kv_version {
        Some(version) if version != of_type => Err(format!("is {version}, and type {} has {of_type}", spec.kind)),
        _ => Ok(("kv", Some(of_type))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: &str, kv_version: Option<u8>) -> VaultMountSpec {
        VaultMountSpec { kind: kind.to_owned(), kv_version, description: String::new(), max_lease: None }
    }

    #[test]
    fn other_names_of_key_value_engines_have_the_type_that_vault_reports() {
        for (kind, version, expected) in [
            ("kv", Some(1), ("kv", Some(1))),
            ("kv", Some(2), ("kv", Some(2))),
            ("kv-v1", None, ("kv", Some(1))),
            ("kv-v2", None, ("kv", Some(2))),
            ("kv-v2", Some(2), ("kv", Some(2))),
            ("approle", None, ("approle", None)),
        ] {
            assert_eq!(type_and_version(&spec(kind, version)), Ok(expected), "{kind} {version:?}");
        }
        for (kind, version, expected) in [
            ("kv", None, "must be 1 or 2 for type kv"),
            ("kv", Some(3), "must be 1 or 2 for type kv"),
            ("kv-v2", Some(1), "is 1, and type kv-v2 has 2"),
            ("kv-v1", Some(2), "is 2, and type kv-v1 has 1"),
            ("pki", Some(1), "is not allowed for a type other than kv"),
        ] {
            assert_eq!(type_and_version(&spec(kind, version)), Err(expected.to_owned()), "{kind} {version:?}");
        }
    }
}
