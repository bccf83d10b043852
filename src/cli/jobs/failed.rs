//! `mfctl jobs failed JOB`: lists the files that a job did not ingest, and prints the command that retries them.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::ids;
use crate::cli::ingest::{FailureRow, for_each_failure, for_each_reported_failure};
use crate::cli::nul_names::NulNames;
use crate::ops::jobs::{JobSources, KnownJob};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::{IdPrefix, JobId};

/// Arguments of `mfctl jobs failed`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl jobs failed 019ab0c4-0000-7000-8000-000000000000
  mfctl jobs failed 019ab0c4-0000-7000-8000-000000000000 -o json | jq '.failures[].kind'
  mfctl jobs failed 019ab0c4-0000-7000-8000-000000000000 -o name      only the paths

Exit codes: 0 listed, 2 wrong usage, 5 journal or catalog not reachable (the files of this host's journal are listed all
the same), 6 no such job or no data folder")]
pub struct Args {
    /// The job's id or its beginning, at least 4 digits; - reads it from stdin
    #[arg(value_name = "JOB|-", add = ArgValueCandidates::new(complete::jobs))]
    job: String,
    #[command(flatten)]
    nul_names: NulNames,
}

/// The fields after the list of files in a document.
#[derive(Debug, Serialize)]
struct JobFailuresTrailer {
    job_id: JobId,
    rejected: u64,
    failed: u64,
    /// The command that retries the failed files; none if no file failed, or if it cannot be resumed.
    retry_command: Option<String>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    args.nul_names.apply(cx.out())?;
    let given: IdPrefix = ids::parse_one(&args.job)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let id = ids::job(given, &connected).await?;
    let found = super::find_job(&connected, id).await?;
    let mut list = cx.out().list::<FailureRow>("failures");
    // Of one that is not recorded, the paths and options are not known.
    let is_resumable = !matches!(&found.job, KnownJob::Elsewhere(job) if job.record.is_none());
    let (rejected, failed) = match found.job {
        KnownJob::Own(..) => {
            let counts = connected.ports.journal.counts(id).await?;
            for_each_failure(&connected, id, |row| list.push(&row)).await?;
            (counts.rejected, counts.failed)
        }
        KnownJob::Elsewhere(_) => {
            let counts = JobSources::of(&connected.ports, &connected.target.tenant).count_outcomes(id).await?;
            for_each_reported_failure(&connected, id, |row| list.push(&row)).await?;
            (counts.rejected, counts.failed)
        }
    };
    let retry_command = (failed > 0 && is_resumable).then(|| format!("mfctl ingest --retry-failed {id}"));
    list.finish_with(&JobFailuresTrailer { job_id: id, rejected, failed, retry_command: retry_command.clone() })?;
    if let Some(command) = retry_command {
        cx.out().note(format!("retry the failed files with `{command}`"));
    }
    let unknown = "it is not known whether another host continued the job";
    found.catalog_error.map_or(Ok(()), |error| Err(super::without_catalog(error, unknown)))
}
