//! The search index: one document per asset and locale.

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::domain::{AssetId, MediaTypePattern, Revision, Tenant};

/// A document to be indexed. The index normalises its text.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchDocument {
    /// Asset of the document.
    pub asset_id: AssetId,
    /// Locale of the document, BCP 47.
    pub locale: String,
    /// Revision of the asset, which gives the version of the write.
    pub revision: Revision,
    /// Tenant of the asset.
    pub tenant: Tenant,
    /// Title as extracted or given.
    pub title: String,
    /// Extracted text.
    pub body: String,
    /// Names of the asset's files that are known; an index that has more of them keeps those too.
    pub names: Vec<String>,
    /// Tags with their values.
    pub tags: BTreeMap<String, String>,
    /// Collection of the asset.
    pub collection: Option<String>,
    /// Media type by content.
    pub media_type: String,
    /// Language of the text.
    pub language: Option<String>,
}

/// A search query with its filters.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Words, all of which must occur; `"…"` is a phrase, a leading `-` excludes, a trailing `*` matches a prefix.
    pub text: String,
    /// Tenant to search in.
    pub tenant: Tenant,
    /// Only assets of this collection.
    pub collection: Option<String>,
    /// Only this media type, or the types of this family.
    pub media_type: Option<MediaTypePattern>,
    /// Number of hits to skip.
    pub offset: usize,
    /// Maximum number of hits.
    pub limit: usize,
}

/// A document that matched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchHit {
    /// Asset of the document.
    pub asset_id: AssetId,
    /// Locale of the document.
    pub locale: String,
    /// Relevance; larger is better, comparable within one result only.
    pub score: f64,
    /// Title of the asset.
    pub title: String,
    /// Passage of the original text around the matches.
    pub snippet: String,
    /// Byte ranges of the matches in `snippet`.
    pub highlights: Vec<(usize, usize)>,
    /// Media type by content.
    pub media_type: String,
    /// Language of the text.
    pub language: Option<String>,
}

/// A page of search results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchPage {
    /// Hits, best first.
    pub hits: Vec<SearchHit>,
    /// Number of matching documents in all.
    pub total: u64,
}

/// The search index.
///
/// Contract: the version of a document is 2 × its revision, that of a tombstone 2 × its revision + 1. A write takes effect
/// only if its version is at least that of the existing document or tombstone (OpenSearch's `external_gte`): a document of
/// the revision that was removed, or of an earlier one, changes nothing however late it is written, and the same write again
/// succeeds. A write is durable when the call returns and visible to the next search. Persian is normalised so that each
/// spelling finds the others.
#[async_trait]
pub trait SearchIndex: Send + Sync {
    /// Indexes documents.
    async fn index(&self, documents: Vec<SearchDocument>) -> Result<()>;

    /// Replaces an asset's documents of this revision and earlier ones, all locales, with a tombstone.
    async fn remove(&self, asset: AssetId, revision: Revision) -> Result<()>;

    /// Searches. A query without a term that must match is [`super::ErrorKind::Invalid`].
    async fn search(&self, query: &SearchQuery) -> Result<SearchPage>;

    /// Whether each of these assets has a document, in order.
    async fn indexed(&self, assets: &[AssetId]) -> Result<Vec<bool>>;

    /// Number of documents, without tombstones.
    async fn count(&self) -> Result<u64>;
}
