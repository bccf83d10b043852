//! The manifests' folder: what an environment should be, as YAML documents in Git.
//!
//! `base/` holds what every environment has, `env/<environment>/` what one changes. There is no language of our own: an
//! overlay is a merge patch. A manifest holds no secret, only where one is. Reads files; asks no server.

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

pub use builtin::{Defaults, builtin};
pub use kinds::{
    BucketSpec, ConsulKeysSpec, ConsulPolicySpec, ConsulTokenSpec, DatabaseSpec, Encryption, FieldSource,
    KafkaTopicSpec, Kind, SchemaSpec, SecretPlace, Spec, VaultAppRoleSpec, VaultMountSpec, VaultPolicySpec,
    VaultSecretSpec,
};
pub use load::{load, load_file};
pub use node::Origin;
pub use scaffold::{File, file_of, head, scaffold, text_of};
pub use schema::json_schemas;

/// What every manifest says first.
pub const API_VERSION: &str = "mfctl/v1";

/// A resource as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// `metadata.name`.
    pub name: String,
    /// What is said of it.
    pub spec: Spec,
    /// The content of the file that a schema names.
    pub schema: Option<Value>,
    /// Where it is declared; none for one of mfctl's own defaults.
    pub origin: Option<Origin>,
    /// Of a service's keys, where each is declared: `base/consul-keys.yaml:7`.
    pub places: BTreeMap<String, String>,
}

impl Item {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.spec.kind()
    }
}

/// A name or value that no resource of the kind can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The JSON pointer to it in the manifest.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

impl Wrong {
    /// A name.
    pub fn name(message: impl fmt::Display) -> Self {
        Self { pointer: "/metadata/name".to_owned(), message: message.to_string() }
    }

    /// Something in the spec.
    pub fn at(pointer: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { pointer: pointer.into(), message: message.to_string() }
    }
}

/// Something that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Origin,
    /// The field, as `spec.partitions`; empty for the whole document.
    pub field: String,
    /// What.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, field, message } = self;
        if field.is_empty() { write!(f, "{at}: {message}") } else { write!(f, "{at}: {field}: {message}") }
    }
}

impl std::error::Error for Problem {}

/// Everything that is wrong with a folder of manifests, in the order of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// One that is wrong with a whole file.
    pub fn whole(file: &str, message: impl Into<String>) -> Self {
        Self(vec![Problem {
            at: Origin { file: Arc::from(file), line: 1 },
            field: String::new(),
            message: message.into(),
        }])
    }
}

impl fmt::Display for Problems {
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

impl std::error::Error for Problems {}
