//! The search index in the data folder's file: FTS5 over the normalised form of [`mfctl_core::domain::text`].
//!
//! Words match in that form; snippets are cut from the original text, which is stored beside it.

mod find;
mod query;
mod write;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use self::query::QueryExpressions;
use super::db::{Db, SqlContext};
use mfctl_core::domain::text::query_terms;
use mfctl_core::domain::{AssetId, Revision};
use mfctl_core::ports::{Error, ErrorKind, Result, SearchDocument, SearchIndex, SearchPage, SearchQuery};

/// The search index of the embedded profile.
#[derive(Debug, Clone)]
pub struct SqliteSearch {
    db: Db,
}

impl SqliteSearch {
    /// The index in this file.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[async_trait]
impl SearchIndex for SqliteSearch {
    async fn index(&self, documents: Vec<SearchDocument>) -> Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        // Normalising long texts takes a while: it must block neither the async threads nor the writer.
        let documents = run_blocking(move || Ok(write::normalise_documents(documents))).await?;
        self.db.write_many("index documents", move |tx| write::index(tx, &documents)).await
    }

    async fn remove(&self, asset: AssetId, revision: Revision) -> Result<()> {
        self.db.write("remove documents", move |tx| write::remove(tx, asset, revision)).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<SearchPage> {
        let terms = query_terms(&query.text);
        let Some(words) = QueryExpressions::new(&terms) else {
            return Err(Error::new(ErrorKind::Invalid, "the query has no word to search for")
                .hint("write at least one word; `-word` only excludes"));
        };
        let query = query.clone();
        let matches = self.db.read("search", move |connection| find::find(connection, &query, &words)).await?;
        run_blocking(move || Ok(find::to_page(matches, &terms))).await
    }

    async fn indexed(&self, assets: &[AssetId]) -> Result<Vec<bool>> {
        let assets = assets.to_vec();
        self.db.read("check for documents", move |connection| indexed(connection, &assets)).await
    }

    async fn count(&self) -> Result<u64> {
        self.db
            .read("count documents", |connection| {
                connection
                    .query_row("SELECT count(*) FROM search_documents", [], |row| row.get::<_, i64>(0))
                    .map(i64::unsigned_abs)
                    .during("count documents")
            })
            .await
    }
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| Error::new(ErrorKind::Internal, "prepare text").because(error))?
}

fn indexed(connection: &Connection, assets: &[AssetId]) -> Result<Vec<bool>> {
    let what = "check for documents";
    let mut select =
        connection.prepare_cached("SELECT 1 FROM search_documents WHERE asset_id = ?1 LIMIT 1").during(what)?;
    let mut indexed = Vec::with_capacity(assets.len());
    for asset in assets {
        indexed.push(select.query_row([asset.0.as_bytes()], |_| Ok(())).optional().during(what)?.is_some());
    }
    Ok(indexed)
}
