//! `mfctl kv list`: lists the settings of the environment, or of one service.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, ListItem, humane};
use crate::kv::declared::KeyDeclarations;
use crate::kv::{self, display_value};
use mfctl_core::domain::ConfigKey;

/// Arguments of `mfctl kv list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl kv list                                 the settings of every service
  mfctl kv list media-api
  mfctl kv list -o jsonl | jq 'select(.declared_at == null) | .key'

Exit codes: 0 listed, 2 wrong usage, 5 Consul not reachable, 6 the profile has no Consul")]
pub struct Args {
    /// Only settings of this service
    #[arg(value_name = "SERVICE", add = ArgValueCandidates::new(complete::services))]
    service: Option<String>,
}

/// One listed setting.
#[derive(Debug, Serialize)]
struct KvSettingRow {
    key: ConfigKey,
    value: String,
    version: u64,
    /// Where a manifest declares it, as `file:line`.
    declared_at: Option<String>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let service = connection.parse_service(args.service.as_deref())?;
    let declarations = KeyDeclarations::read(connection.store.as_ref(), connection.env()).await?;
    let settings = kv::read_settings(connection.store.as_ref(), connection.env(), service).await?;
    let mut rows = cx.out().list::<KvSettingRow>("settings");
    for (key, entry) in settings.entries {
        let declared_at = declarations.location(&key).map(str::to_owned);
        rows.push(&KvSettingRow { key, value: display_value(&entry.value), version: entry.version, declared_at })?;
    }
    rows.finish()?;
    if !settings.unrecognized_keys.is_empty() {
        let count = humane::counted(settings.unrecognized_keys.len() as u64, "key", "keys");
        let first = settings.unrecognized_keys.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        cx.out().note(format!("{count} left alone, because the name is not that of a setting: {first}"));
    }
    Ok(())
}

impl ListItem for KvSettingRow {
    const COLUMNS: &'static [Column] = &[
        Column::whole("SETTING"),
        Column::text("VALUE"),
        Column::number("VERSION").rank(1),
        Column::whole("DECLARED AT").rank(2),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::new(self.key.to_string()),
            Cell::new(self.value.clone()),
            Cell::new(self.version.to_string()),
            Cell::maybe(self.declared_at.clone()),
        ]
    }

    fn name(&self) -> String {
        self.key.to_string()
    }
}
