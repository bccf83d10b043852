//! Takedowns: what the catalog is asked for, and what it records.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{AssetId, Revision};

/// A request to take an asset down, or to lift its takedown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakedownRequest {
    /// Asset to take down or to bring back.
    pub asset_id: AssetId,
    /// The asset's revision when the request was made. At another revision a request changes nothing, however late it is
    /// applied.
    pub revision: Revision,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who asks for it: OIDC subject, Vault entity, else user@host.
    pub actor: String,
    /// Time of the request.
    pub at: Timestamp,
    /// Whether a takedown is to purge the asset's bytes. A lift ignores it.
    pub purge: bool,
}

/// The takedown of an asset's revision, as the catalog records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Takedown {
    /// Asset that was taken down.
    pub asset_id: AssetId,
    /// Revision that was taken down.
    pub revision: Revision,
    /// Why.
    pub reason: String,
    /// Who took it down.
    pub actor: String,
    /// Time it was taken down.
    #[schemars(with = "String")]
    pub revoked_at: Timestamp,
    /// Time its last step was done: `media.asset_revoked` was acknowledged. `None` while a step is left.
    #[schemars(with = "Option<String>")]
    pub completed_at: Option<Timestamp>,
    /// Time its purge was ordered: whatever is stored of it later is purged too, and it cannot be lifted.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub purged_at: Option<Timestamp>,
    /// Time it was lifted; `None` while the asset is down.
    #[schemars(with = "Option<String>")]
    pub lifted_at: Option<Timestamp>,
    /// Who lifted it.
    pub lifted_by: Option<String>,
    /// Why it was lifted.
    pub lift_reason: Option<String>,
}
