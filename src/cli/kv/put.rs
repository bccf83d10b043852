//! `mfctl kv put`: gives a setting a value.

use std::io::Read;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::change::{self, Ask, How, Wish};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::kv::write::SettingEdit;
use mfctl_core::ports::MAX_VALUE_BYTES;

/// Arguments of `mfctl kv put`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The value is written as it is, if the setting is still what it was when it was read. What was there is kept in the history.

Examples:
  mfctl kv put media-api/max_page_size 200 --reason 'load test'
  mfctl kv put media-api/banner - --reason 'maintenance' < banner.txt
  mfctl kv put media-api/max_page_size 50 --break-glass 'the database melts' --for 4h
  mfctl kv put media-api/max_page_size 300 --if-version 1207 --reason 'as measured'

Exit codes: 0 written, or it is so already, 2 wrong usage, 5 Consul not reachable, 6 invalid, 7 somebody else is changing
something, or it is not what it was, 8 refused: a manifest declares it, or it looks like a secret")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::settings))]
    key: String,
    /// The value; - reads it from stdin, byte for byte
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
    /// Only if it has this version; 0: only if it is not there
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
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
    let to = if args.value == "-" { stdin()? } else { args.value.into_bytes() };
    let is = site.store.get(&key.path(site.env())).await?;
    let version = is.as_ref().map_or(0, |entry| entry.version);
    if let Some(wanted) = args.if_version.filter(|wanted| *wanted != version) {
        let what = match version {
            0 => format!("{key} is not there, and was to have version {wanted}"),
            version => format!("{key} has version {version}, and was to have {wanted}"),
        };
        return Err(Failure::new(FailureKind::Conflict, what).hint("look at it again; nothing was changed"));
    }
    let edit = SettingEdit { key, current: is, to: Some(to) };
    let unchanged = u64::from(edit.action().is_none());
    change::run(cx, &site, &args.how, Wish { verb: "kv put", edits: vec![edit], unchanged, ask: Ask::IfProtected })
        .await
}

fn stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_VALUE_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::invalid("cannot read the value from stdin").because(&error))?;
    match bytes.len() > MAX_VALUE_BYTES {
        true => Err(Failure::invalid("the value is larger than 512 KiB")),
        false => Ok(bytes),
    }
}
