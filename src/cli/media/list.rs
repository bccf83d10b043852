//! `mfctl media list`: lists assets that match a filter, page by page.

use std::str::FromStr;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use super::display_title;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, ListItem, Tone, humane};
use crate::cli::since::Since;
use crate::ops::target::DataDirMode;
use mfctl_core::domain::{Asset, AssetState, JobId};
use mfctl_core::ports::AssetFilter;

/// Assets per catalog query.
const PAGE_SIZE: usize = 500;

/// Arguments of `mfctl media list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl media list                                  the first 100 assets
  mfctl media list --state enriched --type image/   enriched images of any format
  mfctl media list --dead-lettered -o name | head
  mfctl media list --tag project=atlas --since 2d --all -o jsonl

Exit codes: 0 listed, 2 wrong usage, 5 catalog not reachable, 6 no data folder")]
pub struct Args {
    /// Only assets in this state: staged, ingested, enriched or revoked
    #[arg(long, value_name = "STATE", add = ArgValueCandidates::new(complete::asset_states))]
    state: Option<AssetState>,
    /// Only assets with an unresolved dead letter
    #[arg(long)]
    dead_lettered: bool,
    /// Only this media type; a value that ends in / matches the whole family
    #[arg(long = "type", value_name = "TYPE")]
    media_type: Option<String>,
    /// Only assets of this collection
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::collections))]
    collection: Option<String>,
    /// Only assets with this tag, and with this value if one is given
    #[arg(long, value_name = "NAME[=VALUE]", add = ArgValueCandidates::new(complete::tags))]
    tag: Option<TagFilter>,
    /// Only assets of this ingest job
    #[arg(long, value_name = "JOB", add = ArgValueCandidates::new(complete::jobs))]
    job: Option<JobId>,
    /// Only assets staged since: an RFC 3339 time, or how long ago (15m, 2h, 3d)
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Maximum number of assets
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Continue from the cursor that an earlier list printed
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// List all matching assets, printed as they are read
    #[arg(long, conflicts_with = "limit")]
    all: bool,
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
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let catalog = &connected.ports.catalog;
    let filter = AssetFilter {
        tenant: Some(connected.target.tenant.clone()),
        state: args.state,
        dead_lettered: args.dead_lettered.then_some(true),
        media_type: args.media_type,
        collection: args.collection,
        tag: args.tag.map(|TagFilter(name, value)| (name, value)),
        job_id: args.job,
        since: args.since.map(|since| since.resolve(connected.ports.clock.now())),
    };
    let mut remaining = if args.all { usize::MAX } else { args.limit };
    let mut cursor = args.cursor;
    let mut rows = cx.out().list::<Asset>("assets");
    while remaining > 0 {
        let page = catalog.list(&filter, cursor.as_deref(), remaining.min(PAGE_SIZE)).await?;
        remaining = remaining.saturating_sub(page.items.len());
        for asset in &page.items {
            rows.push(asset)?;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let shown = rows.count();
    rows.finish_with(&AssetListTrailer { next_cursor: cursor.clone() })?;
    if let Some(cursor) = cursor {
        cx.out().note(format!("{} shown; more with --cursor {cursor}", humane::counted(shown, "asset", "assets")));
    }
    Ok(())
}

impl ListItem for Asset {
    const COLUMNS: &'static [Column] = &[
        Column::whole("ASSET"),
        Column::whole("STATE"),
        Column::text("TYPE").rank(4),
        Column::number("SIZE").rank(2),
        Column::whole("STAGED").rank(3),
        Column::title("TITLE").rank(1),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::new(self.asset_id.to_string()),
            state_cell(self),
            Cell::new(self.media_type.as_str()),
            Cell::new(humane::bytes(self.size_bytes)),
            Cell::new(humane::time(self.staged_at)),
            Cell::maybe(display_title(self)),
        ]
    }

    fn name(&self) -> String {
        self.asset_id.to_string()
    }
}

/// An asset's state, and the stage that dead-lettered it, if one did.
pub(super) fn state_cell(asset: &Asset) -> Cell {
    if let Some(stage) = asset.dead_lettered {
        return Cell::new(format!("dead-lettered in {stage}")).tone(Tone::Bad);
    }
    let tone = match asset.state {
        AssetState::Enriched => Tone::Good,
        AssetState::Revoked => Tone::Dim,
        AssetState::Staged | AssetState::Ingested => Tone::Plain,
    };
    Cell::new(asset.state.as_str()).tone(tone)
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
