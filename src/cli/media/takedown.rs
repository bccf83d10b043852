//! `mfctl media takedown`: takes assets down.

use std::time::Instant;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::asset_changes::{self, AssetOutcome};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::guard::{self, GuardedChange};
use crate::cli::ids;
use crate::cli::output::humane;
use crate::ops::takedown::{OriginalOutcome, TakedownOrder, TakedownOutcome, TakedownResult};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::{Asset, AssetId};

/// Arguments of `mfctl media takedown`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
An asset that is taken down is in no search and no list but `media list --state revoked`, cannot be downloaded, and is
rejected (taken_down) when its bytes are ingested again; those of another tenant are not touched. Its derivatives and its
search document are removed, its original is moved to the private prefix archive/ of the bucket of originals, and
media.asset_revoked is published. A command that was ended is continued by the same one; an asset that is down already is
left as it is. An original that is damaged or missing is not archived: the asset is down all the same, and fails with
what is left of it and what to do.

`media lift` brings an asset back, as long as the archive has its original. How long the bytes remain: in the archive, until
--purge; as non-current versions of a versioned bucket, 180 days. --purge deletes all of them at once, also of an asset that
is down already; it then cannot be lifted. A purge is recorded: what a worker still stores of the asset is purged too.

Examples:
  mfctl media takedown ed6de839-bf6e-5531-a0eb-2be63a35ce0a --reason 'court order 2026/118'
  mfctl media takedown ed6de839 --reason 'request of the author' --dry-run
  mfctl media list --collection leak -o name | mfctl media takedown - --reason 'leaked' --yes
  mfctl media takedown ed6de839 --reason 'erasure request 77' --purge --yes --confirm prod

Exit codes: 0 done, 2 wrong usage or no reason, 3 some failed, each one listed, 5 a server not reachable, 6 no such asset, 8 not
confirmed, 129/130/143 stopped between two assets")]
pub struct Args {
    /// Assets by their ids, or at least their first 8 digits; - reads them from stdin
    #[arg(value_name = "ASSET", required = true, add = ArgValueCandidates::new(complete::assets))]
    assets: Vec<String>,
    /// The reason; recorded with your name and published with the event
    #[arg(long, value_name = "TEXT", value_parser = crate::cli::reason::parse, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Delete every version of the bytes, the one in the archive too; nothing can bring them back
    #[arg(long)]
    purge: bool,
    /// Show what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given = ids::parse_all(&args.assets)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let assets = asset_changes::given_assets(given, &connected).await?;
    let ports = asset_changes::takedown_ports(&connected);
    let plan = async |asset: &Asset| ports.plan(asset, args.purge).await;
    let planned = asset_changes::plan_each(&assets, plan, TakedownOutcome::failed).await?;
    if args.dry_run || !planned.iter().any(AssetOutcome::is_changed) {
        return asset_changes::print_unchanged(planned, args.dry_run, cx);
    }
    let began = (connected.ports.clock.now(), Instant::now());
    let summary = confirmation_summary(asset_changes::count_to_change(&planned), args.purge);
    let change = GuardedChange { verb: "media takedown", summary, dangerous: true };
    guard::confirm(&change, cx.globals(), &connected.target, cx.out())?;
    let order = TakedownOrder {
        reason: args.reason.unwrap_or_default(),
        actor: connected.settings.profile.actor.clone(),
        purge: args.purge,
    };
    let take_down = async |asset: &Asset| ports.take_down(asset, &order).await;
    let run = asset_changes::change_each("takedown", &assets, take_down, TakedownOutcome::failed, cx).await?;
    let undo_verb = if args.purge { None } else { Some("lift") };
    run.finish("media takedown", undo_verb, began, &connected, cx).await
}

fn confirmation_summary(assets: u64, purge: bool) -> String {
    let assets = humane::counted(assets, "asset", "assets");
    if purge {
        format!("take down {assets} and permanently delete every version")
    } else {
        format!("take down {assets}")
    }
}

impl AssetOutcome for TakedownOutcome {
    fn asset_id(&self) -> AssetId {
        self.asset_id
    }

    fn result(&self) -> &'static str {
        match self.result {
            TakedownResult::TakenDown => "taken down",
            TakedownResult::Continued => "continued",
            TakedownResult::DownAlready => "down already",
            TakedownResult::Failed => "failed",
        }
    }

    fn details(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let mut parts = Vec::new();
        if self.document_removed {
            parts.push("search document removed".to_owned());
        }
        if self.derivatives_removed > 0 {
            parts.push(format!("{} removed", humane::counted(self.derivatives_removed, "derivative", "derivatives")));
        }
        if self.staged_removed {
            parts.push("staged object removed".to_owned());
        }
        parts.extend(match self.original {
            OriginalOutcome::Archived => Some("original archived".to_owned()),
            OriginalOutcome::Purged => {
                Some(format!("{} purged", humane::counted(self.versions_purged, "version", "versions")))
            }
            OriginalOutcome::InArchive | OriginalOutcome::None => None,
        });
        if self.event_published {
            parts.push("event published".to_owned());
        }
        match &self.takedown {
            Some(takedown) if parts.is_empty() => {
                format!("since {} by {}: {}", humane::time(takedown.revoked_at), takedown.actor, takedown.reason)
            }
            _ => parts.join(", "),
        }
    }

    fn is_failed(&self) -> bool {
        self.result == TakedownResult::Failed
    }

    fn is_changed(&self) -> bool {
        self.result != TakedownResult::DownAlready
    }
}
