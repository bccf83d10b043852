//! Policies of Consul.

use async_trait::async_trait;
use serde_json::json;

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{ConsulPolicySpec, Item, Kind};
use mfctl_core::ports::{ConsulAcl, ConsulPolicy, Result};

pub(super) struct ConsulPolicies;

#[async_trait]
impl Resource for ConsulPolicies {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        let fits = item.name.len() <= 128
            && item.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/'));
        match fits && item.name != "global-management" && item.name != "builtin/global-read-only" {
            true => Ok(()),
            false => Err(Wrong::name("a policy's name is up to 128 of a-z A-Z 0-9 - _ /, and not one of Consul's own")),
        }
    }

    async fn live(&self, world: &World<'_>, _: &[&Item], _: Also<'_>) -> Result<Looked> {
        let Some(access) = access(world, Kind::ConsulPolicy)? else { return Ok(Looked::Nothing) };
        let policies = access.policies().await?;
        let fields = |policy: ConsulPolicy| (policy.name.clone(), fields(&policy.description, &policy.rules));
        Ok(Looked::Live(policies.into_iter().map(fields).collect::<Live>()))
    }

    fn wanted(&self, item: &Item, _: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        let ConsulPolicySpec { description, rules } = spec!(item, ConsulPolicy);
        Ok(fields(description, rules))
    }

    async fn judge(&self, _: &World<'_>, _: &Item, _: &Fields, _: &[FieldChange]) -> Result<Verdict> {
        Ok(Verdict::Update)
    }

    async fn put(&self, world: &World<'_>, item: &Item, _: Option<&Fields>) -> Result<()> {
        let Some(access) = access(world, Kind::ConsulPolicy)? else { return Ok(()) };
        let ConsulPolicySpec { description, rules } = spec!(item, ConsulPolicy).clone();
        access.put_policy(&ConsulPolicy { name: item.name.clone(), description, rules }).await
    }

    async fn keeps(&self, world: &World<'_>, id: &str) -> Result<Option<String>> {
        let Some(access) = access(world, Kind::ConsulPolicy)? else { return Ok(None) };
        let tokens = access.tokens().await?;
        let users = tokens.iter().filter(|token| token.policies.contains(id)).count();
        Ok((users > 0).then(|| format!("{users} tokens have it, and would lose what it allows")))
    }

    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        let Some(access) = access(world, Kind::ConsulPolicy)? else { return Ok(()) };
        access.delete_policy(id).await
    }

    async fn declare(&self, _: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        Ok(Some(Declared::plain(id, json!(live))))
    }
}

/// Consul's access control; none in a data folder.
pub(super) fn access<'a>(world: &'a World<'_>, kind: Kind) -> Result<Option<&'a dyn ConsulAcl>> {
    match &world.ports.consul_acl {
        Some(access) => Ok(Some(access.as_ref())),
        None if world.embedded => Ok(None),
        None => Err(super::needs(kind, "consul")),
    }
}

/// Space around the rules means nothing, and YAML ends a block with a newline.
fn fields(description: &str, rules: &str) -> Fields {
    let described = (!description.is_empty()).then_some(description);
    Fields::default().with_some("description", described).with("rules", rules.trim())
}
