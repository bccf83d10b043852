//! Indexes and removes documents. A write of a lower version than the stored one is ignored; that a removed revision is not
//! written again is a trigger's part.

use rusqlite::{Connection, OptionalExtension, params};

use crate::db::SqlContext;
use crate::search_names;
use mfctl_core::domain::text::normalise;
use mfctl_core::domain::{AssetId, Revision};
use mfctl_core::ports::{Result, SearchDocument};

/// A document with the normalised form of its texts.
pub(super) struct NormalisedDocument {
    document: SearchDocument,
    title: String,
    tags: String,
    body: String,
}

pub(super) fn normalise_documents(documents: Vec<SearchDocument>) -> Vec<NormalisedDocument> {
    documents.into_iter().map(normalise_document).collect()
}

fn normalise_document(document: SearchDocument) -> NormalisedDocument {
    // Separated by line breaks: after a space, a tag that looks like an affix would be joined to the one before it.
    let tags = document.tags.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    let tags: Vec<&str> = tags.chain(document.collection.as_deref()).filter(|text| !text.is_empty()).collect();
    NormalisedDocument {
        title: normalise(&document.title),
        tags: normalise(&tags.join("\n")),
        body: normalise(&document.body),
        document,
    }
}

/// See [`mfctl_core::ports::SearchIndex::index`].
pub(super) fn index(tx: &Connection, documents: &[NormalisedDocument]) -> Result<()> {
    for document in documents {
        index_one(tx, document).during("index a document")?;
    }
    Ok(())
}

fn index_one(
    tx: &Connection,
    NormalisedDocument { document, title, tags, body }: &NormalisedDocument,
) -> rusqlite::Result<()> {
    let asset = document.asset_id.0.as_bytes();
    let document_id: Option<i64> = tx
        .prepare_cached(
            "INSERT INTO search_documents (asset_id, locale, revision, tenant, collection, media_type, language, title)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT DO UPDATE SET revision = excluded.revision, tenant = excluded.tenant,
                 collection = excluded.collection, media_type = excluded.media_type, language = excluded.language,
                 title = excluded.title
             WHERE excluded.revision >= revision
             RETURNING document_id",
        )?
        .query_row(
            params![
                asset,
                document.locale,
                document.revision.0,
                document.tenant.as_str(),
                document.collection,
                document.media_type,
                document.language,
                document.title,
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(document_id) = document_id else { return Ok(()) };
    tx.prepare_cached("REPLACE INTO search_bodies (document_id, body) VALUES (?1, ?2)")?
        .execute(params![document_id, document.body])?;
    tx.prepare_cached("REPLACE INTO search_words (rowid, title, tags, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![document_id, title, tags, body])?;
    search_names::write(tx, document_id, document.asset_id, &document.names)
}

/// See [`mfctl_core::ports::SearchIndex::remove`].
pub(super) fn remove(tx: &Connection, asset: AssetId, revision: Revision) -> Result<()> {
    remove_rows(tx, asset, revision).during("remove an asset's documents")
}

fn remove_rows(tx: &Connection, asset: AssetId, revision: Revision) -> rusqlite::Result<()> {
    let asset = asset.0.as_bytes();
    tx.prepare_cached(
        "INSERT INTO search_tombstones (asset_id, revision) VALUES (?1, ?2)
         ON CONFLICT DO UPDATE SET revision = max(revision, excluded.revision)",
    )?
    .execute(params![asset, revision.0])?;
    let removed: Vec<i64> = tx
        .prepare_cached("DELETE FROM search_documents WHERE asset_id = ?1 AND revision <= ?2 RETURNING document_id")?
        .query_map(params![asset, revision.0], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for document_id in removed {
        tx.prepare_cached("DELETE FROM search_bodies WHERE document_id = ?1")?.execute([document_id])?;
        tx.prepare_cached("DELETE FROM search_words WHERE rowid = ?1")?.execute([document_id])?;
        search_names::remove(tx, document_id)?;
    }
    Ok(())
}
