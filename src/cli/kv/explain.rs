//! `mfctl kv explain`: where a setting comes from.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::get::missing;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Page, Render, Tone, humane};
use crate::kv::break_glass::{BreakGlassException, BreakGlassExceptions};
use crate::kv::declared::KeyDeclarations;
use crate::kv::display_value;
use crate::kv::history::{self, HistoryHeader};
use mfctl_core::domain::ConfigKey;

/// Arguments of `mfctl kv explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl kv explain media-api/max_page_size
  mfctl kv explain media-api/max_page_size -o json | jq .declared_at

Exit codes: 0 explained, 2 not a setting's name, 5 Consul not reachable, 6 there is and was no such setting")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::settings))]
    key: String,
}

/// What `mfctl kv explain` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvExplainReport {
    /// The key.
    pub key: ConfigKey,
    /// Its whole name in the store.
    pub path: String,
    /// Its value; null where it is not there any more.
    pub value: Option<String>,
    /// Its version; null where it is not there any more.
    pub version: Option<u64>,
    /// Where a manifest declares it, as `base/consul-keys.yaml:7`; null for one that is changed by hand.
    pub declared_at: Option<String>,
    /// Who changed a declared key by hand, and until when; null where nobody did.
    pub broken_glass: Option<BreakGlassException>,
    /// The last change that mfctl made; null where it made none.
    pub last_change: Option<HistoryHeader>,
    /// How many changes its history has.
    pub changes: u64,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let key = site.key(&args.key)?;
    let (store, env) = (site.store.as_ref(), site.env());
    let (path, entry) = (key.path(env), store.get(&key.path(env)).await?);
    let mut history = history::read(store, env).await?.entries;
    history.retain(|entry| entry.head.key == key);
    let declared_at = KeyDeclarations::read(store, env).await?.location(&key).map(str::to_owned);
    if entry.is_none() && history.is_empty() && declared_at.is_none() {
        return Err(missing(&key));
    }
    let changes = history.len() as u64;
    cx.out().print(&KvExplainReport {
        path,
        value: entry.as_ref().map(|entry| display_value(&entry.value)),
        version: entry.as_ref().map(|entry| entry.version),
        declared_at,
        broken_glass: BreakGlassExceptions::read(store, env).await?.get(&key).cloned(),
        last_change: history.into_iter().next().map(|entry| entry.head),
        changes,
        key,
    })
}

impl Render for KvExplainReport {
    fn page(&self, page: &mut Page) {
        page.heading(self.key.to_string());
        match &self.value {
            Some(value) => page.line(format!("  value       {value:?}")),
            None => page.toned("  value       not there", Tone::Warn),
        };
        page.line(format!("  kept at     {}", self.path));
        match &self.declared_at {
            Some(place) => {
                page.line(format!("  declared    {place}: it is changed there, then `mfctl bootstrap apply`"))
            }
            None => page.line("  declared    nowhere: it is changed with `mfctl kv`"),
        };
        if let Some(broken) = &self.broken_glass {
            let BreakGlassException { actor, reason, until, .. } = broken;
            page.toned(format!("  by hand     until {}: {reason} ({actor})", humane::time(*until)), Tone::Warn);
        }
        match &self.last_change {
            Some(HistoryHeader { at, actor, verb, reason, .. }) => {
                page.line(format!("  changed     {} by {actor}, {verb}: {reason}", humane::time(*at)));
                page.line(format!("  history     {}", humane::counted(self.changes, "change", "changes")))
            }
            None => page.line("  changed     by mfctl never"),
        };
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.to_string()])
    }
}
