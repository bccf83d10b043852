//! The names of assets' files in the search index: those that come with a document, and those of the catalog's sources where
//! the catalog is in the same file. Reads and writes tables alone, for the search index, the catalog and the migration.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use mfctl_core::domain::text::normalise;
use mfctl_core::domain::{AssetId, SourcePath};

/// Sources of an asset whose names are indexed: an asset may have very many, and its names are written together.
const MAX_SOURCES: usize = 1000;

/// Writes the names of a document.
pub(crate) fn write(tx: &Connection, document_id: i64, asset: AssetId, given: &[String]) -> rusqlite::Result<()> {
    let mut names = source_names(tx, asset)?;
    names.extend(given.iter().cloned());
    let names: Vec<String> = names.iter().map(|name| normalise(name)).collect();
    tx.prepare_cached("REPLACE INTO search_names (rowid, names) VALUES (?1, ?2)")?
        .execute(params![document_id, names.join("\n")])?;
    Ok(())
}

/// Writes the names of an asset's documents again, if there are any, after a source was added.
pub(crate) fn add_source(tx: &Connection, asset: AssetId) -> rusqlite::Result<()> {
    let documents: Vec<i64> = tx
        .prepare_cached("SELECT document_id FROM search_documents WHERE asset_id = ?1")?
        .query_map([asset.0.as_bytes()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if documents.is_empty() || has_more_sources(tx, asset)? {
        return Ok(());
    }
    for document_id in documents {
        write(tx, document_id, asset, &[])?;
    }
    Ok(())
}

/// Writes the names of every document: for a folder whose documents were written by an earlier version.
pub(crate) fn fill(tx: &Connection) -> rusqlite::Result<()> {
    let mut select = tx.prepare("SELECT document_id, asset_id FROM search_documents")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        // A damaged row must not stop the migration; `audit` names it.
        let Some(asset) = row.get_ref(1)?.as_blob().ok().and_then(|id| uuid::Uuid::from_slice(id).ok()) else {
            continue;
        };
        write(tx, row.get(0)?, AssetId(asset), &[])?;
    }
    Ok(())
}

/// Removes the names of a document.
pub(crate) fn remove(tx: &Connection, document_id: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM search_names WHERE rowid = ?1")?.execute([document_id])?;
    Ok(())
}

/// The names in the catalog's sources; there are none where the catalog is on a server.
fn source_names(tx: &Connection, asset: AssetId) -> rusqlite::Result<BTreeSet<String>> {
    tx.prepare_cached("SELECT path FROM media_sources WHERE asset_id = ?1 ORDER BY seen_at LIMIT ?2")?
        .query_map(params![asset.0.as_bytes(), MAX_SOURCES as i64], |row| Ok(row.get_ref(0)?.as_bytes()?.to_vec()))?
        .map(|path| Ok(SourcePath::from_text(String::from_utf8_lossy(&path?)).file_name().to_owned()))
        .collect()
}

/// Whether an asset has more sources than are indexed.
fn has_more_sources(tx: &Connection, asset: AssetId) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM media_sources WHERE asset_id = ?1 LIMIT 1 OFFSET ?2")?
        .exists(params![asset.0.as_bytes(), MAX_SOURCES as i64])
}
