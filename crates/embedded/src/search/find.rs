//! Finds and ranks documents, and cuts the snippet that matches the query.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::db::SqlContext;
use crate::sql::RowReader;
use mfctl_core::domain::AssetId;
use mfctl_core::domain::text::{QueryTerm, excerpt, snippet};
use mfctl_core::ports::{Result, SearchHit, SearchPage, SearchQuery};

/// Hits on one page at most.
const MAX_PAGE_HITS: usize = 1_000;
/// Characters of a snippet at most.
const MAX_SNIPPET_CHARS: usize = 240;
/// Characters of a body that are searched for a snippet, so that a page of hits does not read whole books.
const MAX_SNIPPET_SOURCE: usize = 512 * 1024;
/// The BM25 weights of title, tags and body.
const BM25_WEIGHTS: &str = "10.0, 4.0, 1.0";

/// One page of matches, before their snippets are cut.
pub(super) struct IndexMatches {
    documents: Vec<MatchedDocument>,
    total: u64,
}

struct MatchedDocument {
    asset_id: AssetId,
    locale: String,
    score: f64,
    title: String,
    media_type: String,
    language: Option<String>,
    body: String,
}

/// The requested page of matches; `words` is an FTS5 expression.
pub(super) fn find(connection: &Connection, query: &SearchQuery, words: &str) -> Result<IndexMatches> {
    let what = "search";
    let (filter, mut values) = filter(query, words);
    let from = "FROM search_words JOIN search_documents AS d ON d.document_id = search_words.rowid
                WHERE search_words MATCH ?1";
    let total: i64 = connection
        .prepare_cached(&format!("SELECT count(*) {from} {filter}"))
        .and_then(|mut select| select.query_row(params_from_iter(&values), |row| row.get(0)))
        .during(what)?;
    let page = [query.limit.min(MAX_PAGE_HITS), query.offset];
    values.extend(page.map(|number| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))));
    let limit = values.len() - 1;
    let offset = values.len();
    let ranked = format!(
        "SELECT asset_id, locale, score, title, media_type, language, substr(body, 1, {MAX_SNIPPET_SOURCE})
         FROM (SELECT d.*, -bm25(search_words, {BM25_WEIGHTS}) AS score {from} {filter}
               ORDER BY score DESC, d.asset_id, d.locale LIMIT ?{limit} OFFSET ?{offset})
         JOIN search_bodies USING (document_id) ORDER BY score DESC, asset_id, locale"
    );
    let documents = connection
        .prepare_cached(&ranked)
        .and_then(|mut select| select.query_map(params_from_iter(&values), matched_document)?.collect())
        .during(what)?;
    Ok(IndexMatches { documents, total: total.unsigned_abs() })
}

/// The conditions other than the words, and the parameter values; the words are the first value.
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

fn matched_document(row: &Row<'_>) -> rusqlite::Result<MatchedDocument> {
    let mut columns = RowReader::new(row);
    Ok(MatchedDocument {
        asset_id: columns.id(AssetId)?,
        locale: columns.get()?,
        score: columns.get()?,
        title: columns.get()?,
        media_type: columns.get()?,
        language: columns.get()?,
        body: columns.get()?,
    })
}

/// Cuts the snippets. Needs no database, but reads up to [`MAX_SNIPPET_SOURCE`] of each body.
pub(super) fn to_page(matches: IndexMatches, terms: &[QueryTerm]) -> SearchPage {
    let hits = matches.documents.into_iter().map(|document| to_hit(document, terms)).collect();
    SearchPage { hits, total: matches.total }
}

fn to_hit(document: MatchedDocument, terms: &[QueryTerm]) -> SearchHit {
    let (snippet, highlights) = match snippet(&document.body, terms, MAX_SNIPPET_CHARS) {
        Some(snippet) => (snippet.text, snippet.highlights.into_iter().map(|range| (range.start, range.end)).collect()),
        // Only the title or the tags match.
        None => (excerpt(&document.body, MAX_SNIPPET_CHARS), Vec::new()),
    };
    SearchHit {
        asset_id: document.asset_id,
        locale: document.locale,
        score: document.score,
        title: document.title,
        snippet,
        highlights,
        media_type: document.media_type,
        language: document.language,
    }
}
