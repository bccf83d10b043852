//! `mfctl kv explain`: shows where a setting comes from and who changed it.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::get::setting_not_found;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Render, TextPage, Tone, humane};
use crate::kv::break_glass::{BreakGlassException, BreakGlassExceptions};
use crate::kv::declared::KeyDeclarations;
use crate::kv::display_value;
use crate::kv::history::{self, HistoryHeader};
use crate::kv::last_change::OutsideChange;
use crate::settings::{SettingKey, general_key, stored};
use mfctl_core::domain::ConfigKey;

/// Arguments of `mfctl kv explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl kv explain media-api/max_page_size
  mfctl kv explain media-api/max_page_size -o json | jq .declared_at

Exit codes: 0 explained, 2 not the name of a setting, 5 Consul not reachable, 6 the setting does not and did not exist")]
pub struct Args {
    /// <service>/<key>
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::settings))]
    key: String,
}

/// The output of `mfctl kv explain`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KvExplainReport {
    /// The setting, as `service/key`.
    pub key: ConfigKey,
    /// Its full name in the store, as `env/service/key`.
    pub path: String,
    /// What it means, for mfctl's own settings; null for those of other services, which only these know.
    pub description: Option<&'static str>,
    /// The default of one of mfctl's own settings.
    pub default: Option<&'static str>,
    /// The accepted values of one of mfctl's own settings.
    pub expects: Option<String>,
    /// Its value, `base64:…` if it is not text; null if it was deleted.
    pub value: Option<String>,
    /// Its version; null if it was deleted.
    pub version: Option<u64>,
    /// Where a manifest declares it, as `base/consul-keys.yaml:7`; null if it is changed by hand.
    pub declared_at: Option<String>,
    /// The emergency change of a declared key, with its author and expiry; null without one.
    pub broken_glass: Option<BreakGlassException>,
    /// The last change that mfctl made; null if it made none.
    pub last_change: Option<HistoryHeader>,
    /// The change that another tool made after that; null if the key is as mfctl left it.
    pub outside: Option<OutsideChange>,
    /// Number of changes in its history.
    pub changes: u64,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let key = connection.parse_key(&args.key)?;
    let store = connection.store.as_ref();
    let env = connection.env();
    let path = key.path(env);
    let entry = store.get(&path).await?;
    let mut history = history::read(store, env).await?.entries;
    history.retain(|entry| entry.head.key == key);
    let declared_at = KeyDeclarations::read(store, env).await?.location(&key).map(str::to_owned);
    let own = stored::setting_name(key.name()).filter(|_| key.service() == stored::SERVICE).and_then(general_key);
    if entry.is_none() && history.is_empty() && declared_at.is_none() && own.is_none() {
        return Err(setting_not_found(&key));
    }
    let changes = history.len() as u64;
    let outside = history.first().and_then(|last| OutsideChange::after(last, entry.as_ref()));
    cx.out().print(&KvExplainReport {
        path,
        description: own.map(|own| own.doc),
        default: own.map(|own| own.default),
        expects: own.map(SettingKey::accepted),
        value: entry.as_ref().map(|entry| display_value(&entry.value)),
        version: entry.as_ref().map(|entry| entry.version),
        declared_at,
        broken_glass: BreakGlassExceptions::read(store, env).await?.get(&key).cloned(),
        last_change: history.into_iter().next().map(|entry| entry.head),
        outside,
        changes,
        key,
    })
}

impl Render for KvExplainReport {
    fn page(&self, page: &mut TextPage) {
        page.heading(self.key.to_string());
        if let (Some(description), Some(default), Some(expects)) = (self.description, self.default, &self.expects) {
            page.line(format!("  means       {description}"));
            page.line(format!("  accepts     {expects}; default {default}"));
        }
        match &self.value {
            Some(value) => page.line(format!("  value       {value:?}")),
            None if self.default.is_some() => page.line("  value       not set: hosts use their own, or the default"),
            None => page.toned("  value       does not exist", Tone::Warn),
        };
        page.line(format!("  path        {}", self.path));
        match &self.declared_at {
            Some(place) => page.line(format!("  declared    {place}: change it there, then `mfctl bootstrap apply`")),
            None => page.line("  declared    nowhere: change it with `mfctl kv`"),
        };
        if let Some(BreakGlassException { actor, reason, until, .. }) = &self.broken_glass {
            page.toned(format!("  by hand     until {}: {reason} ({actor})", humane::time(*until)), Tone::Warn);
        }
        if let Some(outside) = &self.outside {
            page.toned(format!("  current     {outside}"), Tone::Warn);
        }
        match &self.last_change {
            Some(HistoryHeader { at, actor, verb, reason, .. }) => {
                let label = if self.outside.is_some() { "before that" } else { "changed    " };
                page.line(format!("  {label} {} by {actor}, {verb}: {reason}", humane::time(*at)));
                page.line(format!("  history     {}", humane::counted(self.changes, "change", "changes")))
            }
            None => page.line("  changed     never by mfctl"),
        };
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.key.to_string()])
    }
}
