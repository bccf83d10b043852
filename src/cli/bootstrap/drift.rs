//! `mfctl bootstrap drift`: compares the platform with its manifests; made to run as a CI step.

use clap::Args as ClapArgs;

use super::folder::{self, ManifestSelection};
use super::report::BootstrapPlanReport;
use crate::bootstrap::plan;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::humane;
use crate::ops::target::DataDirMode;

/// Arguments of `mfctl bootstrap drift`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Reads the platform and changes nothing. Each difference is shown field by field, as the live and the declared value, with the
time of the last change where the server records it (Vault's secrets, OpenBao's policies).
Keys that were changed by hand in an emergency (`mfctl kv put --break-glass`) come first; they are drift once they expire.

Examples:
  mfctl bootstrap drift platform --profile prod
  mfctl bootstrap drift platform --only ConsulKeys -o json | jq '.changes[].fields[]'

Exit codes: 0 no drift, 4 something differs, 5 a server is not reachable, 6 a manifest is invalid, or a server or permission
that it needs is missing")]
pub struct Args {
    #[command(flatten)]
    selection: ManifestSelection,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let declarations = args.selection.declarations(&connected)?;
    let context = folder::resource_context(&connected, false).await?;
    let mut plan = plan::plan(&context, &declarations, &args.selection.scope()).await?;
    plan::fetch_change_times(&context, &mut plan).await;
    let differing = (plan.changes.len() + plan.refused.len()) as u64;
    cx.out().print(&BootstrapPlanReport::new(plan, &context))?;
    if differing == 0 {
        return Ok(());
    }
    let message =
        humane::counted(differing, "resource differs from its manifest", "resources differ from their manifests");
    Err(Failure::new(FailureKind::Pending, message)
        .hint("run `mfctl bootstrap apply`, or change the manifests if the platform is right"))
}
