//! Consul ACL policies.

use async_trait::async_trait;
use serde_json::json;

use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields};
use crate::bootstrap::manifest::{ConsulPolicySpec, ResourceDeclaration, ResourceKind};
use mfctl_core::ports::{ConsulAcl, ConsulPolicy, Result};

pub(super) struct ConsulPolicyResource;

#[async_trait]
impl Resource for ConsulPolicyResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        let fits = declaration.name.len() <= 128
            && declaration.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/'));
        match fits && declaration.name != "global-management" && declaration.name != "builtin/global-read-only" {
            true => Ok(()),
            false => Err(InvalidField::name(
                "a policy's name has at most 128 of the characters a-z A-Z 0-9 - _ /, and is not one of Consul's own",
            )),
        }
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        _: &[&ResourceDeclaration],
        _: ReadScope<'_>,
    ) -> Result<LiveState> {
        let Some(acl) = consul_acl(context, ResourceKind::ConsulPolicy)? else { return Ok(LiveState::NotApplicable) };
        let policies = acl.policies().await?;
        let fields = |policy: ConsulPolicy| (policy.name.clone(), fields(&policy.description, &policy.rules));
        Ok(LiveState::Found(policies.into_iter().map(fields).collect::<LiveResources>()))
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        let ConsulPolicySpec { description, rules } = spec!(declaration, ConsulPolicy);
        Ok(fields(description, rules))
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
        let Some(acl) = consul_acl(context, ResourceKind::ConsulPolicy)? else { return Ok(()) };
        let ConsulPolicySpec { description, rules } = spec!(declaration, ConsulPolicy).clone();
        acl.put_policy(&ConsulPolicy { name: declaration.name.clone(), description, rules }).await
    }

    async fn deletion_blocker(&self, context: &ResourceContext<'_>, id: &str) -> Result<Option<String>> {
        let Some(acl) = consul_acl(context, ResourceKind::ConsulPolicy)? else { return Ok(None) };
        let tokens = acl.tokens().await?;
        let users = tokens.iter().filter(|token| token.policies.contains(id)).count();
        Ok((users > 0).then(|| format!("{users} tokens are linked to it and would lose its permissions")))
    }

    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()> {
        let Some(acl) = consul_acl(context, ResourceKind::ConsulPolicy)? else { return Ok(()) };
        acl.delete_policy(id).await
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

/// Consul's ACL; `None` in a data folder.
pub(super) fn consul_acl<'a>(
    context: &'a ResourceContext<'_>,
    kind: ResourceKind,
) -> Result<Option<&'a dyn ConsulAcl>> {
    match &context.ports.consul_acl {
        Some(acl) => Ok(Some(acl.as_ref())),
        None if context.embedded => Ok(None),
        None => Err(super::missing_server(kind, "consul")),
    }
}

/// White space around the rules is insignificant, and a YAML block ends with a newline.
fn fields(description: &str, rules: &str) -> ResourceFields {
    let description = (!description.is_empty()).then_some(description);
    ResourceFields::default().with_some("description", description).with("rules", rules.trim())
}
