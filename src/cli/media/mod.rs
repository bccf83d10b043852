//! `mfctl media`: lists, searches, shows, downloads and traces assets, takes them down and brings them back.

pub mod asset_changes;
pub mod get;
pub mod lift;
pub mod list;
pub mod search;
pub mod show;
pub mod takedown;
pub mod trace;
mod trace_paths;

use std::collections::HashMap;

use clap::{Args as ClapArgs, Subcommand};

use schemars::JsonSchema;
use serde::Serialize;

use super::context::{Connected, Context};
use super::failure::{Failure, FailureKind, Result};
use super::output::Output;
use mfctl_core::domain::asset::{AssetPaths, RecordedDerivative};
use mfctl_core::domain::{Asset, AssetId, ObjectKey, SourcePath};

/// Arguments of `mfctl media`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl media list --name '*.pdf' --sort size
  mfctl media search 'حافظ'
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a -O cover.jpg
  mfctl media trace ~/media/cover.jpg
  mfctl media takedown ed6de839-bf6e-5531-a0eb-2be63a35ce0a --reason 'court order 2026/118'")]
pub struct Args {
    #[command(subcommand)]
    command: MediaCommand,
}

#[derive(Debug, Subcommand)]
enum MediaCommand {
    /// List assets
    List(list::Args),
    /// Show an asset's metadata, files, objects and events
    Show(show::Args),
    /// Download an asset's original or a derivative, verified
    Get(get::Args),
    /// Search titles, texts and tags
    Search(search::Args),
    /// Show an asset's history as a timeline
    Trace(trace::Args),
    /// Take assets down: nothing of them is found, served or ingested again
    Takedown(takedown::Args),
    /// Lift the takedown of assets
    Lift(lift::Args),
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.command {
        MediaCommand::List(args) => list::run(args, cx).await,
        MediaCommand::Show(args) => show::run(args, cx).await,
        MediaCommand::Get(args) => get::run(args, cx).await,
        MediaCommand::Search(args) => search::run(args, cx).await,
        MediaCommand::Trace(args) => trace::run(args, cx).await,
        MediaCommand::Takedown(args) => takedown::run(args, cx).await,
        MediaCommand::Lift(args) => lift::run(args, cx).await,
    }
}

/// Finds an asset by id among those of the profile's tenant; fails with `NotFound` if there is none.
async fn find_asset(id: AssetId, connected: &Connected) -> Result<Asset> {
    let mut found = find_assets(&[id], connected).await?;
    found.pop().ok_or_else(|| no_such_asset(id))
}

/// The assets of the profile's tenant with these ids, in their order.
///
/// # Errors
/// `NotFound` if one of them does not exist; otherwise those of the catalog.
async fn find_assets(ids: &[AssetId], connected: &Connected) -> Result<Vec<Asset>> {
    let assets = connected.ports.catalog.assets(ids).await?;
    let assets = assets.into_iter().filter(|asset| asset.tenant == connected.target.tenant);
    let mut found: HashMap<AssetId, Asset> = assets.map(|asset| (asset.asset_id, asset)).collect();
    ids.iter().map(|id| found.remove(id).ok_or_else(|| no_such_asset(*id))).collect()
}

fn no_such_asset(id: AssetId) -> Failure {
    Failure::not_found(format!("there is no asset {id}"))
        .hint("`mfctl media list` and `mfctl media search` find assets; `mfctl media trace` finds one by path")
}

/// The object key of a recorded derivative.
///
/// # Errors
/// `Corrupt` when the catalog holds something that is no key.
fn derived_key(derivative: &RecordedDerivative) -> Result<ObjectKey> {
    ObjectKey::new(derivative.key.as_str()).map_err(|error| {
        let what = format!("the catalog's key of a {} cannot be used", derivative.kind.as_str());
        Failure::new(FailureKind::Corrupt, what).because(&error)
    })
}

/// The title given at ingest, else the one in the file.
fn display_title(asset: &Asset) -> Option<&str> {
    asset.metadata.title.as_deref().or(asset.facts.title.as_deref())
}

/// Paths of an asset in the documents of lists.
const MAX_LISTED_PATHS: usize = 10;

/// The names of an asset's files.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct AssetNames {
    /// The name of the first of `paths`; none if no file of the asset is known.
    pub file_name: Option<String>,
    /// The paths that its bytes were ingested from, ordered by the first job that read them there, then by their bytes; a list
    /// has the first 10, `media show` the first 100.
    pub paths: Vec<SourcePath>,
    /// Number of such paths in all.
    pub path_count: u64,
}

impl From<AssetPaths> for AssetNames {
    fn from(found: AssetPaths) -> Self {
        Self {
            file_name: found.file_name().map(str::to_owned),
            path_count: found.count,
            paths: found.paths.into_iter().map(|path| path.path).collect(),
        }
    }
}

impl AssetNames {
    /// The name, and how many other paths there are.
    fn name_and_count(&self) -> Option<String> {
        let name = self.file_name.as_deref()?;
        Some(match self.path_count.saturating_sub(1) {
            0 => name.to_owned(),
            others => format!("{name} (+{others})"),
        })
    }
}

/// The names of these assets, in their order; empty ones where only ids are printed.
async fn asset_names(ids: &[AssetId], connected: &Connected, out: &Output) -> Result<Vec<AssetNames>> {
    if ids.is_empty() || out.prints_only_names() {
        return Ok(vec![AssetNames::default(); ids.len()]);
    }
    let paths = connected.ports.catalog.paths(ids, MAX_LISTED_PATHS).await?;
    Ok(paths.into_iter().map(AssetNames::from).collect())
}
