//! The schema registry: numbered JSON Schemas by subject.

use async_trait::async_trait;
use serde_json::Value;

use super::Result;
use crate::domain::compat::Compatibility;
use crate::domain::event::SchemaId;

/// A registered version of a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredSchema {
    /// Id over all subjects, as the wire format carries it.
    pub id: SchemaId,
    /// Subject, `<topic>-value`.
    pub subject: String,
    /// Version within the subject, counted from 1.
    pub version: u32,
    /// JSON Schema document.
    pub schema: Value,
}

/// The schema registry (the Confluent API's semantics).
///
/// Contract: the schema of an id never changes; versions of a subject count from 1 without gaps (unless some were
/// deleted); registering an existing schema returns its existing version. Two schemas are equal when they are equal as
/// JSON. A schema may have the same id under several subjects.
#[async_trait]
pub trait SchemaRegistry: Send + Sync {
    /// Registers a schema under a subject. `Conflict` when it is incompatible with the subject's versions; the error has
    /// the registry's reasons.
    async fn register(&self, subject: &str, schema: &Value) -> Result<RegisteredSchema>;

    /// The schema of this id under the first subject that has it; `NotFound` if there is none.
    async fn by_id(&self, id: SchemaId) -> Result<RegisteredSchema>;

    /// The schema of this id under this subject; falls back to [`SchemaRegistry::by_id`] where the subject lacks it.
    async fn by_id_in(&self, id: SchemaId, subject: &str) -> Result<RegisteredSchema> {
        let found = self.by_id(id).await?;
        if found.subject == subject {
            return Ok(found);
        }
        let versions = self.versions(subject).await?;
        Ok(versions.into_iter().rev().find(|version| version.id == id).unwrap_or(found))
    }

    /// The latest version of a subject; `None` if the subject does not exist.
    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>>;

    /// Every version of a subject, oldest first.
    async fn versions(&self, subject: &str) -> Result<Vec<RegisteredSchema>>;

    /// Every subject, sorted by name.
    async fn subjects(&self) -> Result<Vec<String>>;

    /// Effective compatibility level of a subject: its own, else the registry's.
    async fn compatibility(&self, subject: &str) -> Result<Compatibility>;

    /// Sets a subject's own compatibility level. The subject must have a version: some registries lose the level
    /// otherwise.
    async fn set_compatibility(&self, subject: &str, level: Compatibility) -> Result<()>;

    /// Reasons why this schema is incompatible under the effective level; empty if it may be registered.
    async fn check_compatibility(&self, subject: &str, schema: &Value) -> Result<Vec<String>>;
}
