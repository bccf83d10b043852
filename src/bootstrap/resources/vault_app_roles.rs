//! Vault AppRoles, with which programs log in.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec, vault,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::{ResourceDeclaration, ResourceKind, ResourceSpec, VaultAppRoleSpec};
use crate::bootstrap::normal_form;
use mfctl_core::ports::{AppRole, Error, ErrorKind, MountClass, Result};

/// Names of the durations, in the spec and as fields.
const DURATIONS: [&str; 3] = ["token_ttl", "token_max_ttl", "secret_id_ttl"];

pub(super) struct VaultAppRoleResource;

#[async_trait]
impl Resource for VaultAppRoleResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        let role = declaration.name.rsplit_once('/').map(|(_, role)| role);
        if role.is_none_or(|role| role != role.to_ascii_lowercase()) {
            return Err(InvalidField::name("a role's name is <mount>/<role>, the role in lower case"));
        }
        vault::check_path(&declaration.name)?;
        let ResourceSpec::VaultAppRole(spec) = &declaration.spec else { return Ok(()) };
        for (field, text) in DURATIONS.into_iter().zip([&spec.token_ttl, &spec.token_max_ttl, &spec.secret_id_ttl]) {
            vault::parse_duration(text.as_ref()).map_err(|message| InvalidField::in_spec([field], message))?;
        }
        Ok(())
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        declarations: &[&ResourceDeclaration],
        read_scope: ReadScope<'_>,
    ) -> Result<LiveState> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultAppRole)? else {
            return Ok(LiveState::NotApplicable);
        };
        let names = declarations.iter().map(|declaration| &declaration.name).chain(read_scope.additional_ids());
        let declared = names.filter_map(|name| Some(name.rsplit_once('/')?.0.to_owned()));
        let mut mounts: BTreeSet<String> = declared.collect();
        let mounted = admin.mounts().await?;
        let app_roles = mounted.iter().filter(|mount| mount.class == MountClass::Auth && mount.kind == "approle");
        mounts.extend(app_roles.filter(|_| matches!(read_scope, ReadScope::All)).map(|mount| mount.path.clone()));
        let mut live = LiveResources::new();
        for mount in mounts {
            let roles = admin.roles(&mount).await?;
            live.extend(roles.into_iter().map(|role| (format!("{mount}/{}", role.name), fields(&role))));
        }
        Ok(LiveState::Found(live))
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        Ok(fields(&app_role(declaration, spec!(declaration, VaultAppRole))?))
    }

    async fn plan_change(
        &self,
        _: &ResourceContext<'_>,
        _: &ResourceDeclaration,
        _: &ResourceFields,
        _: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        Ok(ChangeStrategy::Update)
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
    ) -> Result<()> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultAppRole)? else { return Ok(()) };
        admin.put_role(&app_role(declaration, spec!(declaration, VaultAppRole))?).await
    }

    async fn deletion_blocker(&self, _: &ResourceContext<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultAppRole)? else { return Ok(()) };
        match id.rsplit_once('/') {
            Some((mount, name)) => admin.delete_role(mount, name).await,
            None => Ok(()),
        }
    }

    async fn generate_manifest(
        &self,
        _: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        let mut spec = json!(live);
        for field in DURATIONS {
            if let Some(seconds) = live.get(field).and_then(Value::as_u64) {
                spec[field] = json!(format!("{seconds}s"));
            }
        }
        Ok(Some(GeneratedManifest::new(id, spec)))
    }
}

fn app_role(declaration: &ResourceDeclaration, spec: &VaultAppRoleSpec) -> Result<AppRole> {
    let duration = |text: &Option<String>| {
        vault::parse_duration(text.as_ref()).map_err(|message| Error::new(ErrorKind::Invalid, message))
    };
    let (mount, name) = declaration.name.rsplit_once('/').ok_or_else(|| super::wrong_kind(declaration))?;
    Ok(AppRole {
        mount: mount.to_owned(),
        name: name.to_owned(),
        policies: normal_form::vault_policies(&spec.policies),
        token_ttl: duration(&spec.token_ttl)?,
        token_max_ttl: duration(&spec.token_max_ttl)?,
        secret_id_ttl: duration(&spec.secret_id_ttl)?,
        secret_id_uses: spec.secret_id_uses.unwrap_or(0),
    })
}

fn fields(role: &AppRole) -> ResourceFields {
    let seconds = |duration: Duration| Some(duration.as_secs()).filter(|seconds| *seconds > 0);
    ResourceFields::default()
        .with("policies", json!(role.policies))
        .with_some("token_ttl", seconds(role.token_ttl))
        .with_some("token_max_ttl", seconds(role.token_max_ttl))
        .with_some("secret_id_ttl", seconds(role.secret_id_ttl))
        .with_some("secret_id_uses", Some(role.secret_id_uses).filter(|uses| *uses > 0))
}
