//! `mfctl jobs`: lists and shows the ingest jobs of this host, and verifies that their sources may be deleted.

pub mod failed;
pub mod list;
pub mod show;
pub mod verify;

use clap::{Args as ClapArgs, Subcommand};

use super::context::{Connected, Context};
use super::failure::{Failure, Result};
use mfctl_core::domain::JobId;
use mfctl_core::domain::job::Job;

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

/// Reads a job from the journal; fails with `NotFound` if there is none of this id.
async fn find_job(connected: &Connected, id: JobId) -> Result<Job> {
    connected.ports.journal.job(id).await?.ok_or_else(|| {
        Failure::not_found(format!("there is no job {id} in this data folder")).hint("`mfctl jobs list` shows the jobs")
    })
}
