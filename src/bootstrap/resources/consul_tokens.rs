//! Consul ACL tokens. The secret is generated here, stored in Vault first, and then set in Consul: after a crash in between,
//! the next apply uses the stored secret.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use super::consul_policies::consul_acl;
use super::{
    ChangeStrategy, GeneratedManifest, InvalidField, LiveResources, LiveState, ReadScope, Resource, ResourceContext,
    spec, vault,
};
use crate::bootstrap::fields::{FieldChange, ResourceFields, SENSITIVE};
use crate::bootstrap::manifest::{ConsulTokenSpec, ResourceDeclaration, ResourceKind, ResourceSpec, SecretLocation};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{ConsulToken, Error, ErrorKind, Result};

/// UUID namespace of accessor ids, which are derived from the name so that creating a token is idempotent.
const NAMESPACE: Uuid = Uuid::from_u128(0x4f0d_8c1e_6b1a_5d5e_9a52_7a0f_3f6f_21c9);
/// Field: whether the secret is in Vault.
const SECRET: &str = "secret";

pub(super) struct ConsulTokenResource;

#[async_trait]
impl Resource for ConsulTokenResource {
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
        let ResourceSpec::ConsulToken(spec) = &declaration.spec else { return Ok(()) };
        if spec.policies.is_empty() {
            return Err(InvalidField::in_spec(["policies"], "names no policy: the token would have no permission"));
        }
        vault::check_path(&spec.store.path).map_err(|field| InvalidField::in_spec(["store", "path"], field.message))
    }

    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        declarations: &[&ResourceDeclaration],
        read_scope: ReadScope<'_>,
    ) -> Result<LiveState> {
        let Some(acl) = consul_acl(context, ResourceKind::ConsulToken)? else { return Ok(LiveState::NotApplicable) };
        let tokens: BTreeMap<Uuid, ConsulToken> =
            acl.tokens().await?.into_iter().map(|token| (token.accessor, token)).collect();
        let mut live = LiveResources::new();
        for declaration in declarations {
            let Some(token) = tokens.get(&accessor_id(context, &declaration.name)) else { continue };
            let location = &spec!(declaration, ConsulToken).store;
            let shape =
                vault::store(context, ResourceKind::ConsulToken)?.shape(&location.mount, &location.path).await?;
            let is_stored = shape.is_some_and(|shape| shape.fields.contains(&location.field));
            let fields = ResourceFields::default().with("policies", json!(token.policies));
            live.insert(declaration.name.clone(), fields.with_some(SECRET, is_stored.then_some(SENSITIVE)));
        }
        // Owned tokens that are no longer declared are read too, so that they can be pruned.
        let owned = context.owner_marks.of_kind(ResourceKind::ConsulToken).map(|mark| &mark.id);
        for id in owned.chain(read_scope.additional_ids()) {
            if let Some(token) = tokens.get(&accessor_id(context, id)) {
                let fields = ResourceFields::default().with("policies", json!(token.policies));
                live.entry(id.clone()).or_insert(fields);
            }
        }
        Ok(LiveState::Found(live))
    }

    fn fields_without_declaration(&self, mut fields: ResourceFields) -> ResourceFields {
        fields.0.remove(SECRET);
        fields
    }

    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        _: Option<&ResourceFields>,
        _: &ResourceContext<'_>,
    ) -> Result<ResourceFields> {
        let policies: std::collections::BTreeSet<&String> = spec!(declaration, ConsulToken).policies.iter().collect();
        Ok(ResourceFields::default().with("policies", json!(policies)).with(SECRET, SENSITIVE))
    }

    /// A token whose secret is missing in Vault is replaced: a lost secret cannot be recovered.
    async fn plan_change(
        &self,
        _: &ResourceContext<'_>,
        _: &ResourceDeclaration,
        _: &ResourceFields,
        changes: &[FieldChange],
    ) -> Result<ChangeStrategy> {
        let lost = changes.iter().any(|change| change.field == SECRET);
        Ok(if lost { ChangeStrategy::Replace } else { ChangeStrategy::Update })
    }

    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
    ) -> Result<()> {
        let Some(acl) = consul_acl(context, ResourceKind::ConsulToken)? else { return Ok(()) };
        let ConsulTokenSpec { policies, store } = spec!(declaration, ConsulToken);
        let secret = stored_or_new_secret(context, store, live.is_some()).await?;
        let token = ConsulToken {
            accessor: accessor_id(context, &declaration.name),
            description: declaration.name.clone(),
            policies: policies.iter().cloned().collect(),
        };
        acl.put_token(&token, &secret).await
    }

    async fn deletion_blocker(&self, _: &ResourceContext<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()> {
        let Some(acl) = consul_acl(context, ResourceKind::ConsulToken)? else { return Ok(()) };
        acl.delete_token(accessor_id(context, id)).await
    }

    /// A manifest names where the secret is stored, which is unknown for a token that another tool created.
    async fn generate_manifest(
        &self,
        _: &ResourceContext<'_>,
        _: &str,
        _: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>> {
        Ok(None)
    }
}

fn accessor_id(context: &ResourceContext<'_>, name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{}/{name}", context.env).as_bytes())
}

/// The secret that Vault holds; where it holds none, a generated one, which is stored there. For a token that `exists`, a
/// missing secret is a conflict: a new one would not match Consul's. Consul requires the form of a UUID.
async fn stored_or_new_secret(
    context: &ResourceContext<'_>,
    location: &SecretLocation,
    exists: bool,
) -> Result<Secret> {
    let store = vault::store(context, ResourceKind::ConsulToken)?;
    // A write creates a new version with all fields, so the other fields are written back.
    let (version, mut values) = store.read_all(&location.mount, &location.path).await?.unwrap_or_default();
    if let Some(stored) = values.get(&location.field).filter(|stored| !stored.is_empty()) {
        let token = stored.expose().as_str().filter(|text| Uuid::parse_str(text).is_ok());
        return match token {
            Some(token) => Ok(Secret::new(token)),
            None => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "field {} of {}/{} is not a Consul token, which is a UUID",
                    location.field, location.mount, location.path
                ),
            )
            .hint("name another field in the manifest's `store`")),
        };
    }
    if exists {
        return Err(super::changed_since_plan(format!("secret {}/{}", location.mount, location.path), ""));
    }
    let secret = Secret::new(Uuid::new_v4().to_string());
    values.insert(location.field.clone(), secret.clone().into());
    store.write(&location.mount, &location.path, &values, version).await?;
    Ok(secret)
}
