//! `mfctl bootstrap plan`: shows the changes that apply would make, and saves them for a reviewed apply.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args as ClapArgs};

use super::folder::{self, ManifestSelection};
use super::report::{BootstrapPlanReport, action_counts};
use crate::bootstrap::plan;
use crate::bootstrap::saved_plan::SavedPlan;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::path::ShownPath as _;

/// Arguments of `mfctl bootstrap plan`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Reads the platform and changes nothing. Changes that are not safe are listed with the reason and left alone: fewer
partitions, fewer replicas, a schema that breaks its readers, anything that would delete data. No secret is read or shown.

Examples:
  mfctl bootstrap plan platform
  mfctl bootstrap plan platform --only KafkaTopic --only Bucket/media-staging
  mfctl bootstrap plan platform --out plan.json    save it; `bootstrap apply plan.json` makes exactly these changes
  mfctl bootstrap plan platform -o json | jq '.changes[] | {action, kind, name}'

Exit codes: 0 nothing to do, or the plan was saved with --out, 4 there are changes, 5 a server is not reachable,
6 a manifest is invalid, or a server or permission that it needs is missing")]
pub struct Args {
    #[command(flatten)]
    selection: ManifestSelection,
    /// Also plan to delete resources that mfctl created and no manifest declares any more
    #[arg(long, action = ArgAction::SetTrue)]
    prune: bool,
    /// Save the plan in this file, for `bootstrap apply FILE`
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Accepted for compatibility with other tools: exit 4 means changes in any case
    #[arg(long, action = ArgAction::SetTrue)]
    detailed_exitcode: bool,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let declarations = args.selection.declarations(&connected)?;
    let context = folder::resource_context(&connected, args.prune).await?;
    let scope = args.selection.scope();
    let plan = plan::plan(&context, &declarations, &scope).await?;
    if let Some(file) = &args.out {
        let profile = connected.settings.profile.name.to_string();
        let environment = connected.target.environment.clone();
        let now = connected.ports.clock.now();
        let changes = plan.changes.clone();
        let saved = SavedPlan::new(now, profile, environment, scope, args.prune, changes, &declarations)?;
        write_plan(file, &saved)?;
        cx.out().note(format!("saved in {0}: `mfctl bootstrap apply {0}` makes exactly these changes", file.shown()));
        return cx.out().print(&BootstrapPlanReport::new(plan, &context));
    }
    let is_settled = plan.is_up_to_date();
    let counts = action_counts(&plan.changes);
    let refused = plan.refused.len();
    cx.out().print(&BootstrapPlanReport::new(plan, &context))?;
    if is_settled {
        return Ok(());
    }
    let differences = match (counts.is_empty(), refused) {
        (false, 0) => counts,
        (false, refused) => format!("{counts}, {refused} left alone"),
        (true, refused) => format!("{refused} differ and are left alone"),
    };
    Err(Failure::new(FailureKind::Pending, format!("the platform differs from its manifests: {differences}")))
}

/// Writes the plan with mode 0600, since it describes the platform.
fn write_plan(path: &Path, saved: &SavedPlan) -> Result<()> {
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot write {}", path.shown())).because(&error);
    let text =
        serde_json::to_string_pretty(saved).map_err(|error| Failure::unexpected("write the plan").because(&error))?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
