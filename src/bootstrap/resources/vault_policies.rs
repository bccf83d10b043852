//! Vault policies.

use async_trait::async_trait;
use serde_json::json;

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec, vault,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::{ResourceDeclaration, ResourceKind};
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::Result;

pub(super) struct VaultPolicyResource;

#[async_trait]
impl Resource for VaultPolicyResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        // Vault stores names in lower case, so that any other name would never be found again.
        if declaration.name != declaration.name.to_ascii_lowercase()
            || matches!(declaration.name.as_str(), "root" | "default")
        {
            return Err(InvalidField::name(
                "a policy's name is in lower case, and not root or default, which Vault reserves",
            ));
        }
        vault::check_path(&declaration.name)
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        _: &[&ResourceDeclaration],
        _: ReadScope<'_>,
    ) -> Result<LiveState> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultPolicy)? else {
            return Ok(LiveState::NotApplicable);
        };
        let policies = admin.policies().await?;
        Ok(LiveState::Found(
            policies.iter().map(|(name, rules)| (name.clone(), fields(rules))).collect::<LiveResources>(),
        ))
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        Ok(fields(&spec!(declaration, VaultPolicy).rules))
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
        let Some(admin) = vault::admin(context, ResourceKind::VaultPolicy)? else { return Ok(()) };
        admin.put_policy(&declaration.name, &spec!(declaration, VaultPolicy).rules).await
    }

    async fn deletion_blocker(&self, _: &ResourceContext<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultPolicy)? else { return Ok(()) };
        admin.delete_policy(id).await
    }

    async fn changed_at(&self, context: &ResourceContext<'_>, id: &str) -> Result<Option<Timestamp>> {
        let Some(admin) = vault::admin(context, ResourceKind::VaultPolicy)? else { return Ok(None) };
        admin.policy_changed_at(id).await
    }

    async fn generate_manifest(
        &self,
        _: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        Ok(Some(GeneratedManifest::new(id, json!(live))))
    }
}

/// White space around the rules is insignificant, and a YAML block ends with a newline.
fn fields(rules: &str) -> ResourceFields {
    ResourceFields::default().with("rules", rules.trim())
}
