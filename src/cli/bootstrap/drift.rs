//! `mfctl bootstrap drift`: whether the platform is still what the manifests say; a step of a pipeline.

use clap::Args as ClapArgs;

use super::folder::{self, Folder};
use super::report::PlanReport;
use crate::bootstrap::plan;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::humane;
use crate::ops::target::DataDirMode;

/// Arguments of `mfctl bootstrap drift`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Looks at the platform and changes nothing. What differs is shown field by field: what is there, and what the manifest says;
and since when it is so, where its server can tell (Vault's secrets, OpenBao's policies).
Keys that were changed by hand in an emergency (`mfctl kv put --break-glass`) come first, and are drift once their time is over.

Examples:
  mfctl bootstrap drift platform --profile prod
  mfctl bootstrap drift platform --only ConsulKeys -o json | jq '.changes[].fields[]'

Exit codes: 0 no drift, 4 something differs, 5 a server is not reachable, 6 a manifest is wrong, or a server or right that it
needs is missing")]
pub struct Args {
    #[command(flatten)]
    folder: Folder,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let items = args.folder.items(&connected)?;
    let world = folder::world(&connected, false).await?;
    let mut plan = plan::plan(&world, &items, &args.folder.scope()).await?;
    plan::fetch_change_times(&world, &mut plan).await;
    let differing = (plan.changes.len() + plan.refused.len()) as u64;
    cx.out().print(&PlanReport::of(plan, &world))?;
    if differing == 0 {
        return Ok(());
    }
    let what = humane::counted(differing, "resource is", "resources are");
    Err(Failure::new(FailureKind::Pending, format!("{what} not what the manifests say"))
        .hint("`mfctl bootstrap apply` makes it so; or change the manifests, if the platform is right"))
}
