//! `mfctl schema`: the registry's schemas, whether one can follow another, and whether events are what they say.

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
  mfctl schema check                                      can this binary's schemas follow what is registered?
  mfctl schema diff media.enriched-value@1 schemas/media.enriched.json
  mfctl schema validate events.jsonl --topic ingest.raw")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List subjects: version, id, compatibility, and which one this binary writes
    List(list::Args),
    /// Show a schema
    Show(show::Args),
    /// Show what differs between two schemas, by JSON path
    Diff(diff::Args),
    /// Say whether schemas can follow the versions before them
    Check(check::Args),
    /// Register schemas that can follow the versions before them
    Register(register::Args),
    /// Check events against a schema
    Validate(validate::Args),
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.verb {
        Verb::List(args) => list::run(args, cx).await,
        Verb::Show(args) => show::run(args, cx).await,
        Verb::Diff(args) => diff::run(args, cx).await,
        Verb::Check(args) => check::run(args, cx).await,
        Verb::Register(args) => register::run(args, cx).await,
        Verb::Validate(args) => validate::run(args, cx).await,
    }
}
