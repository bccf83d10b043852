//! `mfctl media lift`: lifts the takedown of assets.

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
use crate::ops::takedown::{LiftOutcome, LiftResult, TakedownOrder};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::{Asset, AssetId};

/// Arguments of `mfctl media lift`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The asset starts its next revision: its original is staged again from the archive, and the workers persist and enrich it as
after an ingest. A command that was ended is continued by the same one; an asset whose takedown was lifted already is left as
it is.

Examples:
  mfctl media lift ed6de839-bf6e-5531-a0eb-2be63a35ce0a --reason 'order 2026/118 withdrawn'
  mfctl media lift ed6de839 --reason 'wrong asset' --dry-run
  mfctl media list --state revoked -o name | mfctl media lift - --reason 'all withdrawn' --yes

Exit codes: 0 done, 2 wrong usage or no reason, 3 some failed, such as one that was purged, each one listed, 5 a server not
reachable, 6 no such asset, 8 not confirmed, 129/130/143 stopped between two assets")]
pub struct Args {
    /// Assets by their ids, or at least their first 8 digits; - reads them from stdin
    #[arg(value_name = "ASSET", required = true, add = ArgValueCandidates::new(complete::revoked_assets))]
    assets: Vec<String>,
    /// The reason; recorded with your name
    #[arg(long, value_name = "TEXT", value_parser = crate::cli::reason::parse, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Show what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given = ids::parse_all(&args.assets)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let assets = asset_changes::given_assets(given, &connected).await?;
    let ports = asset_changes::takedown_ports(&connected);
    let plan = async |asset: &Asset| ports.plan_lift(asset).await;
    let planned = asset_changes::plan_each(&assets, plan, LiftOutcome::failed).await?;
    if args.dry_run || !planned.iter().any(AssetOutcome::is_changed) {
        return asset_changes::print_unchanged(planned, args.dry_run, cx);
    }
    let began = (connected.ports.clock.now(), Instant::now());
    let summary =
        format!("bring back {}", humane::counted(asset_changes::count_to_change(&planned), "asset", "assets"));
    let change = GuardedChange { verb: "media lift", summary, dangerous: true };
    guard::confirm(&change, cx.globals(), &connected.target, cx.out())?;
    let actor = connected.settings.profile.actor.clone();
    let order = TakedownOrder { reason: args.reason.unwrap_or_default(), actor, purge: false };
    let lift = async |asset: &Asset| ports.lift(asset, &order).await;
    let run = asset_changes::change_each("lift", &assets, lift, LiftOutcome::failed, cx).await?;
    run.finish("media lift", Some("takedown"), began, &connected, cx).await
}

impl AssetOutcome for LiftOutcome {
    fn asset_id(&self) -> AssetId {
        self.asset_id
    }

    fn result(&self) -> &'static str {
        match self.result {
            LiftResult::Lifted => "lifted",
            LiftResult::Continued => "continued",
            LiftResult::LiftedAlready => "lifted already",
            LiftResult::NotDown => "not down",
            LiftResult::Failed => "failed",
        }
    }

    fn details(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        let mut parts = vec![format!("revision {}", self.revision)];
        if self.event_published {
            parts.push("event published".to_owned());
        }
        if self.archived_removed {
            parts.push("copy in the archive removed".to_owned());
        }
        parts.join(", ")
    }

    fn is_failed(&self) -> bool {
        self.result == LiftResult::Failed
    }

    fn is_changed(&self) -> bool {
        !matches!(self.result, LiftResult::LiftedAlready | LiftResult::NotDown)
    }
}
