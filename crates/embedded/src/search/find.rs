//! Documents found, ranked, and shown with the passage that answers the query.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::db::SqlContext;
use crate::sql::Cells;
use mfctl_core::domain::AssetId;
use mfctl_core::domain::text::{QueryTerm, excerpt, snippet};
use mfctl_core::ports::{Result, SearchHit, SearchPage, SearchQuery};

/// Hits of one answer at most.
const MOST_HITS: usize = 1_000;
/// Characters of a snippet at most.
const SNIPPET_CHARS: usize = 240;
/// Bytes of a text that a snippet is looked for in: a page of hits must not cost the reading of whole books.
const SNIPPET_BYTES: usize = 512 * 1024;
/// What a word in the title, the tags and the body counts.
const WEIGHTS: &str = "10.0, 4.0, 1.0";

/// What the index found, before it is cut for a reader.
pub(super) struct Found {
    hits: Vec<Hit>,
    total: u64,
}

struct Hit {
    asset_id: AssetId,
    locale: String,
    score: f64,
    title: String,
    media_type: String,
    language: Option<String>,
    body: String,
}

pub(super) fn find(connection: &Connection, query: &SearchQuery, words: &str) -> Result<Found> {
    let what = "search";
    let (filter, mut values) = filter(query, words);
    let from = "FROM search_words JOIN search_documents AS d ON d.document_id = search_words.rowid
                WHERE search_words MATCH ?1";
    let total: i64 = connection
        .prepare_cached(&format!("SELECT count(*) {from} {filter}"))
        .and_then(|mut select| select.query_row(params_from_iter(&values), |row| row.get(0)))
        .during(what)?;
    let page = [query.limit.min(MOST_HITS), query.offset];
    values.extend(page.map(|number| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))));
    let (limit, offset) = (values.len() - 1, values.len());
    let ranked = format!(
        "SELECT asset_id, locale, score, title, media_type, language, substr(body, 1, {SNIPPET_BYTES})
         FROM (SELECT d.*, -bm25(search_words, {WEIGHTS}) AS score {from} {filter}
               ORDER BY score DESC, d.asset_id, d.locale LIMIT ?{limit} OFFSET ?{offset})
         JOIN search_bodies USING (document_id) ORDER BY score DESC, asset_id, locale"
    );
    let hits = connection
        .prepare_cached(&ranked)
        .and_then(|mut select| select.query_map(params_from_iter(&values), hit)?.collect())
        .during(what)?;
    Ok(Found { hits, total: total.unsigned_abs() })
}

/// Conditions beside the words, and all the values so far, the words first.
fn filter(query: &SearchQuery, words: &str) -> (String, Vec<Value>) {
    let mut values = vec![Value::Text(words.to_owned()), Value::Text(query.tenant.to_string())];
    let mut sql = "AND d.tenant = ?2".to_owned();
    if let Some(collection) = &query.collection {
        values.push(Value::Text(collection.clone()));
        sql.push_str(&format!(" AND d.collection = ?{}", values.len()));
    }
    if let Some(media_type) = &query.media_type {
        values.push(Value::Text(media_type.clone()));
        let number = values.len();
        sql.push_str(&if media_type.ends_with('/') {
            format!(" AND substr(d.media_type, 1, length(?{number})) = ?{number}")
        } else {
            format!(" AND d.media_type = ?{number}")
        });
    }
    (sql, values)
}

fn hit(row: &Row<'_>) -> rusqlite::Result<Hit> {
    let mut cells = Cells::of(row);
    Ok(Hit {
        asset_id: cells.id(AssetId)?,
        locale: cells.plain()?,
        score: cells.plain()?,
        title: cells.plain()?,
        media_type: cells.plain()?,
        language: cells.plain()?,
        body: cells.plain()?,
    })
}

/// Cuts and marks the passages, away from the database.
pub(super) fn present(found: Found, terms: &[QueryTerm]) -> SearchPage {
    let hits = found.hits.into_iter().map(|hit| present_one(hit, terms)).collect();
    SearchPage { hits, total: found.total }
}

fn present_one(hit: Hit, terms: &[QueryTerm]) -> SearchHit {
    let (snippet, highlights) = match snippet(&hit.body, terms, SNIPPET_CHARS) {
        Some(found) => (found.text, found.highlights.into_iter().map(|range| (range.start, range.end)).collect()),
        // Only the title or the tags answer.
        None => (excerpt(&hit.body, SNIPPET_CHARS), Vec::new()),
    };
    SearchHit {
        asset_id: hit.asset_id,
        locale: hit.locale,
        score: hit.score,
        title: hit.title,
        snippet,
        highlights,
        media_type: hit.media_type,
        language: hit.language,
    }
}
