//! Compares tables of the data folder's file that repeat or refer to each other. SQLite finds no fault in a row whose bytes
//! are valid but wrong; this does, and names it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row};
use uuid::Uuid;

use crate::db::SqlContext;
use crate::sql::variant_index;
use mfctl_core::domain::{AssetState, Sha256};
use mfctl_core::ports::{MAX_DAMAGE, Result};

/// Texts that are hashed in one read transaction.
const PAGE_TEXTS: i64 = 256;

/// Rows that refer to a row that does not exist, one sentence each.
pub(super) fn broken_references(connection: &Connection) -> Result<Vec<String>> {
    let row = |row: &Row<'_>| {
        let table: String = row.get(0)?;
        let row_id: Option<i64> = row.get(1)?;
        let parent: String = row.get(2)?;
        let which = row_id.map_or_else(|| "a row".to_owned(), |id| format!("row {id}"));
        Ok(format!("{which} of table {table} refers to a row of {parent} that does not exist"))
    };
    sentences(connection, "PRAGMA foreign_key_check", row).during("check references between tables")
}

/// Counts of assets that are not those of the catalog, one sentence each.
pub(super) fn wrong_totals(connection: &Connection) -> Result<Vec<String>> {
    let what = "compare the counts of assets";
    let recorded = totals(connection, "SELECT state, dead_lettered, assets, bytes FROM media_totals").during(what)?;
    let counted = "SELECT state, dead_lettered IS NOT NULL AS dead, count(*), sum(size_bytes) FROM media_assets GROUP BY state, dead";
    let counted = totals(connection, counted).during(what)?;
    let keys: BTreeSet<_> = recorded.keys().chain(counted.keys()).copied().collect();
    let wrong = keys.into_iter().filter_map(|key| {
        let found = counted.get(&key).copied().unwrap_or_default();
        let said = recorded.get(&key).copied().unwrap_or_default();
        (found != said).then(|| format!("{}: {said} recorded, the catalog has {found}", total_name(key)))
    });
    Ok(wrong.collect())
}

/// Number of assets, and of their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Total {
    assets: i64,
    bytes: i64,
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} assets with {} bytes", self.assets, self.bytes)
    }
}

/// Totals by state and whether the assets are dead-lettered.
fn totals(connection: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<(i64, bool), Total>> {
    let mut select = connection.prepare(sql)?;
    let rows = select.query_map([], |row| {
        let key = (row.get(0)?, row.get(1)?);
        Ok((key, Total { assets: row.get(2)?, bytes: row.get(3)? }))
    })?;
    rows.collect()
}

fn total_name((state, is_dead_lettered): (i64, bool)) -> String {
    let known = usize::try_from(state).ok().and_then(|index| AssetState::ALL.get(index));
    let state = known.map_or_else(|| format!("in state {state}"), ToString::to_string);
    let dead_lettered = if is_dead_lettered { " and dead-lettered" } else { "" };
    format!("table media_totals, assets {state}{dead_lettered}")
}

/// Search documents without a text, words or an asset, and texts and words without a document, one sentence each.
pub(super) fn incomplete_documents(connection: &Connection) -> Result<Vec<String>> {
    let what = "compare the parts of the search index";
    let of_document = |lacks: &'static str| move |row: &Row<'_>| Ok(format!("{} {lacks}", document_name(row)?));
    let unowned = |part: &'static str| {
        move |row: &Row<'_>| Ok(format!("row {} of table {part} belongs to no search document", row.get::<_, i64>(0)?))
    };
    let mut found = Vec::new();
    for (part, id, lacks) in [
        ("search_bodies", "document_id", "has no text in table search_bodies"),
        ("search_words_docsize", "id", "has no words in table search_words"),
    ] {
        let sql =
            format!("SELECT asset_id, locale FROM search_documents WHERE document_id NOT IN (SELECT {id} FROM {part})");
        found.extend(sentences(connection, &sql, of_document(lacks)).during(what)?);
        let sql = format!("SELECT {id} FROM {part} WHERE {id} NOT IN (SELECT document_id FROM search_documents)");
        found.extend(sentences(connection, &sql, unowned(part)).during(what)?);
    }
    // In a cluster profile, this file has no assets.
    let sql = "SELECT asset_id, locale FROM search_documents
               WHERE asset_id NOT IN (SELECT asset_id FROM media_assets) AND EXISTS (SELECT 1 FROM media_assets)";
    found.extend(sentences(connection, sql, of_document("has no asset in the catalog")).during(what)?);
    Ok(found)
}

/// A part of the texts that were compared with the catalog.
pub(super) struct ComparedTexts {
    /// Those that differ, one sentence each.
    pub(super) damage: Vec<String>,
    /// The last document; `None` at the end.
    pub(super) last: Option<i64>,
}

/// Compares the texts of the documents after this one with the SHA-256 that the catalog has of them. Those of earlier
/// releases have none.
pub(super) fn compare_texts(connection: &Connection, after: i64) -> Result<ComparedTexts> {
    let sql = "SELECT d.asset_id, d.locale, b.body, a.facts ->> '$.text_sha256', d.document_id
               FROM search_documents AS d JOIN search_bodies AS b USING (document_id)
               JOIN media_assets AS a ON a.asset_id = d.asset_id AND a.revision = d.revision
               WHERE d.document_id > ?1 AND a.state = ?2 AND json_valid(a.facts) ORDER BY d.document_id LIMIT ?3";
    let enriched = variant_index(AssetState::ALL, &AssetState::Enriched);
    let compare = || {
        let mut compared = ComparedTexts { damage: Vec::new(), last: None };
        let mut select = connection.prepare_cached(sql)?;
        let mut rows = select.query((after, enriched, PAGE_TEXTS))?;
        while let Some(row) = rows.next()? {
            let found = Sha256::of(row.get_ref(2)?.as_bytes()?).to_string();
            let recorded: Option<String> = row.get(3)?;
            if let Some(recorded) = recorded.filter(|recorded| *recorded != found) {
                let document = document_name(row)?;
                compared
                    .damage
                    .push(format!("{document} has a text with SHA-256 {found}, the catalog says {recorded}"));
            }
            compared.last = Some(row.get(4)?);
        }
        Ok::<_, rusqlite::Error>(compared)
    };
    compare().during("compare the texts of the search index")
}

/// A search document, by the first two columns: asset and locale.
fn document_name(row: &Row<'_>) -> rusqlite::Result<String> {
    let asset: Vec<u8> = row.get(0)?;
    let locale: String = row.get(1)?;
    let asset = Uuid::from_slice(&asset).map_or_else(|_| format!("{asset:02x?}"), |asset| asset.to_string());
    Ok(format!("the search document of asset {asset} ({locale})"))
}

/// One sentence for each row, at most [`MAX_DAMAGE`].
fn sentences(
    connection: &Connection,
    sql: &str,
    sentence: impl FnMut(&Row<'_>) -> rusqlite::Result<String>,
) -> rusqlite::Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], sentence)?.take(MAX_DAMAGE).collect()
}
