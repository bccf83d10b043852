//! Tokens of Consul. The secret is made here, put into Vault first, and then given to Consul: whoever comes after a crash in
//! between finds it there and goes on with it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use super::consul_policies::access;
use super::{Also, Declared, Live, Looked, Resource, Verdict, World, Wrong, spec, vault};
use crate::bootstrap::fields::{FieldChange, Fields, SENSITIVE};
use crate::bootstrap::manifest::{ConsulTokenSpec, Item, Kind, SecretPlace, Spec};
use mfctl_core::domain::Secret;
use mfctl_core::ports::{ConsulToken, Error, ErrorKind, Result};

/// What accessors are derived in, so that a token is the same one however often it is made.
const NAMESPACE: Uuid = Uuid::from_u128(0x4f0d_8c1e_6b1a_5d5e_9a52_7a0f_3f6f_21c9);
/// Whether its secret is in Vault.
const SECRET: &str = "secret";

pub(super) struct ConsulTokens;

#[async_trait]
impl Resource for ConsulTokens {
    fn check(&self, item: &Item) -> Result<(), Wrong> {
        let Spec::ConsulToken(spec) = &item.spec else { return Ok(()) };
        if spec.policies.is_empty() {
            return Err(Wrong::at("/spec/policies", "names no policy: the token could do nothing"));
        }
        vault::check_path(&spec.store.path).map_err(|wrong| Wrong::at("/spec/store/path", wrong.message))
    }

    async fn live(&self, world: &World<'_>, items: &[&Item], _: Also<'_>) -> Result<Looked> {
        let Some(access) = access(world, Kind::ConsulToken)? else { return Ok(Looked::Nothing) };
        let tokens: BTreeMap<Uuid, ConsulToken> =
            access.tokens().await?.into_iter().map(|token| (token.accessor, token)).collect();
        let mut live = Live::new();
        for item in items {
            let Some(token) = tokens.get(&accessor(world, &item.name)) else { continue };
            let place = &spec!(item, ConsulToken).store;
            let shape = vault::store(world, Kind::ConsulToken)?.shape(&place.mount, &place.path).await?;
            let stored = shape.is_some_and(|shape| shape.fields.contains(&place.field));
            let fields = Fields::default().with("policies", json!(token.policies));
            live.insert(item.name.clone(), fields.with_some(SECRET, stored.then_some(SENSITIVE)));
        }
        // What is marked is looked at too, so that it can go.
        for mark in world.owned.of_kind(Kind::ConsulToken) {
            if let Some(token) = tokens.get(&accessor(world, &mark.id)) {
                let fields = Fields::default().with("policies", json!(token.policies));
                live.entry(mark.id.clone()).or_insert(fields);
            }
        }
        Ok(Looked::Live(live))
    }

    fn wanted(&self, item: &Item, _: Option<&Fields>, _: &World<'_>) -> Result<Fields> {
        let policies: std::collections::BTreeSet<&String> = spec!(item, ConsulToken).policies.iter().collect();
        Ok(Fields::default().with("policies", json!(policies)).with(SECRET, SENSITIVE))
    }

    /// A secret that is lost cannot be had again: the token gets another one.
    async fn judge(&self, _: &World<'_>, _: &Item, _: &Fields, changes: &[FieldChange]) -> Result<Verdict> {
        let lost = changes.iter().any(|change| change.field == SECRET);
        Ok(if lost { Verdict::Replace } else { Verdict::Update })
    }

    async fn put(&self, world: &World<'_>, item: &Item, live: Option<&Fields>) -> Result<()> {
        let Some(access) = access(world, Kind::ConsulToken)? else { return Ok(()) };
        let ConsulTokenSpec { policies, store } = spec!(item, ConsulToken);
        let secret = secret_of(world, store, live.is_some()).await?;
        let token = ConsulToken {
            accessor: accessor(world, &item.name),
            description: item.name.clone(),
            policies: policies.iter().cloned().collect(),
        };
        access.put_token(&token, &secret).await
    }

    async fn keeps(&self, _: &World<'_>, _: &str) -> Result<Option<String>> {
        Ok(None)
    }

    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()> {
        let Some(access) = access(world, Kind::ConsulToken)? else { return Ok(()) };
        access.delete_token(accessor(world, id)).await
    }

    /// Where the secret of a token is kept that others made, nobody but they can say.
    async fn declare(&self, _: &World<'_>, _: &str, _: &Fields) -> Result<Option<Declared>> {
        Ok(None)
    }
}

fn accessor(world: &World<'_>, name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{}/{name}", world.env).as_bytes())
}

/// The secret as Vault has it, made and put there if it does not: a token that `is_made` keeps the one it has, which no other
/// can stand for. Consul wants one in the form of a UUID.
async fn secret_of(world: &World<'_>, place: &SecretPlace, is_made: bool) -> Result<Secret> {
    let store = vault::store(world, Kind::ConsulToken)?;
    // A version is written whole: what is there is taken over.
    let (version, mut values) = store.read_all(&place.mount, &place.path).await?.unwrap_or_default();
    if let Some(secret) = values.get(&place.field) {
        return match Uuid::parse_str(secret.expose()) {
            Ok(_) => Ok(secret.clone()),
            Err(_) => Err(Error::new(
                ErrorKind::Invalid,
                format!("field {} of {}/{} is no token of Consul's", place.field, place.mount, place.path),
            )
            .hint("name another field in the manifest's `store`")),
        };
    }
    if is_made {
        return Err(super::moved(format!("secret {}/{}", place.mount, place.path), ""));
    }
    let secret = Secret::new(Uuid::new_v4().to_string());
    values.insert(place.field.clone(), secret.clone());
    store.write(&place.mount, &place.path, &values, version).await?;
    Ok(secret)
}
