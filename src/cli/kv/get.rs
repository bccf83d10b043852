//! `mfctl kv get`: a setting's value.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Format, Page, Render};
use crate::kv::display_value;
use mfctl_core::domain::ConfigKey;

/// Arguments of `mfctl kv get`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Prints the value alone, with a line's end if it has none; --raw prints it byte for byte.

Examples:
  mfctl kv get media-api/max_page_size
  mfctl kv get media-api/max_page_size -o json | jq .version

Exit codes: 0 printed, 2 not a setting's name, 5 Consul not reachable, 6 there is no such setting, 8 of another environment")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::settings))]
    key: String,
    /// Byte for byte, without a line's end of ours
    #[arg(long)]
    raw: bool,
}

/// What `mfctl kv get` prints as a document.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvValue {
    /// The key.
    pub key: ConfigKey,
    /// Its value; `base64:…` for one that is no text.
    pub value: String,
    /// Its version: it grows with each change.
    pub version: u64,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let key = site.key(&args.key)?;
    let entry = site.store.get(&key.path(site.env())).await?.ok_or_else(|| missing(&key))?;
    if cx.out().options().format != Format::Table {
        return cx.out().print(&KvValue { key, value: display_value(&entry.value), version: entry.version });
    }
    let mut bytes = entry.value;
    if !args.raw && !bytes.ends_with(b"\n") {
        bytes.push(b'\n');
    }
    cx.out().raw(&bytes)
}

/// There is no such setting.
pub fn missing(key: &ConfigKey) -> Failure {
    Failure::not_found(format!("there is no setting {key}"))
        .hint(format!("`mfctl kv list {}` shows which there are", key.service()))
}

impl Render for KvValue {
    fn page(&self, page: &mut Page) {
        page.line(&self.value);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.to_string()])
    }
}
