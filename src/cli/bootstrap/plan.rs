//! `mfctl bootstrap plan`: what would be done, for a person to review.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args as ClapArgs};

use super::folder::{self, Folder};
use super::report::{PlanReport, counts};
use crate::bootstrap::plan;
use crate::bootstrap::saved_plan::SavedPlan;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::ops::target::DataDirMode;

/// Arguments of `mfctl bootstrap plan`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Looks at the platform and changes nothing. What cannot be changed safely is named with the reason and left alone: fewer
partitions, fewer replicas, a schema that breaks its readers, whatever would delete data. No secret is read or shown.

Examples:
  mfctl bootstrap plan platform
  mfctl bootstrap plan platform --only KafkaTopic --only Bucket/media-staging
  mfctl bootstrap plan platform --out plan.json    keep it; `bootstrap apply plan.json` does exactly this
  mfctl bootstrap plan platform -o json | jq '.changes[] | {action, kind, name}'

Exit codes: 0 nothing to do, or the plan was kept with --out, 4 there are changes, 5 a server is not reachable,
6 a manifest is wrong, or a server or right that it needs is missing")]
pub struct Args {
    #[command(flatten)]
    folder: Folder,
    /// Plan to remove what mfctl made and no manifest declares any more
    #[arg(long, action = ArgAction::SetTrue)]
    prune: bool,
    /// Keep the plan in this file, for `bootstrap apply FILE`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Accepted for who is used to it: exit 4 means changes in any case
    #[arg(long, action = ArgAction::SetTrue)]
    detailed_exitcode: bool,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let items = args.folder.items(&connected)?;
    let world = folder::world(&connected, args.prune).await?;
    let scope = args.folder.scope();
    let plan = plan::plan(&world, &items, &scope).await?;
    if let Some(file) = &args.out {
        let profile = connected.settings.profile.name.to_string();
        let environment = connected.target.environment.clone();
        let now = connected.ports.clock.now();
        let saved = SavedPlan::new(now, profile, environment, scope, args.prune, plan.changes.clone(), &items)?;
        keep(file, &saved)?;
        cx.out().note(format!("kept in {0}: `mfctl bootstrap apply {0}` does exactly this", file.display()));
        return cx.out().print(&PlanReport::of(plan, &world));
    }
    let (settled, counts) = (plan.is_up_to_date(), counts(&plan.changes));
    let refused = plan.refused.len();
    cx.out().print(&PlanReport::of(plan, &world))?;
    if settled {
        return Ok(());
    }
    let told = match (counts.is_empty(), refused) {
        (false, 0) => counts,
        (false, refused) => format!("{counts}, {refused} left alone"),
        (true, refused) => format!("{refused} differ and are left alone"),
    };
    Err(Failure::new(FailureKind::Pending, format!("the platform is not what the manifests say: {told}")))
}

/// Readable by its owner alone: it says what the platform is made of.
fn keep(path: &Path, saved: &SavedPlan) -> Result<()> {
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot write {}", path.display())).because(&error);
    let text =
        serde_json::to_string_pretty(saved).map_err(|error| Failure::unexpected("write the plan").because(&error))?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
