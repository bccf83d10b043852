//! `mfctl kv history`: lists the changes of settings, with author, time and reason.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::output::{Cell, Column, ListItem, humane};
use crate::kv::display_value;
use crate::kv::history::{self, HistoryEntry, HistoryHeader};

/// Arguments of `mfctl kv history`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Latest first. Each change is shown with the value that it replaced: `mfctl kv rollback KEY --to ID` restores that value.

Examples:
  mfctl kv history                                    the changes of every setting
  mfctl kv history media-api/max_page_size
  mfctl kv history media-api -o jsonl | jq '[.at, .actor, .reason]'

Exit codes: 0 listed, 2 wrong usage, 3 a record cannot be read, 5 Consul not reachable, 6 the profile has no Consul")]
pub struct Args {
    /// Only changes of this setting or service
    #[arg(value_name = "KEY|SERVICE", add = ArgValueCandidates::new(complete::settings))]
    of: Option<String>,
    /// List at most this many changes
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// One listed change.
#[derive(Debug, Serialize)]
struct KvHistoryRow {
    id: String,
    #[serde(flatten)]
    head: HistoryHeader,
    /// The value that the change replaced.
    before: Option<String>,
}

pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connection = cx.connect_config().await?;
    let (key, service) = match args.of.as_deref() {
        Some(text) if text.contains('/') => (Some(connection.parse_key(text)?), None),
        text => (None, connection.parse_service(text)?),
    };
    let mut history = history::read(connection.store.as_ref(), connection.env()).await?;
    let is_selected = |entry: &HistoryEntry| {
        let changed = &entry.head.key;
        key.as_ref().is_none_or(|key| key == changed) && service.is_none_or(|service| service == changed.service())
    };
    history.entries.retain(is_selected);
    if let (true, Some(of)) = (history.entries.is_empty(), &args.of) {
        cx.out().note(format!("no change of {of} is on record"));
    }
    let omitted = history.entries.len().saturating_sub(args.limit) as u64;
    let mut rows = cx.out().list::<KvHistoryRow>("changes");
    for HistoryEntry { id, head, before, .. } in history.entries.into_iter().take(args.limit) {
        rows.push(&KvHistoryRow { id, head, before: before.as_deref().map(display_value) })?;
    }
    rows.finish()?;
    if omitted > 0 {
        let count = humane::counted(omitted, "earlier change", "earlier changes");
        cx.out().note(format!("{count} not listed; raise --limit to see more"));
    }
    super::check_all_readable(&history.unreadable)
}

impl ListItem for KvHistoryRow {
    const COLUMNS: &'static [Column] = &[
        Column::whole("CHANGE"),
        Column::whole("AT").rank(1),
        Column::whole("SETTING"),
        Column::text("DONE"),
        Column::text("BEFORE").rank(2),
        Column::text("BY"),
        Column::text("WHY"),
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
