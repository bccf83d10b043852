//! `mfctl media search`: ranked hits, with the passage that answers.

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Page, Render, Tone, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::ports::{SearchHit, SearchQuery};

/// Hits in one answer at most.
const MAX_LIMIT: usize = 1000;

/// Arguments of `mfctl media search`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
All words must occur; \"…\" holds a phrase, a leading - excludes, a trailing * matches a beginning. Spellings of Persian
find each other: Arabic and Persian letters and digits, half-spaces, diacritics. A query that begins with - goes behind --.

Examples:
  mfctl media search 'حافظ'
  mfctl media search '\"half space\" -draft' --type application/pdf
  mfctl media search 'photo*' -o name | head -1 | mfctl media show -

Exit codes: 0 searched, also when nothing was found, 2 wrong usage, 5 index not reachable, 6 nothing to look for in the
query, or no data folder")]
pub struct Args {
    /// What to look for
    #[arg(value_name = "QUERY", required = true)]
    query: Vec<String>,
    /// Hits to show, at most 1000
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Hits to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// Only in this collection
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Only this media type; one that ends in / means all of that family
    #[arg(long = "type", value_name = "TYPE")]
    media_type: Option<String>,
}

/// What `mfctl media search` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MediaSearchReport {
    /// What was looked for.
    pub query: String,
    /// How many documents match in all.
    pub total: u64,
    /// Hits skipped before the first one here.
    pub offset: usize,
    /// The hits, best first. `highlights` are byte ranges in `snippet`.
    pub hits: Vec<SearchHit>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let query = args.query.join(" ");
    let found = connected
        .ports
        .search
        .search(&SearchQuery {
            text: query.clone(),
            tenant: connected.target.tenant.clone(),
            collection: args.collection,
            media_type: args.media_type,
            offset: args.offset,
            limit: args.limit.min(MAX_LIMIT),
        })
        .await?;
    cx.out().print(&MediaSearchReport { query, total: found.total, offset: args.offset, hits: found.hits })
}

impl Render for MediaSearchReport {
    fn page(&self, page: &mut Page) {
        if self.hits.is_empty() {
            page.line(if self.total == 0 { "nothing found" } else { "no more hits" });
            return;
        }
        for (index, hit) in self.hits.iter().enumerate() {
            let title = if hit.title.is_empty() { "(no title)" } else { hit.title.as_str() };
            page.toned(format!("{}. {title}", self.offset + index + 1), Tone::Strong);
            let language = hit.language.as_deref().map(|code| format!("  {code}")).unwrap_or_default();
            page.toned(format!("   {}  {}{language}", hit.asset_id, hit.media_type), Tone::Dim);
            if !hit.snippet.is_empty() {
                page.spans(marked(hit));
            }
        }
        let last = self.offset as u64 + self.hits.len() as u64;
        let found = humane::counted(self.total, "match", "matches");
        page.blank().toned(format!("{} to {last} of {found}", self.offset + 1), Tone::Dim);
        if last < self.total {
            page.toned(format!("more with --offset {last}"), Tone::Dim);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.hits.iter().map(|hit| hit.asset_id.to_string()).collect())
    }
}

/// The snippet in parts, the matches toned. A range that does not fit the text is passed over.
fn marked(hit: &SearchHit) -> Vec<(String, Tone)> {
    let mut parts = vec![("   ".to_owned(), Tone::Plain)];
    let mut at = 0;
    for (start, end) in &hit.highlights {
        let before = (*start >= at).then(|| hit.snippet.get(at..*start)).flatten();
        if let (Some(before), Some(inside)) = (before, hit.snippet.get(*start..*end)) {
            parts.push((before.to_owned(), Tone::Plain));
            parts.push((inside.to_owned(), Tone::Warn));
            at = *end;
        }
    }
    parts.push((hit.snippet.get(at..).unwrap_or_default().to_owned(), Tone::Plain));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_keeps_its_text_whatever_the_ranges() {
        let mut hit = SearchHit {
            asset_id: "ed6de839-bf6e-5531-a0eb-2be63a35ce0a".parse().unwrap(),
            locale: "fa".into(),
            score: 1.0,
            title: "t".into(),
            snippet: "دیوان حافظ شیرازی".into(),
            highlights: vec![(11, 19)],
            media_type: "text/plain".into(),
            language: None,
        };
        for ranges in [vec![(11, 19)], vec![(0, 1), (500, 600)], vec![(19, 11)], vec![(11, 19), (0, 4)], vec![]] {
            hit.highlights = ranges;
            let text: String = marked(&hit).into_iter().map(|(text, _)| text).collect();
            assert_eq!(text.trim_start(), hit.snippet);
        }
        hit.highlights = vec![(11, 19)];
        assert!(marked(&hit).contains(&("حافظ".to_owned(), Tone::Warn)));
    }
}
