//! `mfctl db`: the tables of the catalog; those of a cluster over a direct connection to PostgreSQL.

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
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Show applied and pending migrations, and check that none was changed
    Status(status::Args),
    /// Apply pending migrations
    Migrate(migrate::Args),
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    match &args.command {
        DbCommand::Status(args) => status::run(args, cx).await,
        DbCommand::Migrate(args) => migrate::run(args, cx).await,
    }
}

/// The profile's database, whose address goes into the target line. No connection is opened yet.
async fn open(settings: &Settings, cx: &Context) -> Result<PostgresAdmin> {
    let admin = connect::database(settings, &cx.sources().env).await?.ok_or_else(|| no_database(settings))?;
    let mut target = Target::of(settings);
    // Show the address itself, without its password, rather than the reference that holds it.
    for endpoint in target.endpoints.iter_mut().filter(|endpoint| endpoint.service == "database") {
        admin.address().clone_into(&mut endpoint.address);
    }
    cx.out().set_target(&target);
    Ok(admin)
}

fn no_database(settings: &Settings) -> Failure {
    let name = &settings.profile.name;
    if settings.profile.kind == ProfileKind::Embedded {
        return Failure::invalid(format!("profile {name} is embedded: its data folder is migrated automatically"))
            .hint("choose a cluster profile with --profile");
    }
    Failure::not_found(format!("profile {name} has no database address"))
        .hint(format!("set `admin_url` in [profile.{name}.database], by reference: \"env:NAME\" or \"file:/path\""))
}
