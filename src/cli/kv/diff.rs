//! `mfctl kv diff`: what a push of a file would change.

use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs};

use super::change::{Ask, KvChangeReport, Wish};
use super::push;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::humane;

/// Arguments of `mfctl kv diff`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Shows what the environment has, and what the file says. Changes nothing.

Examples:
  mfctl kv diff media-api.v2.yaml
  mfctl kv diff media-api.v2.yaml --delete -o json | jq '.changes[] | {key, from, to}'

Exit codes: 0 the same, 2 wrong usage, 4 they differ, 5 Consul not reachable, 6 the file is wrong")]
pub struct Args {
    /// The file: manifests of kind ConsulKeys
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Also what the file's services have and the file does not name
    #[arg(long, action = ArgAction::SetTrue)]
    delete: bool,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let (edits, unchanged) = push::compare(&site, &args.file, args.delete).await?;
    let count = edits.len() as u64;
    cx.out().print(&KvChangeReport::of(&Wish { verb: "kv diff", edits, unchanged, ask: Ask::Always }, true))?;
    match count {
        0 => Ok(()),
        count => {
            let told = humane::counted(count, "setting differs", "settings differ");
            Err(Failure::new(FailureKind::Pending, told)
                .hint("`mfctl kv push` makes the environment what the file says"))
        }
    }
}
