//! `mfctl kv history`: what was changed, by whom, when and why.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, Item, humane};
use crate::kv::display_value;
use crate::kv::history::{self, HistoryEntry, HistoryHeader};

/// Arguments of `mfctl kv history`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
The latest first. Each change is shown with the value it replaced: `mfctl kv rollback KEY --to ID` brings that one back.

Examples:
  mfctl kv history                                    of every setting
  mfctl kv history media-api/max_page_size
  mfctl kv history media-api -o jsonl | jq '[.at, .actor, .reason]'

Exit codes: 0 listed, 2 wrong usage, 3 a record cannot be read, 5 Consul not reachable, 6 the profile names no Consul")]
pub struct Args {
    /// Only this setting's, or this service's
    #[arg(value_name = "KEY|SERVICE", add = ArgValueCandidates::new(complete::settings))]
    of: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// A change in a list.
#[derive(Debug, Serialize)]
struct Changed {
    id: String,
    #[serde(flatten)]
    head: HistoryHeader,
    /// The value that was there before.
    before: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let site = cx.connect_config().await?;
    let (key, service) = match args.of.as_deref() {
        Some(text) if text.contains('/') => (Some(site.key(text)?), None),
        text => (None, site.service(text)?),
    };
    let mut history = history::read(site.store.as_ref(), site.env()).await?;
    let is_meant = |entry: &HistoryEntry| {
        let found = &entry.head.key;
        key.as_ref().is_none_or(|key| key == found) && service.is_none_or(|service| service == found.service())
    };
    history.entries.retain(is_meant);
    if let (true, Some(of)) = (history.entries.is_empty(), &args.of) {
        cx.out().note(format!("no change of {of} is on record"));
    }
    let more = history.entries.len().saturating_sub(args.limit) as u64;
    let mut rows = cx.out().list::<Changed>("changes");
    for HistoryEntry { id, head, before } in history.entries.into_iter().take(args.limit) {
        rows.push(&Changed { id, head, before: before.as_deref().map(display_value) })?;
    }
    rows.finish()?;
    if more > 0 {
        cx.out().note(format!("{} before these; more with --limit", humane::counted(more, "change", "changes")));
    }
    super::readable(&history.unreadable)
}

impl Item for Changed {
    const COLUMNS: &'static [Column] = &[
        Column::left("CHANGE"),
        Column::left("AT"),
        Column::left("SETTING"),
        Column::left("DONE"),
        Column::left("BEFORE"),
        Column::left("BY"),
        Column::left("WHY"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let HistoryHeader { key, action, at, actor, reason, .. } = &self.head;
        vec![
            Cell::new(self.id.as_str()),
            Cell::new(humane::time(*at)),
            Cell::new(key.to_string()),
            Cell::new(action.as_str()),
            Cell::maybe(self.before.clone()),
            Cell::new(actor.as_str()),
            Cell::new(reason.as_str()),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}
