//! `mfctl kv diff`: shows the changes that a push of a file would make.

use std::path::PathBuf;

use clap::{ArgAction, Args as ClapArgs};

use super::change::{ChangeRequest, Confirmation, KvChangeReport};
use super::push;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::humane;

/// Arguments of `mfctl kv diff`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Shows each difference as the environment's value and the file's value. Changes nothing.

Examples:
  mfctl kv diff media-api.v2.yaml
  mfctl kv diff media-api.v2.yaml --delete -o json | jq '.changes[] | {key, from, to}'

Exit codes: 0 no difference, 2 wrong usage, 4 they differ, 5 Consul not reachable, 6 the file is invalid")]
pub struct Args {
    /// A file with manifests of kind ConsulKeys
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Also show settings of the file's services that are not in the file, as deletions
    #[arg(long, action = ArgAction::SetTrue)]
    delete: bool,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let (edits, unchanged) = push::edits_to_file(&connection, &args.file, args.delete).await?;
    let count = edits.len() as u64;
    let request = ChangeRequest { verb: "kv diff", edits, unchanged, confirmation: Confirmation::Always };
    cx.out().print(&KvChangeReport::planned(&request, true))?;
    match count {
        0 => Ok(()),
        count => {
            let message = humane::counted(count, "setting differs", "settings differ");
            Err(Failure::new(FailureKind::Pending, message)
                .hint("`mfctl kv push` writes the file's settings to the environment"))
        }
    }
}
