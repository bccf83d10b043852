//! `mfctl media search`: prints ranked hits with the matching passage.

use std::collections::BTreeMap;

use clap::Args as ClapArgs;
use clap::builder::RangedU64ValueParser;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::{AssetNames, asset_names};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::nul_names::NulNames;
use crate::cli::output::{Render, TextPage, Tone, humane};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::{AssetState, MediaTypePattern};
use mfctl_core::ports::{Catalog, SearchHit, SearchQuery};

/// Maximum number of hits of one search.
const MAX_LIMIT: u64 = 1000;

/// Arguments of `mfctl media search`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
All words must match. \"…\" is a phrase, a leading - excludes a word, a trailing * matches a prefix. Variants of Persian
spelling match each other: Arabic and Persian letters and digits, half-spaces, diacritics. A query that begins with - goes
after --.

Examples:
  mfctl media search 'حافظ'
  mfctl media search '\"half space\" -draft' --type application/pdf
  mfctl media search 'photo*' -o name | head -1 | mfctl media show -

Exit codes: 0 searched, with or without hits, 2 wrong usage, 5 index not reachable, 6 the query has no search term, or no
data folder")]
pub struct Args {
    /// Search terms
    #[arg(value_name = "QUERY", required = true)]
    query: Vec<String>,
    /// Number of hits to show, at most 1000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = limit_parser())]
    limit: usize,
    /// Number of hits to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// Only assets of this collection
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::collections))]
    collection: Option<String>,
    /// Only this media type: application/pdf, image/*
    #[arg(long = "type", value_name = "TYPE")]
    media_type: Option<MediaTypePattern>,
    #[command(flatten)]
    nul_names: NulNames,
}

fn limit_parser() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(..=MAX_LIMIT)
}

/// A hit with the names of the asset's files.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MediaHit {
    /// The hit.
    #[serde(flatten)]
    pub hit: SearchHit,
    /// The names.
    #[serde(flatten)]
    pub names: AssetNames,
}

/// The output of `mfctl media search`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MediaSearchReport {
    /// The query, its words joined by spaces.
    pub query: String,
    /// Number of documents that match.
    pub total: u64,
    /// Number of hits that were skipped.
    pub offset: usize,
    /// The hits, best first. `highlights` are byte ranges in `snippet`.
    pub hits: Vec<MediaHit>,
    /// Assets, of all tenants, that no search finds yet, because they wait to be enriched. Counted only where nothing
    /// matched; `None` otherwise, and where the catalog could not be read.
    pub not_searchable: Option<u64>,
    /// Assets, of all tenants, that a stage dead-lettered and has not processed since: they wait again once redriven.
    /// Counted where `not_searchable` is.
    pub dead_lettered: Option<u64>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    args.nul_names.apply(cx.out())?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let query = args.query.join(" ");
    let results = connected
        .ports
        .search
        .search(&SearchQuery {
            text: query.clone(),
            tenant: connected.target.tenant.clone(),
            collection: args.collection,
            media_type: args.media_type,
            offset: args.offset,
            limit: args.limit,
        })
        .await?;
    let not_enriched = match results.total {
        0 => not_enriched(connected.ports.catalog.as_ref(), cx).await,
        _ => None,
    };
    let ids: Vec<_> = results.hits.iter().map(|hit| hit.asset_id).collect();
    let names = asset_names(&ids, &connected, cx.out()).await?;
    let hits = results.hits.into_iter().zip(names).map(|(hit, names)| MediaHit { hit, names }).collect();
    cx.out().print(&MediaSearchReport {
        query,
        total: results.total,
        offset: args.offset,
        hits,
        not_searchable: not_enriched.as_ref().map(|counts| counts.waiting),
        dead_lettered: not_enriched.as_ref().map(|counts| counts.dead_lettered),
    })
}

/// Numbers of assets that are not enriched.
struct NotEnriched {
    waiting: u64,
    dead_lettered: u64,
}

