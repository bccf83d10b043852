//! `mfctl jobs failed JOB`: the files a job could not take, and the command that tries them again.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::ids;
use crate::cli::ingest::{FailureRow, failures};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::JobId;

/// Arguments of `mfctl jobs failed`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl jobs failed 019ab0c4-0000-7000-8000-000000000000
  mfctl jobs failed 019ab0c4-0000-7000-8000-000000000000 -o json | jq '.failures[].kind'
  mfctl jobs failed 019ab0c4-0000-7000-8000-000000000000 -o name      paths alone

Exit codes: 0 listed, 2 wrong usage, 5 journal not reachable, 6 no such job or no data folder")]
pub struct Args {
    /// The job; - reads it from stdin
    #[arg(value_name = "JOB|-", add = ArgValueCandidates::new(complete::jobs))]
    job: String,
}

#[derive(Debug, Serialize)]
struct Trailer {
    job_id: JobId,
    rejected: u64,
    failed: u64,
    /// What tries the failed ones again; none if there are none.
    retry_command: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let id: JobId = ids::one(&args.job)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    super::job(&connected, id).await?;
    let counts = connected.ports.journal.counts(id).await?;
    let mut list = cx.out().list::<FailureRow>("failures");
    failures(&connected, id, |row| list.push(&row)).await?;
    let retry_command = (counts.failed > 0).then(|| format!("mfctl ingest --retry-failed {id}"));
    list.finish_with(&Trailer {
        job_id: id,
        rejected: counts.rejected,
        failed: counts.failed,
        retry_command: retry_command.clone(),
    })?;
    if let Some(command) = retry_command {
        cx.out().note(format!("try the failed ones again with `{command}`"));
    }
    Ok(())
}
