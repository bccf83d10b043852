//! `mfctl kv get`: prints the value of a setting.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Render, TextPage};
use crate::kv::display_value;
use mfctl_core::domain::ConfigKey;

/// Arguments of `mfctl kv get`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Prints only the value, and a newline if it does not end with one; --raw prints it byte for byte.

Examples:
  mfctl kv get media-api/max_page_size
  mfctl kv get media-api/max_page_size -o json | jq .version

Exit codes: 0 printed, 2 not the name of a setting, 5 Consul not reachable, 6 no such setting, 8 in another environment")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::settings))]
    key: String,
    /// Print the value byte for byte, without adding a newline
    #[arg(long)]
    raw: bool,
}

/// The output of `mfctl kv get` as a document.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvValue {
    /// The setting, as `service/key`.
    pub key: ConfigKey,
    /// Its value; `base64:…` if it is not text.
    pub value: String,
    /// Its version, which grows with each change.
    pub version: u64,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let key = connection.parse_key(&args.key)?;
    let entry = connection.store.get(&key.path(connection.env())).await?;
    let entry = entry.ok_or_else(|| setting_not_found(&key))?;
    if !cx.out().options().format.is_table() {
        return cx.out().print(&KvValue { key, value: display_value(&entry.value), version: entry.version });
    }
    let mut bytes = entry.value;
    if !args.raw && !bytes.ends_with(b"\n") {
        bytes.push(b'\n');
    }
    cx.out().raw(&bytes)
}

pub fn setting_not_found(key: &ConfigKey) -> Failure {
    Failure::not_found(format!("there is no setting {key}"))
        .hint(format!("`mfctl kv list {}` lists the settings of the service", key.service()))
}

impl Render for KvValue {
    fn page(&self, page: &mut TextPage) {
        page.line(&self.value);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.to_string()])
    }
}