/// Counts the assets that are not enriched; `None`, with a note, where they cannot be read.
async fn not_enriched(catalog: &dyn Catalog, cx: &Context) -> Option<NotEnriched> {
    match catalog.summary().await {
        Ok(summary) => {
            let not_enriched = |counts: &BTreeMap<String, u64>| -> u64 {
                let states = [AssetState::Staged, AssetState::Ingested];
                states.iter().filter_map(|state| counts.get(state.as_str())).sum()
            };
            let dead_lettered = not_enriched(&summary.dead_lettered_by_state);
            let waiting = not_enriched(&summary.by_state).saturating_sub(dead_lettered);
            Some(NotEnriched { waiting, dead_lettered })
        }
        Err(error) => {
            cx.out().note(format!("whether assets are not searchable yet is not known: {}", error.full()));
            None
        }
    }
}

impl Render for MediaSearchReport {
    fn page(&self, page: &mut TextPage) {
        if self.hits.is_empty() {
            let total = humane::counted(self.total, "match", "matches");
            page.line(match self.total {
                0 => "no hits".to_owned(),
                all if self.offset as u64 >= all => format!("no more hits: {total} in all"),
                _ => total,
            });
            if let Some(waiting) = self.not_searchable.filter(|count| *count > 0) {
                let (are, wait) = if waiting == 1 { ("asset is", "it waits") } else { ("assets are", "they wait") };
                let count = humane::count(waiting);
                page.toned(
                    format!("{count} {are} not searchable yet: `mfctl status` shows what {wait} for"),
                    Tone::Warn,
                );
            }
            if let Some(dead_lettered) = self.dead_lettered.filter(|count| *count > 0) {
                let failed = humane::counted(
                    dead_lettered,
                    "asset is not searchable: a stage dead-lettered it and has not processed it since",
                    "assets are not searchable: a stage dead-lettered them and has not processed them since",
                );
                page.toned(format!("{failed}; `mfctl media list --dead-lettered` lists them"), Tone::Warn);
            }
            return;
        }
        for (index, MediaHit { hit, names }) in self.hits.iter().enumerate() {
            let title = if hit.title.is_empty() { "(no title)" } else { hit.title.as_str() };
            page.toned(format!("{}. {title}", self.offset + index + 1), Tone::Strong);
            let language = hit.language.as_deref().map(|code| format!("  {code}")).unwrap_or_default();
            page.toned(format!("   {}  {}{language}", hit.asset_id, hit.media_type), Tone::Dim);
            if let Some(name) = names.name_and_count() {
                page.toned(format!("   {name}"), Tone::Dim);
            }
            if !hit.snippet.is_empty() {
                page.spans(highlighted_snippet(hit));
            }
        }
        let last = self.offset as u64 + self.hits.len() as u64;
        let total = humane::counted(self.total, "match", "matches");
        page.blank().toned(format!("{} to {last} of {total}", self.offset + 1), Tone::Dim);
        if last < self.total {
            page.toned(format!("more with --offset {last}"), Tone::Dim);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.hits.iter().map(|found| found.hit.asset_id.to_string()).collect())
    }
}

/// The snippet, split into plain text and highlighted matches. A range that is not within the text is ignored.
fn highlighted_snippet(hit: &SearchHit) -> Vec<(String, Tone)> {
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
    use crate::cli::output::Layout;

    #[test]
    fn assets_that_wait_and_dead_lettered_ones_are_counted_apart() {
        let page = |not_searchable, dead_lettered| {
            let report = MediaSearchReport {
                query: "x".to_owned(),
                total: 0,
                offset: 0,
                hits: Vec::new(),
                not_searchable: Some(not_searchable),
                dead_lettered: Some(dead_lettered),
            };
            let mut page = TextPage::default();
            report.page(&mut page);
            page.render(Layout { width: None, color: false })
        };
        assert_eq!(page(0, 0), "no hits\n");
        assert_eq!(
            page(1, 2),
            "no hits\n1 asset is not searchable yet: `mfctl status` shows what it waits for\n\
             2 assets are not searchable: a stage dead-lettered them and has not processed them since; \
             `mfctl media list --dead-lettered` lists them\n"
        );
        assert!(!page(0, 1).contains("yet"));
    }

    #[test]
    fn highlighting_keeps_the_text_for_any_ranges() {
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
            let text: String = highlighted_snippet(&hit).into_iter().map(|(text, _)| text).collect();
            assert_eq!(text.trim_start(), hit.snippet);
        }
        hit.highlights = vec![(11, 19)];
        assert!(highlighted_snippet(&hit).contains(&("حافظ".to_owned(), Tone::Warn)));
    }
}
