//! `mfctl bootstrap`: reconciles the platform with its manifests, previews the changes and detects drift.

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

pub use apply::BootstrapApplyReport;
pub use import::BootstrapImportReport;
pub use init_consul_acl::InitConsulAclReport;
pub use init_vault::InitVaultReport;
pub use report::BootstrapPlanReport;
pub use show::BootstrapShowReport;

/// Arguments of `mfctl bootstrap`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Without a folder, the commands work on mfctl's built-in manifests: the tables, topics, buckets and schemas that the pipeline
itself needs.

Examples:
  mfctl bootstrap init platform                    a starter folder, ready to apply
  mfctl bootstrap plan platform --profile prod     preview the changes
  mfctl bootstrap apply platform --profile prod    make them, after confirmation
  mfctl bootstrap drift platform --profile prod    exit 4 when another tool changed something")]
pub struct Args {
    #[command(subcommand)]
    command: BootstrapCommand,
}

#[derive(Debug, Subcommand)]
enum BootstrapCommand {
    /// Write a starter folder of manifests
    Init(init::Args),
    /// Show the changes that apply would make, field by field
    Plan(plan::Args),
    /// Create missing resources and update those that differ
    Apply(apply::Args),
    /// Check whether the platform still matches its manifests
    Drift(drift::Args),
    /// Write manifests for the resources of an existing platform
    Import(import::Args),
    /// Show the live state of the declared resources
    Show(show::Args),
    /// Initialise a new Vault: hand out key shares, create a bootstrap role, revoke the root token
    InitVault(init_vault::Args),
    /// Bootstrap the ACL system of a new Consul and store its first token in Vault
    InitConsulAcl(init_consul_acl::Args),
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.command {
        BootstrapCommand::Init(args) => init::run(&args, cx).await,
        BootstrapCommand::Plan(args) => plan::run(&args, cx).await,
        BootstrapCommand::Apply(args) => apply::run(&args, cx).await,
        BootstrapCommand::Drift(args) => drift::run(&args, cx).await,
        BootstrapCommand::Import(args) => import::run(&args, cx).await,
        BootstrapCommand::Show(args) => show::run(&args, cx).await,
        BootstrapCommand::InitVault(args) => init_vault::run(&args, cx).await,
        BootstrapCommand::InitConsulAcl(args) => init_consul_acl::run(&args, cx).await,
    }
}
