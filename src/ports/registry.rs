//! The schema registry: numbered JSON Schemas by subject.

use async_trait::async_trait;
use serde_json::Value;

use super::Result;
use crate::domain::event::SchemaId;

/// A schema as the registry has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredSchema {
    /// Its number over all subjects; what the wire format carries.
    pub id: SchemaId,
    /// Its subject, `<topic>-value`.
    pub subject: String,
    /// Its version in the subject, from 1.
    pub version: u32,
    /// The JSON Schema.
    pub schema: Value,
}

/// The registry.
///
/// Contract: a schema never changes under its id; versions of a subject count from 1 without gaps; registering what is
/// there already answers the version that is there.
#[async_trait]
pub trait SchemaRegistry: Send + Sync {
    /// Registers a schema under a subject.
    async fn register(&self, subject: &str, schema: &Value) -> Result<RegisteredSchema>;

    /// The schema of this id; `NotFound` if there is none.
    async fn by_id(&self, id: SchemaId) -> Result<RegisteredSchema>;

    /// The latest version of a subject; `None` if the subject is unknown.
    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>>;

    /// Every version of a subject, first to last.
    async fn versions(&self, subject: &str) -> Result<Vec<RegisteredSchema>>;

    /// Every subject, by name.
    async fn subjects(&self) -> Result<Vec<String>>;
}
