//! Policies of Vault.

use async_trait::async_trait;
use serde_json::json;

use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec, vault};
use crate::bootstrap::fields::{FieldChange, Fields};
use crate::bootstrap::manifest::{Item, Kind};
use mfctl_core::domain::Timestamp;
use mfctl_core::ports::Result;

pub(super) struct VaultPolicies;

#[async_trait]
impl Resource for VaultPolicies {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        // Vault keeps names in lower case: another one would never be found again.
        if item.name != item.name.to_ascii_lowercase() || matches!(item.name.as_str(), "root" | "default") {
            return Err(Wrong::name(
                "a policy's name is in lower case, and neither root nor default, which are Vault's own",
            ));
        }
        vault::check_path(&item.name)
    }

    async fn live(&self, world: &World<'_>, _: &[&Item], _: Also<'_>) -> Result<Looked> {
        let Some(admin) = vault::admin(world, Kind::VaultPolicy)? else { return Ok(Looked::Nothing) };
        let policies = admin.policies().await?;
        Ok(Looked::Live(policies.iter().map(|(name, rules)| (name.clone(), fields(rules))).collect::<Live>()))
    }

    fn wanted(&self, item: &Item, _: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        Ok(fields(&spec!(item, VaultPolicy).rules))
    }

    async fn judge(&self, _: &World<'_>, _: &Item, _: &Fields, _: &[FieldChange]) -> Result<Verdict> {
        Ok(Verdict::Update)
    }

    async fn put(&self, world: &World<'_>, item: &Item, _: Option<&Fields>) -> Result<()> {
        let Some(admin) = vault::admin(world, Kind::VaultPolicy)? else { return Ok(()) };
        admin.put_policy(&item.name, &spec!(item, VaultPolicy).rules).await
    }

    async fn keeps(&self, _: &World<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        let Some(admin) = vault::admin(world, Kind::VaultPolicy)? else { return Ok(()) };
        admin.delete_policy(id).await
    }

    async fn since(&self, world: &World<'_>, id: &str) -> Result<Option<Timestamp>> {
        let Some(admin) = vault::admin(world, Kind::VaultPolicy)? else { return Ok(None) };
        admin.policy_changed_at(id).await
    }

    async fn declare(&self, _: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>> {
        Ok(Some(Declared::plain(id, json!(live))))
    }
}

/// Space around the rules means nothing, and YAML ends a block with a newline.
fn fields(rules: &str) -> Fields {
    Fields::default().with("rules", rules.trim())
}
