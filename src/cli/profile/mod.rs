//! `mfctl profile`: the profiles that configuration files define: list them, choose the default one, add one.

mod add;
mod list;
mod select;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use super::failure::Result;

pub use add::ProfileAddReport;
pub use list::ProfileListReport;
pub use select::ProfileUseReport;

/// Arguments of `mfctl profile`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
A profile is a platform that mfctl works on: its environment, its data folder or servers, its tenant. Which one a command
uses: --profile, else MFCTL_PROFILE, else the default one of your own file.

Examples:
  mfctl profile list                                   the profiles, with a mark at the one in use
  mfctl profile use prod-eu                            make it the default one
  mfctl profile add staging --set kind=cluster --set kafka.brokers=kafka-1:9092
  mfctl profile add prod-us --from prod-eu --set kafka.brokers=us-1:9092")]
pub struct Args {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// List the profiles, with a mark at the one in use
    List(list::Args),
    /// Make a profile the default one
    Use(select::Args),
    /// Add a profile to a configuration file
    Add(add::Args),
}

pub fn run(args: &Args, cx: &Context) -> Result<()> {
    match &args.command {
        ProfileCommand::List(args) => list::run(args, cx),
        ProfileCommand::Use(args) => select::run(args, cx),
        ProfileCommand::Add(args) => add::run(args, cx),
    }
}
