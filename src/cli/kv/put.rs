//! `mfctl kv put`: sets the value of a setting.

use std::io::Read;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;

use super::change::{self, ChangeOptions, ChangeRequest, Confirmation};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::kv::write::SettingEdit;
use mfctl_core::ports::MAX_VALUE_BYTES;

/// Arguments of `mfctl kv put`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The value is written as it is, unless the setting has changed since it was read. The previous value is kept in the history.

Examples:
  mfctl kv put media-api/max_page_size 200 --reason 'load test'
  mfctl kv put media-api/banner - --reason 'maintenance' < banner.txt
  mfctl kv put media-api/max_page_size 50 --break-glass 'the database melts' --for 4h
  mfctl kv put media-api/max_page_size 300 --if-version 1207 --reason 'as measured'

Exit codes: 0 written, or nothing to change, 2 wrong usage, 5 Consul not reachable, 6 invalid, 7 another change is in
progress, or the setting has changed meanwhile, 8 refused: a manifest declares it, or it looks like a secret")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::settings))]
    key: String,
    /// The value; - reads it from stdin, byte for byte
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: String,
    /// Write only if the setting has this version; 0: only if it does not exist
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
    #[command(flatten)]
    options: ChangeOptions,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let key = connection.parse_key(&args.key)?;
    let value = if args.value == "-" { read_stdin()? } else { args.value.into_bytes() };
    let entry = connection.store.get(&key.path(connection.env())).await?;
    let version = entry.as_ref().map_or(0, |entry| entry.version);
    if let Some(expected) = args.if_version.filter(|expected| *expected != version) {
        let message = match version {
            0 => format!("{key} does not exist; expected version {expected}"),
            version => format!("{key} has version {version}; expected {expected}"),
        };
        return Err(Failure::new(FailureKind::Conflict, message).hint("nothing was changed; read the setting again"));
    }
    let edit = SettingEdit { key, current: entry, to: Some(value) };
    let unchanged = u64::from(edit.action().is_none());
    let edits = vec![edit];
    let request = ChangeRequest { verb: "kv put", edits, unchanged, confirmation: Confirmation::IfProtected };
    change::run(cx, &connection, &args.options, request).await
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_VALUE_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::invalid("cannot read the value from stdin").because(&error))?;
    match bytes.len() > MAX_VALUE_BYTES {
        true => Err(Failure::invalid("the value is larger than 512 KiB")),
        false => Ok(bytes),
    }
}
