//! One file per kind of resource: how it is validated, read, created, updated and deleted. When that happens is decided in
//! [`super::plan`] and [`super::apply`], in the same way for every kind.
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

use super::fields::{FieldChange, ResourceFields};
use super::manifest::{InvalidField, ResourceDeclaration, ResourceKind};
use super::owner_marks::OwnerMarks;
use crate::kv::break_glass::BreakGlassExceptions;
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{EnvName, Timestamp};
use mfctl_core::ports::{Error, ErrorKind, Ports, Result};

/// The platform that resources are managed on, with the ownership and exceptions that were read from it.
pub struct ResourceContext<'a> {
    /// The platform's ports.
    pub ports: &'a Ports,
    /// The platform's environment.
    pub env: &'a EnvName,
    /// The environment's buckets.
    pub buckets: &'a Buckets,
    /// Whether the platform is a data folder, to which the kinds of Consul and Vault do not apply.
    pub embedded: bool,
    /// Whether orphaned resources are deleted.
    pub prune: bool,
    /// Owner marks of the environment.
    pub owner_marks: OwnerMarks,
    /// Break-glass exceptions of the environment.
    pub break_glass: BreakGlassExceptions,
    /// Time at which the command runs.
    pub now: Timestamp,
    /// The actor that the history of settings records.
    pub actor: &'a str,
}

/// How a difference between the live and the desired fields is resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeStrategy {
    /// The resource is updated in place.
    Update,
    /// The resource is deleted and created again.
    Replace,
    /// mfctl leaves the resource unchanged: the reason, and what to do instead.
    Refuse(String),
}

/// Live resources of a kind, by their name on the server.
pub type LiveResources = BTreeMap<String, ResourceFields>;

/// The live resources to read.
#[derive(Debug, Clone, Copy)]
pub enum ReadScope<'a> {
    /// Only the declared ones.
    Declared,
    /// The declared ones, and those with these names on the server.
    DeclaredAnd(&'a [String]),
    /// Every resource of the kind.
    All,
}

impl<'a> ReadScope<'a> {
    /// Names that are read in addition to the declared ones.
    fn additional_ids(self) -> &'a [String] {
        match self {
            Self::DeclaredAnd(ids) => ids,
            Self::Declared | Self::All => &[],
        }
    }
}

/// The result of reading the live resources of a kind.
#[derive(Debug)]
pub enum LiveState {
    /// The resources that exist.
    Found(LiveResources),
    /// The platform needs no resource of the kind: the buckets of a data folder always exist.
    NotApplicable,
    /// The profile lacks what is needed to read them: the reason.
    Skipped(String),
}

/// A manifest that declares a live resource as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedManifest {
    /// `metadata.name`.
    pub name: String,
    /// `spec`.
    pub spec: Value,
    /// A file that the spec refers to: path relative to the manifest, and content.
    pub file: Option<(String, Value)>,
    /// Parts of the resource that no manifest can declare, for the user.
    pub left_out: Vec<String>,
}

impl GeneratedManifest {
    fn new(name: impl Into<String>, spec: Value) -> Self {
        Self { name: name.into(), spec, file: None, left_out: Vec::new() }
    }
}

/// The text of a declared setting: a string unchanged, any other value as JSON.
#[must_use]
pub fn setting_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A kind of resource.
#[async_trait]
pub trait Resource: Sync {
    /// Validates a declaration of this kind without asking a server.
    ///
    /// # Errors
    /// The first invalid field.
    fn validate(&self, declaration: &ResourceDeclaration) -> Result<(), InvalidField>;

    /// The name of the declared resource on the server.
    fn id(&self, declaration: &ResourceDeclaration, _context: &ResourceContext<'_>) -> String {
        declaration.name.clone()
    }

    /// Whether ownership is tracked by field, because other tools may own some of them: the keys of a service.
    fn tracks_field_ownership(&self) -> bool {
        false
    }

    /// These fields without those that [`Resource::read_live`] returns only for a resource that is declared.
    fn fields_without_declaration(&self, fields: ResourceFields) -> ResourceFields {
        fields
    }

