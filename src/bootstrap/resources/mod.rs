//! One file per kind of resource: how it is read as fields, what may be done to it, and how it is made. Nothing here decides
//! when: [`super::plan`] and [`super::apply`] do, in the same way for every kind.
//!
//! A new kind is a `spec` in `manifest/kinds.rs` and a file here; CONTRIBUTING shows it step by step.

mod buckets;
mod consul_keys;
mod consul_policies;
mod consul_tokens;
mod database;
mod schemas;
mod topics;
mod vault;
mod vault_app_roles;
mod vault_mounts;
mod vault_policies;
mod vault_secrets;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::fields::{FieldChange, Fields};
use super::manifest::{Item, Kind, Wrong};
use super::owned::Owned;
use crate::kv::glass::Glass;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{EnvName, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, Ports, Result};

/// What every kind is given.
pub struct World<'a> {
    /// The platform.
    pub ports: &'a Ports,
    /// Its environment.
    pub env: &'a EnvName,
    /// The environment's buckets.
    pub buckets: &'a Buckets,
    /// Whether it is a data folder, which lacks what the kinds of others are about.
    pub embedded: bool,
    /// Whether what mfctl made and no manifest declares any more is to go.
    pub prune: bool,
    /// What mfctl made.
    pub owned: Owned,
    /// Keys that were changed by hand in an emergency.
    pub glass: Glass,
    /// Now.
    pub now: Timestamp,
    /// Who changes something, as the history of settings has it.
    pub actor: &'a str,
}

/// How a resource becomes what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// In place.
    Update,
    /// It is removed and made again.
    Replace,
    /// Not by mfctl: why, and what to do instead.
    Refuse(String),
}

/// Everything of a kind that there is, by the name that the server knows it by.
pub type Live = BTreeMap<String, Fields>;

/// What is looked at beside what is declared.
#[derive(Debug, Clone, Copy)]
pub enum Also<'a> {
    /// Nothing.
    Nothing,
    /// What the server knows by these names.
    Ids(&'a [String]),
    /// Whatever there is.
    Everything,
}

impl<'a> Also<'a> {
    /// The names.
    fn ids(self) -> &'a [String] {
        match self {
            Self::Ids(ids) => ids,
            Self::Nothing | Self::Everything => &[],
        }
    }
}

/// What there is of a kind.
#[derive(Debug)]
pub enum Looked {
    /// This.
    Live(Live),
    /// The platform has no such thing and needs none, as a data folder has no buckets to be made.
    Nothing,
    /// It cannot be looked at with what the profile has: why.
    Skipped(String),
}

/// A manifest for one that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// `metadata.name`.
    pub name: String,
    /// `spec`.
    pub spec: Value,
    /// A file that the spec names, beside the manifest, with its content.
    pub file: Option<(String, Value)>,
}

impl Declared {
    fn plain(name: impl Into<String>, spec: Value) -> Self {
        Self { name: name.into(), spec, file: None }
    }
}

/// A setting's value as it is written: text as it is, everything else as JSON.
#[must_use]
pub fn setting_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A kind of resource.
#[async_trait]
pub trait Resource: Sync {
    /// Whether an item of this kind can be at all, before any server is asked.
    ///
    /// # Errors
    /// What is wrong, and where.
    fn check(&self, item: &Item) -> Result<(), Wrong>;

    /// The name that the server knows an item by.
    fn id(&self, item: &Item, _world: &World<'_>) -> String {
        item.name.clone()
    }

    /// Whether one is made of parts that each are mfctl's or others': the keys of a service.
    fn is_of_parts(&self) -> bool {
        false
    }

    /// What there is of the kind: at least what these items stand for, and what else is asked for.
    async fn live(&self, world: &World<'_>, items: &[&Item], also: Also<'_>) -> Result<Looked>;

