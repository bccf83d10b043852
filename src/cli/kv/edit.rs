//! `mfctl kv edit`: edits the value of a setting in the operator's editor.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::change::{self, ChangeOptions, ChangeRequest, Confirmation};
use super::editor;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::kv::write::SettingEdit;

/// Arguments of `mfctl kv edit`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Opens the value in $VISUAL or $EDITOR, else vi, in a file that only you can read and that is deleted afterwards, even if
mfctl is killed. If the editor fails, or the value is left as it is, nothing is changed. If another operator has changed the
value meanwhile, yours is not written; it is printed, so that it is not lost.

Examples:
  mfctl kv edit media-api/banner --reason 'maintenance'
  EDITOR='code --wait' mfctl kv edit media-api/banner --reason 'wording'

Exit codes: 0 written, or left as it is, 2 wrong usage, 5 Consul not reachable, 6 no editor, or it failed, or the value
is invalid, 7 changed by another operator meanwhile, 8 refused: a manifest declares it, or it looks like a secret")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::settings))]
    key: String,
    #[command(flatten)]
    options: ChangeOptions,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let key = connection.parse_key(&args.key)?;
    let entry = connection.store.get(&key.path(connection.env())).await?;
    let before = entry.as_ref().map(|entry| entry.value.clone()).unwrap_or_default();
    let before = String::from_utf8(before)
        .map_err(|_| Failure::invalid(format!("the value of {key} is not text: an editor would damage it")))?;
    // Installs the signal handlers, so that Ctrl-C in the editor does not end this process.
    let _stop = cx.stop()?;
    let dir = editor::runtime_dir(cx, &connection.target.data_dir)?;
    let after = editor::edit_text(&before, key.name(), &dir, &cx.sources().env).await?;
    let edit = SettingEdit { key, current: entry, to: Some(after.clone().into_bytes()) };
    let unchanged = u64::from(edit.action().is_none());
    let edits = vec![edit];
    let request = ChangeRequest { verb: "kv edit", edits, unchanged, confirmation: Confirmation::IfProtected };
    let result = change::run(cx, &connection, &args.options, request).await;
    if result.is_err() {
        cx.out().note(format!("this value was not written:\n{after}"));
    }
    result
}
