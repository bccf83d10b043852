//! `mfctl media`: what there is, where it came from, its bytes and its story.

pub mod get;
pub mod list;
pub mod search;
pub mod show;
pub mod trace;

use clap::{Args as ClapArgs, Subcommand};

use super::context::{Connected, Context};
use super::failure::{Failure, Result};
use mfctl_core::domain::{Asset, AssetId};

/// Arguments of `mfctl media`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl media list --state enriched --type image/
  mfctl media search 'حافظ'
  mfctl media get ed6de839-bf6e-5531-a0eb-2be63a35ce0a -O cover.jpg
  mfctl media trace ~/media/cover.jpg")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List assets
    List(list::Args),
    /// Show everything known of an asset
    Show(show::Args),
    /// Get an asset's bytes, or a derivative, verified
    Get(get::Args),
    /// Search titles, texts and tags
    Search(search::Args),
    /// Tell an asset's whole story as a timeline
    Trace(trace::Args),
}

/// Runs the verb.
///
/// # Errors
/// As each verb's help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.verb {
        Verb::List(args) => list::run(args, cx).await,
        Verb::Show(args) => show::run(args, cx).await,
        Verb::Get(args) => get::run(args, cx).await,
        Verb::Search(args) => search::run(args, cx).await,
        Verb::Trace(args) => trace::run(args, cx).await,
    }
}

/// The asset of this id, of this profile's tenant.
async fn asset(id: AssetId, connected: &Connected) -> Result<Asset> {
    let found = connected.ports.catalog.assets(&[id]).await?;
    let found = found.into_iter().find(|asset| asset.tenant == connected.target.tenant);
    found.ok_or_else(|| {
        Failure::not_found(format!("there is no asset {id}"))
            .hint("`mfctl media list` and `mfctl media search` find assets; `mfctl media trace` finds one by path")
    })
}

/// What to call an asset: the title given, else the one found in it.
fn title(asset: &Asset) -> Option<&str> {
    asset.metadata.title.as_deref().or(asset.facts.title.as_deref())
}