    /// Declared settings that have no effect on this platform.
    fn settings_without_effect(
        &self,
        _declaration: &ResourceDeclaration,
        _context: &ResourceContext<'_>,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Live fields that mfctl owns and that are no longer declared, but stay unless they are pruned.
    fn orphaned_fields(
        &self,
        _declaration: &ResourceDeclaration,
        _live: &ResourceFields,
        _context: &ResourceContext<'_>,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Reads the live resources: at least those that are declared or in scope; others may be included.
    async fn read_live(
        &self,
        context: &ResourceContext<'_>,
        declarations: &[&ResourceDeclaration],
        read_scope: ReadScope<'_>,
    ) -> Result<LiveState>;

    /// The desired fields. A field that the declaration leaves open keeps its live value.
    fn desired_fields(
        &self,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
        context: &ResourceContext<'_>,
    ) -> Result<ResourceFields>;

    /// Decides how a difference is resolved; `changes` is not empty.
    async fn plan_change(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        live: &ResourceFields,
        changes: &[FieldChange],
    ) -> Result<ChangeStrategy>;

    /// The reason why a missing resource cannot be created; `None` if it can.
    async fn creation_blocker(
        &self,
        _context: &ResourceContext<'_>,
        _declaration: &ResourceDeclaration,
    ) -> Result<Option<String>> {
        Ok(None)
    }

    /// Creates the resource, or updates the live one in place. Repeating it does nothing.
    async fn create_or_update(
        &self,
        context: &ResourceContext<'_>,
        declaration: &ResourceDeclaration,
        live: Option<&ResourceFields>,
    ) -> Result<()>;

    /// The reason why a resource must not be deleted, such as that it holds data; `None` if it may be.
    async fn deletion_blocker(&self, context: &ResourceContext<'_>, id: &str) -> Result<Option<String>>;

    /// Deletes the resource with this name on the server.
    async fn delete(&self, context: &ResourceContext<'_>, id: &str) -> Result<()>;

    /// When the resource was last changed; `None` where its server does not record that.
    async fn changed_at(&self, _context: &ResourceContext<'_>, _id: &str) -> Result<Option<Timestamp>> {
        Ok(None)
    }

    /// Generates the manifest that declares a live resource as it is; `None` if no manifest can.
    async fn generate_manifest(
        &self,
        context: &ResourceContext<'_>,
        id: &str,
        live: &ResourceFields,
    ) -> Result<Option<GeneratedManifest>>;
}

/// The implementation of a kind.
#[must_use]
pub fn for_kind(kind: ResourceKind) -> &'static dyn Resource {
    match kind {
        ResourceKind::Database => &database::DatabaseResource,
        ResourceKind::VaultMount => &vault_mounts::VaultMountResource,
        ResourceKind::VaultPolicy => &vault_policies::VaultPolicyResource,
        ResourceKind::VaultAppRole => &vault_app_roles::VaultAppRoleResource,
        ResourceKind::VaultSecret => &vault_secrets::VaultSecretResource,
        ResourceKind::ConsulPolicy => &consul_policies::ConsulPolicyResource,
        ResourceKind::ConsulToken => &consul_tokens::ConsulTokenResource,
        ResourceKind::ConsulKeys => &consul_keys::ConsulKeysResource,
        ResourceKind::KafkaTopic => &topics::KafkaTopicResource,
        ResourceKind::Bucket => &buckets::BucketResource,
        ResourceKind::Schema => &schemas::SchemaResource,
    }
}

/// Validates a declaration as its kind requires.
///
/// # Errors
/// The first invalid field.
pub fn validate(declaration: &ResourceDeclaration) -> Result<(), InvalidField> {
    for_kind(declaration.kind()).validate(declaration)
}

/// A declaration that was passed to the implementation of another kind: a defect.
fn wrong_kind(declaration: &ResourceDeclaration) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("{}/{} was passed to the implementation of another kind", declaration.kind(), declaration.name),
    )
}

/// `Conflict` for a resource that changed after it was planned; `reason` may be empty.
pub fn changed_since_plan(resource: impl std::fmt::Display, reason: &str) -> Error {
    let separator = if reason.is_empty() { "" } else { ": " };
    Error::new(ErrorKind::Conflict, format!("{resource} has changed since it was planned{separator}{reason}"))
        .hint("plan again, and review what changed")
}

/// `Invalid` for a kind whose server the profile does not have; `table` is the server's table in the profile.
fn missing_server(kind: ResourceKind, table: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("the manifests declare a {kind}, and the profile has no table `{table}`"))
        .hint(format!("add [profile.NAME.{table}], or leave the kind out with --only"))
}

/// The spec of a declaration of this kind.
macro_rules! spec {
    ($item:expr, $Kind:ident) => {
        match &$item.spec {
            crate::bootstrap::manifest::ResourceSpec::$Kind(spec) => spec,
            _ => return Err(super::wrong_kind($item)),
        }
    };
}
use spec;

/// Whether the profile lacks the server of a kind.
#[must_use]
pub fn lacks_server(context: &ResourceContext<'_>, kind: ResourceKind) -> bool {
    match kind {
        ResourceKind::VaultMount | ResourceKind::VaultPolicy | ResourceKind::VaultAppRole => {
            context.ports.vault.is_none()
        }
        ResourceKind::VaultSecret => context.ports.secrets.is_none(),
        ResourceKind::ConsulPolicy | ResourceKind::ConsulToken => context.ports.consul_acl.is_none(),
        ResourceKind::ConsulKeys => context.ports.config.is_none(),
        ResourceKind::KafkaTopic => context.ports.topics.is_none(),
        ResourceKind::Database | ResourceKind::Bucket | ResourceKind::Schema => false,
    }
}
