//! `mfctl jobs`: lists and shows the ingest jobs, in a cluster those of every host, and verifies that their sources may
//! be deleted.

mod elsewhere;
pub mod failed;
pub mod list;
mod own_row;
mod platform_row;
pub mod show;
pub mod verify;

use clap::{Args as ClapArgs, Subcommand};

use super::context::{Connected, Context};
use super::failure::{Failure, Result};
use crate::ops::jobs::{FoundJob, JobSources};
use crate::ops::target::TargetKind;
use mfctl_core::domain::JobId;

/// Arguments of `mfctl jobs`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl jobs list
  mfctl jobs show JOB --watch
  mfctl jobs failed JOB -o name
  mfctl jobs verify JOB                  can the source be deleted?")]
pub struct Args {
    #[command(subcommand)]
    command: JobsCommand,
}

#[derive(Debug, Subcommand)]
enum JobsCommand {
    /// List jobs, latest first
    List(list::Args),
    /// Show one job, or follow it while it runs
    Show(show::Args),
    /// List the files that a job did not ingest, and why
    Failed(failed::Args),
    /// Verify that a job's files are stored, their source is unchanged, and the source has no other files
    Verify(verify::Args),
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.command {
        JobsCommand::List(args) => list::run(args, cx).await,
        JobsCommand::Show(args) => show::run(args, cx).await,
        JobsCommand::Failed(args) => failed::run(args, cx).await,
        JobsCommand::Verify(args) => verify::run(args, cx).await,
    }
}

/// Finds a job of any host; fails with `NotFound` if there is none of this id.
async fn find_job(connected: &Connected, id: JobId) -> Result<FoundJob> {
    let found = JobSources::of(&connected.ports, &connected.target.tenant).find(id).await?;
    found.ok_or_else(|| {
        let place = place(connected);
        Failure::not_found(format!("there is no job {id} in {place}")).hint("`mfctl jobs list` shows the jobs")
    })
}

/// Where all jobs are that a command sees.
const fn place(connected: &Connected) -> &'static str {
    match connected.target.kind {
        TargetKind::Embedded => "this data folder",
        TargetKind::Cluster => "this data folder or in the catalog",
    }
}

/// The failure of a command that shows what this host knows while the catalog could not be read.
fn without_catalog(error: mfctl_core::ports::Error, unknown: &str) -> Failure {
    Failure::from(error).while_doing(unknown)
}
