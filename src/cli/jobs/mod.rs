//! `mfctl jobs`: ingest jobs of this host: what they did, what failed, whether their sources may be deleted.

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
  mfctl jobs verify JOB                  may I delete the source?")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List jobs, latest first
    List(list::Args),
    /// Show a job; follow a running one
    Show(show::Args),
    /// List the files a job could not take, and why
    Failed(failed::Args),
    /// Check that everything a job took is safely stored, its source unchanged, and nothing there left out
    Verify(verify::Args),
}

/// Runs the verb.
///
/// # Errors
/// As each verb's help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.verb {
        Verb::List(args) => list::run(args, cx).await,
        Verb::Show(args) => show::run(args, cx).await,
        Verb::Failed(args) => failed::run(args, cx).await,
        Verb::Verify(args) => verify::run(args, cx).await,
    }
}

/// The job of this id.
async fn job(connected: &Connected, id: JobId) -> Result<Job> {
    connected.ports.journal.job(id).await?.ok_or_else(|| {
        Failure::not_found(format!("there is no job {id} in this data folder"))
            .hint("`mfctl jobs list` shows those that are there")
    })
}
