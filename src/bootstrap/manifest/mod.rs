//! Manifests: the desired state of an environment, as a folder of YAML documents in Git.
//!
//! `base/` declares what every environment has, `env/<environment>/` is an overlay of JSON merge patches (RFC 7396). There is
//! no template language. A manifest holds no secret, only its location. Reads files; asks no server.

mod builtin;
mod kinds;
mod load;
mod node;
mod scaffold;
mod schema;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

pub use builtin::{BuiltinDefaults, builtin_declarations};
pub use kinds::{
    BucketEncryptionSpec, BucketSpec, ConsulKeysSpec, ConsulPolicySpec, ConsulTokenSpec, DatabaseSpec, KafkaTopicSpec,
    ResourceKind, ResourceSpec, SchemaSpec, SecretFieldSource, SecretLocation, VaultAppRoleSpec, VaultMountSpec,
    VaultPolicySpec, VaultSecretSpec,
};
pub use load::{load, load_file};
pub use node::ManifestLocation;
pub use scaffold::{GeneratedFile, document_text, file_header, file_name, scaffold};
pub use schema::json_schemas;

/// `apiVersion` of every manifest.
pub const API_VERSION: &str = "mfctl/v1";

/// The declaration of a resource: one document of a manifest, or a built-in default.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceDeclaration {
    /// `metadata.name`.
    pub name: String,
    /// `spec`.
    pub spec: ResourceSpec,
    /// For a schema with a `file`, the content of that file.
    pub schema: Option<Value>,
    /// Where it is declared; `None` for a built-in default.
    pub location: Option<ManifestLocation>,
    /// For a service's keys, where each is declared, as `base/consul-keys.yaml:7`.
    pub key_locations: BTreeMap<String, String>,
}

impl ResourceDeclaration {
    /// The kind of resource.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        self.spec.kind()
    }
}

/// A name or value that the kind does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// The names of the maps that lead to the field, and its own.
    pub path: Vec<String>,
    /// Why it is invalid.
    pub message: String,
}

impl InvalidField {
    /// An invalid `metadata.name`.
    pub fn name(message: impl fmt::Display) -> Self {
        Self { path: vec!["metadata".to_owned(), "name".to_owned()], message: message.to_string() }
    }

    /// An invalid field below `spec`, at this path.
    pub fn in_spec<'a>(path: impl IntoIterator<Item = &'a str>, message: impl fmt::Display) -> Self {
        let path = std::iter::once("spec").chain(path).map(str::to_owned).collect();
        Self { path, message: message.to_string() }
    }
}

/// An error in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestProblem {
    /// File and line.
    pub at: ManifestLocation,
    /// The field, as `spec.partitions`; empty for the whole document.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, field, message } = self;
        if field.is_empty() { write!(f, "{at}: {message}") } else { write!(f, "{at}: {field}: {message}") }
    }
}

impl std::error::Error for ManifestProblem {}

/// Every error in a folder of manifests, sorted by file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestProblems(pub Vec<ManifestProblem>);

impl ManifestProblems {
    /// A single error that concerns a whole file or folder.
    pub fn in_file(file: &str, message: impl Into<String>) -> Self {
        Self(vec![ManifestProblem {
            at: ManifestLocation { file: Arc::from(file), line: 1 },
            field: String::new(),
            message: message.into(),
        }])
    }
}

impl fmt::Display for ManifestProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestProblems {}
