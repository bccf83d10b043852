//! `mfctl media list`: lists assets that match a filter, page by page, by id or sorted.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::str::FromStr;

use clap::{Args as ClapArgs, ValueEnum};
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::{AssetNames, asset_names, display_title};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::ids;
use crate::cli::nul_names::NulNames;
use crate::cli::output::{Cell, Column, ListItem, Tone, humane};
use crate::cli::since::Since;
use crate::ops::status::unread_summary;
use crate::ops::target::DataDirMode;
use mfctl_core::domain::{Asset, AssetState, IdPrefix, MediaTypePattern, NameGlob, Timestamp};
use mfctl_core::ports::{AssetFilter, AssetOrder, AssetSortKey, UnreadCount};

/// Assets per catalog query.
const PAGE_SIZE: usize = 500;
/// Most assets of a sorted list: they are kept in memory.
const MAX_SORTED: usize = 10_000;

/// Arguments of `mfctl media list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The name of an asset is that of the file by which its bytes were ingested first: that of the first job, and of its files the
first by their paths. --name finds it by the name of any of its files. A pattern without a slash is compared with names,
one with a slash with the ends of paths; * matches anything but a slash, ? one character, [a-z] one of these, {a,b} a or b,
** any number of folders.

A sorted list reads every matching asset, and shows at most 10000 of them at a time.

Examples:
  mfctl media list                                    the first 100 assets
  mfctl media list --name '*.pdf' --sort size         the largest PDF files
  mfctl media list --name 'poems/**/*.{txt,html}' -o wide
  mfctl media list --state enriched --type 'image/*'  enriched images of any format
  mfctl media list --dead-lettered -o name | head
  mfctl media list --name '*.pdf' -0 -o name | xargs -0 -n1 mfctl media show
  mfctl media list --tag project=atlas --since 2d --all -o jsonl

Exit codes: 0 listed, 2 wrong usage, 5 catalog not reachable, 6 no data folder")]
pub struct Args {
    /// Only assets in this state: staged, ingested, enriched or revoked; without it, none that is revoked
    #[arg(long, value_name = "STATE", add = ArgValueCandidates::new(complete::asset_states))]
    state: Option<AssetState>,
    /// Only assets that a stage dead-lettered and has not processed since, also if the dead letter was discarded
    #[arg(long)]
    dead_lettered: bool,
    /// Only this media type: application/pdf, image/*
    #[arg(long = "type", value_name = "TYPE")]
    media_type: Option<MediaTypePattern>,
    /// Only assets of this collection
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::collections))]
    collection: Option<String>,
    /// Only assets with this tag, and with this value if one is given
    #[arg(long, value_name = "NAME[=VALUE]", add = ArgValueCandidates::new(complete::tags))]
    tag: Option<TagFilter>,
    /// Only assets with a file whose name matches
    #[arg(long, value_name = "GLOB")]
    name: Option<NameGlob>,
    /// Only assets of this ingest job
    #[arg(long, value_name = "JOB", add = ArgValueCandidates::new(complete::jobs))]
    job: Option<IdPrefix>,
    /// Only assets staged since: an RFC 3339 time, or how long ago (15m, 2h, 3d)
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Sort by name or type, or with the largest size or the latest staging first, instead of by id
    #[arg(long, value_name = "KEY", value_enum, conflicts_with = "all")]
    sort: Option<SortKey>,
    /// Sort the other way round
    #[arg(long, requires = "sort")]
    reverse: bool,
    /// Maximum number of assets
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Continue from the cursor that an earlier list printed
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// List all matching assets, printed as they are read
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    nul_names: NulNames,
}

/// What `--sort` sorts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortKey {
    /// The file's name, by its bytes.
    Name,
    /// Size, the largest first.
    Size,
    /// Time of staging, the latest first.
    Staged,
    /// Media type.
    Type,
}

impl SortKey {
    const fn order(self, reverse: bool) -> AssetOrder {
        let (key, descending) = match self {
            Self::Name => (AssetSortKey::Name, false),
            Self::Size => (AssetSortKey::Size, true),
            Self::Staged => (AssetSortKey::Staged, true),
            Self::Type => (AssetSortKey::MediaType, false),
        };
        AssetOrder { key, descending: descending != reverse }
    }
}

/// An asset with the names of its files.
#[derive(Debug, Serialize)]
struct ListedAsset {
    #[serde(flatten)]
    asset: Asset,
    #[serde(flatten)]
    names: AssetNames,
    #[serde(skip)]
    now: Timestamp,
}

/// A tag's name, and the value it must have; an empty value matches any.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TagFilter(String, String);

impl FromStr for TagFilter {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        if name.is_empty() {
            return Err("a tag filter is a name, or name=value".to_owned());
        }
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}

