//! Who did what: every change an operator makes leaves a record.

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;

/// One change by an operator. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorRecord {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who: OIDC subject, Vault entity, else user@host.
    pub actor: String,
    /// In which profile.
    pub profile: String,
    /// The verb, e.g. `dlq redrive`.
    pub verb: String,
    /// Its arguments without secrets.
    pub arguments: Vec<String>,
    /// What came of it, in a few words.
    pub result: String,
    /// How to undo it; `None` when it cannot be undone.
    pub undo: Option<String>,
}

/// Where these records are kept. Contract: appended records are durable and never changed.
#[async_trait]
pub trait OperatorJournal: Send + Sync {
    /// Adds a record.
    async fn append(&self, record: &OperatorRecord) -> Result<()>;

    /// The latest records, latest first.
    async fn latest(&self, limit: usize) -> Result<Vec<OperatorRecord>>;
}