    /// What the item wants, as fields, given what is there: what it leaves open is as it is.
    fn wanted(&self, item: &Item, live: Option<&Fields>, world: &World<'_>) -> Result<Fields>;

    /// What may be done about a difference.
    async fn judge(&self, world: &World<'_>, item: &Item, live: &Fields, changes: &[FieldChange]) -> Result<Verdict>;

    /// Why an item cannot be made that is not there; nothing if it can.
    async fn hindrance(&self, _world: &World<'_>, _item: &Item) -> Result<Option<String>> {
        Ok(None)
    }

    /// Makes the item, or changes what is there into it. Doing it twice does nothing the second time.
    async fn put(&self, world: &World<'_>, item: &Item, live: Option<&Fields>) -> Result<()>;

    /// Why one that is not wanted any more cannot be removed; nothing if it can.
    async fn keeps(&self, world: &World<'_>, id: &str) -> Result<Option<String>>;

    /// Removes one.
    async fn delete(&self, world: &World<'_>, id: &str) -> Result<()>;

    /// Since when one is as it is, where its server can tell.
    async fn since(&self, _world: &World<'_>, _id: &str) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// A manifest that declares one as it is; `None` for what no manifest can declare.
    async fn declare(&self, world: &World<'_>, id: &str, live: &Fields) -> Result<Option<Declared>>;
}

/// The resource of a kind.
#[must_use]
pub fn of(kind: Kind) -> &'static dyn Resource {
    match kind {
        Kind::Database => &database::Databases,
        Kind::VaultMount => &vault_mounts::VaultMounts,
        Kind::VaultPolicy => &vault_policies::VaultPolicies,
        Kind::VaultAppRole => &vault_app_roles::VaultAppRoles,
        Kind::VaultSecret => &vault_secrets::VaultSecrets,
        Kind::ConsulPolicy => &consul_policies::ConsulPolicies,
        Kind::ConsulToken => &consul_tokens::ConsulTokens,
        Kind::ConsulKeys => &consul_keys::ConsulKeys,
        Kind::KafkaTopic => &topics::Topics,
        Kind::Bucket => &buckets::BucketsOfEnv,
        Kind::Schema => &schemas::Schemas,
    }
}

/// Whether an item can be at all, as its kind says.
///
/// # Errors
/// What is wrong, and where.
pub fn check(item: &Item) -> Result<(), Wrong> {
    of(item.kind()).check(item)
}

/// An item of another kind than its resource's: a defect.
fn defect(item: &Item) -> Error {
    Error::new(ErrorKind::Internal, format!("{}/{} was given to another kind", item.kind(), item.name))
}

/// What is said of a resource that changed after it was looked at; `why` in words, or nothing.
pub fn moved(what: impl std::fmt::Display, why: &str) -> Error {
    let colon = if why.is_empty() { "" } else { ": " };
    Error::new(ErrorKind::Conflict, format!("{what} is not what it was when this was planned{colon}{why}"))
        .hint("plan again, and look at what changed")
}

/// What is said where a kind needs a server that the profile does not have.
fn needs(kind: Kind, table: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("the manifests declare a {kind}, and the profile has no table `{table}`"))
        .hint(format!("add [profile.NAME.{table}], or leave the kind out with --only"))
}

/// The item's spec, if it is of the kind.
macro_rules! spec {
    ($item:expr, $Kind:ident) => {
        match &$item.spec {
            crate::bootstrap::manifest::Spec::$Kind(spec) => spec,
            _ => return Err(super::defect($item)),
        }
    };
}
use spec;

/// Whether a profile lacks the server that a kind is about.
#[must_use]
pub fn is_missing(world: &World<'_>, kind: Kind) -> bool {
    match kind {
        Kind::VaultMount | Kind::VaultPolicy | Kind::VaultAppRole => world.ports.vault.is_none(),
        Kind::VaultSecret => world.ports.secrets.is_none(),
        Kind::ConsulPolicy | Kind::ConsulToken => world.ports.consul_acl.is_none(),
        Kind::ConsulKeys => world.ports.config.is_none(),
        Kind::KafkaTopic => world.ports.topics.is_none(),
        Kind::Database | Kind::Bucket | Kind::Schema => false,
    }
}
