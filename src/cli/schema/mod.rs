//! `mfctl schema`: the registry's schemas, their compatibility, and whether events are valid.

pub mod check;
pub mod diff;
pub mod list;
pub mod register;
pub mod show;
pub mod validate;

mod source;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use super::failure::Result;

/// Arguments of `mfctl schema`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl schema list                                       what is registered
  mfctl schema check                                      are this binary's schemas compatible with the registered ones?
  mfctl schema diff media.enriched-value@1 schemas/media.enriched.json
  mfctl schema validate events.jsonl --topic ingest.raw")]
pub struct Args {
    #[command(subcommand)]
    command: SchemaCommand,
}

#[derive(Debug, Subcommand)]
enum SchemaCommand {
    /// List subjects: version, id, compatibility, and which one this binary writes
    List(list::Args),
    /// Show a schema
    Show(show::Args),
    /// Show the differences between two schemas, by JSON path
    Diff(diff::Args),
    /// Check whether schemas are compatible with their earlier versions
    Check(check::Args),
    /// Register schemas that are compatible with their earlier versions
    Register(register::Args),
    /// Check events against a schema
    Validate(validate::Args),
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.command {
        SchemaCommand::List(args) => list::run(args, cx).await,
        SchemaCommand::Show(args) => show::run(args, cx).await,
        SchemaCommand::Diff(args) => diff::run(args, cx).await,
        SchemaCommand::Check(args) => check::run(args, cx).await,
        SchemaCommand::Register(args) => register::run(args, cx).await,
        SchemaCommand::Validate(args) => validate::run(args, cx).await,
    }
}
