//! The search index: one document per asset and locale.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::{AssetId, Revision, Tenant};

/// A document to be indexed. Text is given as it is; the index normalises it.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchDocument {
    /// The asset.
    pub asset_id: AssetId,
    /// The locale.
    pub locale: String,
    /// The asset's revision: the external version of the write.
    pub revision: Revision,
    /// The asset's tenant.
    pub tenant: Tenant,
    /// Its title.
    pub title: String,
    /// Its text.
    pub body: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its collection.
    pub collection: Option<String>,
    /// Its type.
    pub media_type: String,
    /// The language of its text.
    pub language: Option<String>,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Words, all of which must occur; `"…"` holds a phrase, a leading `-` excludes, a trailing `*` matches a beginning.
    pub text: String,
    /// In this tenant.
    pub tenant: Tenant,
    /// Only this collection.
    pub collection: Option<String>,
    /// Only this type; `image/` means all of that family.
    pub media_type: Option<String>,
    /// Hits to skip.
    pub offset: usize,
    /// Hits at most.
    pub limit: usize,
}

/// A document that matched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchHit {
    /// The asset.
    pub asset_id: AssetId,
    /// The locale of the document.
    pub locale: String,
    /// How well it matches; larger is better, comparable within one answer only.
    pub score: f64,
    /// Its title.
    pub title: String,
    /// A passage of its original text around the matches.
    pub snippet: String,
    /// Byte ranges of the matches in `snippet`.
    pub highlights: Vec<(usize, usize)>,
    /// Its type.
    pub media_type: String,
    /// The language of its text.
    pub language: Option<String>,
}

/// Hits, best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchPage {
    /// The hits.
    pub hits: Vec<SearchHit>,
    /// How many documents matched in all.
    pub total: u64,
}

/// The index.
///
/// Contract: a write takes effect only if its revision is at least that of the document there, a tombstone's included
/// (OpenSearch's `external_gte`); it is durable when the call returns and found by the next search. Persian is
/// normalised so that each spelling finds the others.
#[async_trait]
pub trait SearchIndex: Send + Sync {
    /// Writes documents.
    async fn index(&self, documents: Vec<SearchDocument>) -> Result<()>;

    /// Replaces an asset's documents, all locales, with tombstones of this revision.
    async fn remove(&self, asset: AssetId, revision: Revision) -> Result<()>;

    /// Searches. Text that holds nothing to look for is [`super::ErrorKind::Invalid`].
    async fn search(&self, query: &SearchQuery) -> Result<SearchPage>;

    /// Which of these assets have a document, in order.
    async fn indexed(&self, assets: &[AssetId]) -> Result<Vec<bool>>;

    /// Documents, tombstones not counted.
    async fn count(&self) -> Result<u64>;
}
