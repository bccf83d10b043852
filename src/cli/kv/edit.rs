//! `mfctl kv edit`: a setting's value in the operator's editor.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::change::{self, Ask, How, Wish};
use super::editor;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::kv::write::SettingEdit;

/// Arguments of `mfctl kv edit`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Opens the value in $VISUAL or $EDITOR, else vi, in a file that only you can read and that is gone afterwards, whatever
happens. An editor that fails, or a value that is left as it is, changes nothing. One who changed it meanwhile wins: the text is
printed, so that it is not lost.

Examples:
  mfctl kv edit media-api/banner --reason 'maintenance'
  EDITOR='code --wait' mfctl kv edit media-api/banner --reason 'wording'

Exit codes: 0 written, or left as it is, 2 wrong usage, 5 Consul not reachable, 6 no editor, or it failed, 7 somebody else
changed it, 8 refused: a manifest declares it, or it looks like a secret")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::settings))]
    key: String,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let key = site.key(&args.key)?;
    let is = site.store.get(&key.path(site.env())).await?;
    let before = is.as_ref().map(|entry| entry.value.clone()).unwrap_or_default();
    let before = String::from_utf8(before)
        .map_err(|_| Failure::invalid(format!("the value of {key} is no text: an editor would spoil it")))?;
    // Ctrl-C is the editor's.
    let _ours = cx.stop()?;
    let after =
        editor::edited(&before, key.name(), &editor::runtime_dir(cx, &site.target.data_dir)?, &cx.sources().env)
            .await?;
    let edit = SettingEdit { key, current: is, to: Some(after.clone().into_bytes()) };
    let unchanged = u64::from(edit.action().is_none());
    let wish = Wish { verb: "kv edit", edits: vec![edit], unchanged, ask: Ask::IfProtected };
    let done = change::run(cx, &site, &args.how, wish).await;
    if done.is_err() {
        cx.out().note(format!("this was not written:\n{after}"));
    }
    done
}
