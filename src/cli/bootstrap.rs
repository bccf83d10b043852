//! `mfctl bootstrap`: makes the platform what the contract says.

mod apply;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use super::failure::Result;

pub use apply::BootstrapReport;

/// Arguments of `mfctl bootstrap`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl bootstrap apply --dry-run --profile prod   what is missing
  mfctl bootstrap apply --profile prod             make it, after asking")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the topics, buckets, schemas and tables that are missing
    Apply(apply::Args),
}

/// Runs the verb.
///
/// # Errors
/// As each verb's help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.verb {
        Verb::Apply(args) => apply::run(&args, cx).await,
    }
}
