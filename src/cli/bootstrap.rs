//! `mfctl bootstrap`: makes the platform what its manifests say, shows what it would do, and sees what drifted.

mod apply;
mod drift;
mod folder;
mod import;
mod init;
mod init_consul_acl;
mod init_vault;
mod plan;
mod report;
mod show;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use super::failure::Result;

pub use apply::BootstrapReport;
pub use import::ImportReport;
pub use init_consul_acl::InitConsulAclReport;
pub use init_vault::InitVaultReport;
pub use report::PlanReport;
pub use show::ShowReport;

/// Arguments of `mfctl bootstrap`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without a folder, every verb is about mfctl's own defaults: the contract's tables, topics, buckets and schemas.

Examples:
  mfctl bootstrap init platform                    a first folder, which works
  mfctl bootstrap plan platform --profile prod     what would be done
  mfctl bootstrap apply platform --profile prod    do it, after asking
  mfctl bootstrap drift platform --profile prod    exit 4 when something else changed it")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a first folder of manifests, which works
    Init(init::Args),
    /// Show what would be done, field by field
    Plan(plan::Args),
    /// Make what is missing and change what differs
    Apply(apply::Args),
    /// Say whether the platform is still what the manifests say
    Drift(drift::Args),
    /// Write manifests of the platform as it is
    Import(import::Args),
    /// Show what is declared as it is
    Show(show::Args),
    /// Initialise a new Vault: its key to its holders, a role to go on with, no root token left
    InitVault(init_vault::Args),
    /// Begin a new Consul's access control, its first token kept in Vault
    InitConsulAcl(init_consul_acl::Args),
}

/// Runs the verb.
///
/// # Errors
/// As each verb's help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.verb {
        Verb::Init(args) => init::run(&args, cx).await,
        Verb::Plan(args) => plan::run(&args, cx).await,
        Verb::Apply(args) => apply::run(&args, cx).await,
        Verb::Drift(args) => drift::run(&args, cx).await,
        Verb::Import(args) => import::run(&args, cx).await,
        Verb::Show(args) => show::run(&args, cx).await,
        Verb::InitVault(args) => init_vault::run(&args, cx).await,
        Verb::InitConsulAcl(args) => init_consul_acl::run(&args, cx).await,
    }
}