/// The fields after the list of assets in a document.
#[derive(Debug, Serialize)]
struct AssetListTrailer {
    /// For `--cursor`; none after the last page.
    next_cursor: Option<String>,
    /// The listed assets of which enrichment read nothing, by reason, most assets first.
    unread: Vec<UnreadCount>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    args.nul_names.apply(cx.out())?;
    if args.sort.is_some() && args.limit > MAX_SORTED {
        return Err(Failure::usage(format!("--sort shows at most {MAX_SORTED} assets at a time, not {}", args.limit))
            .hint("--cursor continues a sorted list"));
    }
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let catalog = &connected.ports.catalog;
    let now = connected.ports.clock.now();
    let filter = AssetFilter {
        tenant: Some(connected.target.tenant.clone()),
        state: args.state,
        without_revoked: args.state.is_none(),
        dead_lettered: args.dead_lettered.then_some(true),
        media_type: args.media_type,
        collection: args.collection,
        tag: args.tag.map(|TagFilter(name, value)| (name, value)),
        job_id: match args.job {
            Some(given) => Some(ids::job(given, &connected).await?),
            None => None,
        },
        since: args.since.map(|since| since.resolve(now)),
        name: args.name,
    };
    let mut remaining = if args.all { usize::MAX } else { args.limit };
    let mut cursor = args.cursor;
    let mut rows = cx.out().list::<ListedAsset>("assets");
    let mut unread: BTreeMap<String, u64> = BTreeMap::new();
    while remaining > 0 {
        let page = match args.sort {
            // Each page of a sorted list reads all assets.
            Some(key) => catalog.list_sorted(&filter, key.order(args.reverse), cursor.as_deref(), remaining).await?,
            None => catalog.list(&filter, cursor.as_deref(), remaining.min(PAGE_SIZE)).await?,
        };
        remaining = remaining.saturating_sub(page.items.len());
        for assets in page.items.chunks(PAGE_SIZE) {
            let ids: Vec<_> = assets.iter().map(|asset| asset.asset_id).collect();
            for (asset, names) in assets.iter().zip(asset_names(&ids, &connected, cx.out()).await?) {
                if let Some(reason) = asset.unread() {
                    *unread.entry(reason.to_owned()).or_default() += 1;
                }
                rows.push(&ListedAsset { asset: asset.clone(), names, now })?;
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let shown = rows.count();
    let mut unread: Vec<_> = unread.into_iter().map(|(reason, assets)| UnreadCount { reason, assets }).collect();
    unread.sort_by_key(|count| Reverse(count.assets));
    let summary = unread_summary(&unread);
    rows.finish_with(&AssetListTrailer { next_cursor: cursor.clone(), unread })?;
    if let Some(summary) = summary {
        cx.out().note(summary);
    }
    if let Some(cursor) = cursor {
        cx.out().note(format!("{} shown; more with --cursor {cursor}", humane::counted(shown, "asset", "assets")));
    }
    Ok(())
}

impl ListItem for ListedAsset {
    const COLUMNS: &'static [Column] = &[
        Column::whole("ASSET"),
        Column::path("NAME"),
        Column::text("STATE").rank(1),
        Column::text("TYPE").rank(4),
        Column::number("SIZE").rank(2),
        Column::whole("STAGED").rank(3),
        Column::title("TITLE").rank(5),
    ];

    fn cells(&self) -> Vec<Cell> {
        let asset = &self.asset;
        vec![
            Cell::new(asset.asset_id.to_string()),
            Cell::maybe(self.names.name_and_count()),
            state_cell(asset),
            Cell::new(asset.media_type.as_str()),
            Cell::new(humane::bytes(asset.size_bytes)),
            Cell::new(humane::time_and_age(asset.staged_at, self.now)),
            Cell::maybe(display_title(asset)),
        ]
    }

    const WIDE_COLUMNS: &'static [Column] = &[
        Column::number("REVISION").rank(9),
        Column::text("COLLECTION").rank(8),
        Column::whole("JOB").rank(9),
        Column::whole("SHA256").rank(9),
        Column::path("PATH").rank(7),
    ];

    fn wide_cells(&self) -> Vec<Cell> {
        let asset = &self.asset;
        vec![
            Cell::new(asset.revision.to_string()),
            Cell::maybe(asset.metadata.collection.as_deref()),
            Cell::new(asset.job_id.to_string()),
            Cell::new(asset.sha256.to_string()),
            Cell::maybe(self.names.paths.first()),
        ]
    }

    fn name(&self) -> String {
        self.asset.asset_id.to_string()
    }
}

/// An asset's state, and the stage that dead-lettered it, if one did, or why nothing was read of it.
pub(super) fn state_cell(asset: &Asset) -> Cell {
    if let Some(stage) = asset.dead_lettered {
        return Cell::new(format!("dead-lettered in {stage}")).tone(Tone::Bad);
    }
    let tone = match asset.state {
        AssetState::Enriched => Tone::Good,
        AssetState::Revoked => Tone::Dim,
        AssetState::Staged | AssetState::Ingested => Tone::Plain,
    };
    match asset.unread() {
        Some(reason) => Cell::new(format!("{}, nothing read: {reason}", asset.state)).tone(Tone::Warn),
        None => Cell::new(asset.state.as_str()).tone(tone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_filter_is_a_name_with_an_optional_value() {
        assert_eq!("a".parse(), Ok(TagFilter("a".into(), String::new())));
        assert_eq!("a=b=c".parse(), Ok(TagFilter("a".into(), "b=c".into())));
        assert!("=b".parse::<TagFilter>().is_err());
    }
}
