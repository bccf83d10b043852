//! `mfctl dlq discard`: resolves dead letters without redriving them; the ledger records the reason.

use clap::Args as ClapArgs;

use super::SelectionArgs;
use super::redrive::DlqRunCommand;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::dlq::run::{DlqAction, DlqRun};
use crate::dlq::selection::SelectionSnapshot;
use crate::ops::target::DataDirMode;

/// Arguments of `mfctl dlq discard`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A discarded dead letter is resolved: no redrive sends it. The record stays in its topic, and its asset stays dead-lettered.
If its whole record is kept in the object store, because it was too large for the topic, that object is deleted.

Examples:
  mfctl dlq discard media.ingested.dlq:3:42 --reason 'test upload'
  mfctl dlq discard --topic ingest.raw.dlq --dry-run
  mfctl dlq discard --topic ingest.raw.dlq --reason 'superseded by job 0199…' --yes
  mfctl dlq list --kind schema_violation -o name | mfctl dlq discard - --reason 'old client' --yes

Exit codes: 0 done, 2 nothing selected or no reason, 3 some were skipped, each one listed, 5 log not reachable, 6 no such
topic or no data folder, 7 another run took over, 8 not confirmed, 129/130/143 stopped between two transactions")]
pub struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
    /// The reason; recorded in the ledger with your name
    #[arg(long, value_name = "TEXT", value_parser = crate::cli::reason::parse, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Stop after this many dead letters
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Show what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given = args.selection.parse()?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let selection = given.resolve(false, &connected, cx).await?;
    let run = DlqRun {
        id: mfctl_core::domain::ids::time_ordered_uuid().to_string(),
        actor: connected.settings.profile.actor.clone(),
        env: connected.target.environment.clone(),
        // A dry run records nothing.
        action: DlqAction::Discard { reason: args.reason.unwrap_or_default() },
        limit: args.limit,
        rate: None,
    };
    let snapshot = SelectionSnapshot::capture(&selection, connected.ports.log.as_ref()).await?;
    let command = DlqRunCommand {
        verb: "dlq discard",
        dangerous: true,
        selection: args.selection.description(),
        dry_run: args.dry_run,
    };
    command.run(&run, &snapshot, &connected, cx).await
}
