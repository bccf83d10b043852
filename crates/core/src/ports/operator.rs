//! The operator journal: an audit record of every change that an operator makes.

use async_trait::async_trait;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;

/// One change by an operator. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorRecord {
    /// Time of the change.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who made it: OIDC subject, Vault entity, else user@host.
    pub actor: String,
    /// Profile it was made in.
    pub profile: String,
    /// Verb, e.g. `dlq redrive`.
    pub verb: String,
    /// Arguments of the verb without secrets.
    pub arguments: Vec<String>,
    /// Outcome in a few words.
    pub result: String,
    /// Command that undoes it; `None` when it cannot be undone.
    pub undo: Option<String>,
}

/// The operator journal. Contract: appended records are durable and never changed.
#[async_trait]
pub trait OperatorJournal: Send + Sync {
    /// Appends a record.
    async fn append(&self, record: &OperatorRecord) -> Result<()>;

    /// The latest records, newest first.
    async fn latest(&self, limit: usize) -> Result<Vec<OperatorRecord>>;
}
