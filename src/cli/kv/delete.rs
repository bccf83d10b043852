//! `mfctl kv delete`: removes a setting; its last value stays in the history.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::change::{self, Ask, How, Wish};
use super::get::missing;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::kv::write::SettingEdit;

/// Arguments of `mfctl kv delete`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The last value stays in the history: `mfctl kv rollback KEY` brings it back.

Examples:
  mfctl kv delete media-api/banner --reason 'maintenance is over'
  mfctl kv delete media-api/banner --reason 'over' --dry-run

Exit codes: 0 removed, 2 wrong usage, 5 Consul not reachable, 6 there is no such setting, 7 somebody else is changing
something, or it is not what it was, 8 not confirmed, or a manifest declares it")]
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
    let is = Some(site.store.get(&key.path(site.env())).await?.ok_or_else(|| missing(&key))?);
    let edits = vec![SettingEdit { key, current: is, to: None }];
    change::run(cx, &site, &args.how, Wish { verb: "kv delete", edits, unchanged: 0, ask: Ask::Always }).await
}
