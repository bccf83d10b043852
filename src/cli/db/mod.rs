//! `mfctl db`: the tables behind a cluster's catalog, over a connection to their database.

pub mod migrate;
pub mod status;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use super::failure::{Failure, Result};
use crate::connect::{self, PostgresAdmin};
use crate::ops::target::Target;
use crate::settings::{ProfileKind, Settings};

/// Arguments of `mfctl db`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl db status --profile prod
  mfctl db migrate --dry-run --profile prod
  mfctl db migrate --profile prod")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say which migrations were applied, which are pending, and whether all is sound
    Status(status::Args),
    /// Apply the migrations that are pending
    Migrate(migrate::Args),
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    match &args.verb {
        Verb::Status(args) => status::run(args, cx).await,
        Verb::Migrate(args) => migrate::run(args, cx).await,
    }
}

/// The profile's database, announced. No connection is opened yet.
async fn open(cx: &Context) -> Result<(Settings, PostgresAdmin)> {
    let settings = cx.settings()?;
    let admin = connect::database(&settings, &cx.sources().env).await?.ok_or_else(|| none(&settings))?;
    let mut target = Target::of(&settings);
    // Where the address is kept says less than what it says, its password apart.
    for endpoint in target.endpoints.iter_mut().filter(|endpoint| endpoint.service == "database") {
        admin.address().clone_into(&mut endpoint.address);
    }
    cx.out().set_target(&target);
    Ok((settings, admin))
}

fn none(settings: &Settings) -> Failure {
    let name = &settings.profile.name;
    if settings.profile.kind == ProfileKind::Embedded {
        return Failure::invalid(format!("profile {name} is embedded: its folder migrates itself"))
            .hint("choose a cluster profile with --profile");
    }
    Failure::not_found(format!("profile {name} does not say how to reach its database"))
        .hint(format!("set `admin_url` in [profile.{name}.database], by reference: \"env:NAME\" or \"file:/path\""))
}
