//! `mfctl kv delete`: deletes a setting; its last value stays in the history.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::change::{self, ChangeOptions, ChangeRequest, Confirmation};
use super::get::setting_not_found;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::kv::write::SettingEdit;

/// Arguments of `mfctl kv delete`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The last value stays in the history: `mfctl kv rollback KEY` restores it.

Examples:
  mfctl kv delete media-api/banner --reason 'maintenance is over'
  mfctl kv delete media-api/banner --reason 'over' --dry-run

Exit codes: 0 deleted, 2 wrong usage, 5 Consul not reachable, 6 no such setting, 7 another change is in progress, or the
setting has changed meanwhile, 8 not confirmed, or a manifest declares it")]
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
    let entry = entry.ok_or_else(|| setting_not_found(&key))?;
    let edits = vec![SettingEdit { key, current: Some(entry), to: None }];
    let request = ChangeRequest { verb: "kv delete", edits, unchanged: 0, confirmation: Confirmation::Always };
    change::run(cx, &connection, &args.options, request).await
}
