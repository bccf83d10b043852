//! Finds and ranks documents, and cuts the snippet that matches the query.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::query::QueryExpressions;
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
/// The BM25 weight of the names of files.
const NAMES_WEIGHT: &str = "4.0";

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

/// The requested page of matches.
pub(super) fn find(connection: &Connection, query: &SearchQuery, words: &QueryExpressions) -> Result<IndexMatches> {
    let what = "search";
    let mut statement = SearchStatement::default();
    let arms = statement.arms(query, words);
    let counts = arms.each_ref().map(|arm| format!("(SELECT count(*) {})", arm.from));
    let total: i64 = connection
        .prepare_cached(&format!("SELECT {}", counts.join(" + ")))
        .and_then(|mut select| select.query_row(params_from_iter(&statement.values), |row| row.get(0)))
        .during(what)?;
    let number = |number: usize| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let page_limit = query.limit.min(MAX_PAGE_HITS);
    let limit = statement.value(number(page_limit));
    let offset = statement.value(number(query.offset));
    let enough = statement.value(number(query.offset.saturating_add(page_limit)));
    // No more of each are kept than the page can need.
    let ranked = arms.each_ref().map(|arm| {
        format!(
            "SELECT * FROM (SELECT d.*, {} AS score {} ORDER BY score DESC, d.asset_id, d.locale LIMIT {enough})",
            arm.score, arm.from
        )
    });
    let ranked = format!(
        "SELECT asset_id, locale, score, title, media_type, language, substr(body, 1, {MAX_SNIPPET_SOURCE})
         FROM (SELECT * FROM ({}) ORDER BY score DESC, asset_id, locale LIMIT {limit} OFFSET {offset})
         JOIN search_bodies USING (document_id) ORDER BY score DESC, asset_id, locale",
        ranked.join(" UNION ALL ")
    );
    let documents = connection
        .prepare_cached(&ranked)
        .and_then(|mut select| select.query_map(params_from_iter(&statement.values), matched_document)?.collect())
        .during(what)?;
    Ok(IndexMatches { documents, total: total.unsigned_abs() })
}

/// Documents that match in one way; no document does in both.
struct MatchArm {
    /// The source of its rows, with all conditions.
    from: String,
    /// The score of a row.
    score: String,
}

/// The parameter values of a statement that is being put together.
#[derive(Default)]
struct SearchStatement {
    values: Vec<Value>,
}

impl SearchStatement {
    /// The parameter with this value.
    fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    fn text(&mut self, text: impl Into<String>) -> String {
        self.value(Value::Text(text.into()))
    }

    /// The documents with every word in their texts; and those of whose words a name of a file has at least one, the names and
    /// the texts together having all.
    ///
    /// The rows of a word are read once, as a list (`+` keeps a list from being looked up row by row).
    fn arms(&mut self, query: &SearchQuery, words: &QueryExpressions) -> [MatchArm; 2] {
        let all = self.text(words.all());
        let any = self.text(words.any());
        let in_words = |expression: &str| format!("SELECT rowid FROM search_words({expression})");
        let in_names = |expression: &str| format!("SELECT rowid FROM search_names({expression})");
        let in_either = |expression: &str| format!("{} UNION ALL {}", in_names(expression), in_words(expression));
        let mut by_text = String::new();
        let mut by_name = format!(" AND +search_names.rowid NOT IN ({})", in_words(&all));
        if words.included.len() > 1 {
            for term in &words.included {
                let term = self.text(term.as_str());
                by_name.push_str(&format!(" AND +search_names.rowid IN ({})", in_either(&term)));
            }
        }
        if let Some(excluded) = &words.excluded {
            let excluded = self.text(excluded.as_str());
            by_text = format!(" AND +search_words.rowid NOT IN ({})", in_names(&excluded));
            by_name.push_str(&format!(" AND +search_names.rowid NOT IN ({})", in_either(&excluded)));
        }
        let filter = self.filter(query);
        let arm = |table: &str, expression: &str, conditions: &str, weights: &str| MatchArm {
            from: format!(
                "FROM {table} JOIN search_documents AS d ON d.document_id = {table}.rowid
                 WHERE {table} MATCH {expression}{conditions} {filter}"
            ),
            score: format!("-bm25({table}, {weights})"),
        };
        [arm("search_words", &all, &by_text, BM25_WEIGHTS), arm("search_names", &any, &by_name, NAMES_WEIGHT)]
    }

    /// The conditions other than the words.
    fn filter(&mut self, query: &SearchQuery) -> String {
        let mut sql = format!("AND d.tenant = {}", self.text(query.tenant.to_string()));
        if let Some(collection) = &query.collection {
            sql.push_str(&format!(" AND d.collection = {}", self.text(collection.as_str())));
        }
        if let Some(media_type) = &query.media_type {
            let number = self.text(media_type.as_str());
            sql.push_str(&if media_type.is_family() {
                format!(" AND substr(d.media_type, 1, length({number})) = {number}")
            } else {
                format!(" AND d.media_type = {number}")
            });
        }
        sql
    }
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
