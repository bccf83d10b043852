//! `mfctl jobs list`: lists the ingest jobs, latest first: those of the data folder, in a cluster those of every host.

use clap::Args as ClapArgs;
use serde::Serialize;

use super::own_row::JobListRow;
use super::platform_row::PlatformJobRow;
use crate::cli::context::{Connected, Context};
use crate::cli::failure::Result;
use crate::cli::nul_names::NulNames;
use crate::cli::output::{List, ListItem, humane};
use crate::ops::jobs::JobSources;
use crate::ops::owed::{self, OwedState, OwedWork};
use crate::ops::target::{DataDirMode, TargetKind};

/// Arguments of `mfctl jobs list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl jobs list
  mfctl jobs list --limit 5 -o json
  mfctl jobs list -o name | head -1         the latest job

In a cluster the jobs of every host are listed. Of another host's job, the counts are those of the files that it
reported; what only its journal knows is named as unknown.

A note says what the pipeline still has to do: staged files are safe, but not searchable before they are enriched.

Exit codes: 0 listed, 2 wrong usage, 5 journal or catalog not reachable (the jobs of this host are listed all the same),
6 no data folder")]
pub struct Args {
    /// Maximum number of jobs
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Continue from the cursor that an earlier list printed
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    nul_names: NulNames,
}

/// The fields after the list of jobs in a document.
#[derive(Debug, Serialize)]
struct JobListTrailer {
    /// For `--cursor`; none after the last page.
    next_cursor: Option<String>,
    /// What the pipeline still has to do, of all jobs.
    owed: OwedWork,
}

/// Ends a list of jobs: prints the trailer, and says what is owed and how to read on.
async fn finish<T: ListItem>(
    cx: &Context,
    connected: &Connected,
    rows: List<'_, T>,
    next: Option<String>,
) -> Result<()> {
    let shown = rows.count();
    let owed = owed::read(connected.ports.log.as_ref(), &connected.target.environment).await;
    let note = (owed.state != OwedState::Nothing).then(|| format!("pipeline: {}", owed.summary));
    rows.finish_with(&JobListTrailer { next_cursor: next.clone(), owed })?;
    if let Some(note) = note {
        cx.out().note(note);
    }
    if let Some(cursor) = next {
        cx.out().note(format!("{} shown; more with --cursor {cursor}", humane::counted(shown, "job", "jobs")));
    }
    Ok(())
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    args.nul_names.apply(cx.out())?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    match connected.target.kind {
        TargetKind::Embedded => list_own(&args, cx, &connected).await,
        TargetKind::Cluster => list_all(&args, cx, &connected).await,
    }
}

async fn list_own(args: &Args, cx: &Context, connected: &Connected) -> Result<()> {
    let page = connected.ports.journal.jobs(args.cursor.as_deref(), args.limit.max(1)).await?;
    let mut rows = cx.out().list::<JobListRow>("jobs");
    for job in page.items {
        rows.push(&JobListRow::read(connected, job, cx.out().prints_only_names()).await?)?;
    }
    finish(cx, connected, rows, page.next).await
}

/// Lists the jobs of every host. Without the catalog, those of this host, as a failure.
async fn list_all(args: &Args, cx: &Context, connected: &Connected) -> Result<()> {
    let sources = JobSources::of(&connected.ports, &connected.target.tenant);
    let page = sources.page(args.cursor.as_deref(), args.limit).await?;
    let mut rows = cx.out().list::<PlatformJobRow>("jobs");
    for job in page.jobs {
        rows.push(&PlatformJobRow::read(connected, job, cx.out().prints_only_names()).await?)?;
    }
    finish(cx, connected, rows, page.next).await?;
    match page.catalog_error {
        Some(error) => Err(super::without_catalog(error, "the jobs of other hosts are not listed")),
        None => Ok(()),
    }
}
