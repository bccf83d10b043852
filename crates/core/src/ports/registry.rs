//! The schema registry: numbered JSON Schemas by subject.

use async_trait::async_trait;
use serde_json::Value;

use super::Result;
use crate::domain::compat::Compatibility;
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
/// Contract: a schema never changes under its id; versions of a subject count from 1 without gaps (unless somebody
/// deletes some); registering what is there already answers the version that is there. Two schemas are the same when
/// they are as JSON, whatever their text. One schema may have one id under several subjects.
#[async_trait]
pub trait SchemaRegistry: Send + Sync {
    /// Registers a schema under a subject. `Conflict` when the subject's compatibility does not let it follow the
    /// versions that are there; the error says why, as far as the registry does.
    async fn register(&self, subject: &str, schema: &Value) -> Result<RegisteredSchema>;

    /// The schema of this id, under the first subject that has it; `NotFound` if there is none.
    async fn by_id(&self, id: SchemaId) -> Result<RegisteredSchema>;

    /// The schema of this id as this subject has it; where the subject does not, as [`SchemaRegistry::by_id`].
    async fn by_id_in(&self, id: SchemaId, subject: &str) -> Result<RegisteredSchema> {
        let found = self.by_id(id).await?;
        if found.subject == subject {
            return Ok(found);
        }
        let versions = self.versions(subject).await?;
        Ok(versions.into_iter().rev().find(|version| version.id == id).unwrap_or(found))
    }

    /// The latest version of a subject; `None` if the subject is unknown.
    async fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>>;

    /// Every version of a subject, first to last.
    async fn versions(&self, subject: &str) -> Result<Vec<RegisteredSchema>>;

    /// Every subject, by name.
    async fn subjects(&self) -> Result<Vec<String>>;

    /// The compatibility in force for a subject, its own or else the registry's.
    async fn compatibility(&self, subject: &str) -> Result<Compatibility>;

    /// Sets a subject's own compatibility. The subject must have a version: some registries forget it otherwise.
    async fn set_compatibility(&self, subject: &str, level: Compatibility) -> Result<()>;

    /// What stands against registering this schema under the compatibility in force, in sentences; nothing if it may be.
    async fn check_compatibility(&self, subject: &str, schema: &Value) -> Result<Vec<String>>;
}
