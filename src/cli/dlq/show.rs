//! `mfctl dlq show`: prints one dead letter in detail: error, resolution, asset, headers and value.

use std::sync::Arc;

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use super::given::{self, GivenDeadLetter};
use super::redrive::{DEFAULT_MAX_REDRIVES, kept_records, redrive_rules};
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::ids;
use crate::cli::output::{Cell, Column, Render, TextPage, Tone, humane};
use crate::dlq::show::{self, DeadLetterDetail, ShownBytes};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::Timestamp;
use mfctl_core::events::EventCodec;

/// Lines of a value that a table shows; `--raw` prints all of them.
const MAX_LINES: usize = 200;

/// Arguments of `mfctl dlq show`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl dlq show media.ingested.dlq:3:42
  mfctl dlq show media.ingested.dlq:3:42 --raw | xxd | head
  mfctl dlq show media.ingested.dlq:3:42 -o json | jq .value.json

Exit codes: 0 shown, 2 not an id, 5 log not reachable, 6 no such record or no data folder, or --raw and the whole record is
missing or damaged")]
pub struct Args {
    /// The dead letter, <dlq-topic>:<partition>:<offset>, or its asset by its id or at least its first 4 digits; - reads it from
    /// stdin
    #[arg(value_name = "ID", add = ArgValueCandidates::new(complete::dead_letters))]
    id: String,
    /// Write only the value's bytes to stdout, unchanged
    #[arg(long)]
    raw: bool,
}

/// The output of `mfctl dlq show`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DlqShowReport {
    /// The dead letter.
    #[serde(flatten)]
    pub dead_letter: DeadLetterDetail,
    #[serde(skip)]
    now: Option<Timestamp>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given: GivenDeadLetter = ids::parse_one(&args.id)?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let id = given::to_show(given, &connected).await?;
    let ports = &connected.ports;
    let record = show::fetch_record(ports.log.as_ref(), &id).await?;
    let kept = kept_records(&connected);
    if args.raw {
        let value = show::whole_value(record, &kept).await?;
        return cx.out().raw(value.as_deref().unwrap_or_default());
    }
    let codec = EventCodec::new(Arc::clone(&ports.registry), connected.target.environment.clone());
    let rules = redrive_rules(&connected, DEFAULT_MAX_REDRIVES, false).await?;
    let dead_letter = show::describe(&record, ports, &codec, &rules, &kept).await?;
    cx.out().print(&DlqShowReport { dead_letter, now: Some(ports.clock.now()) })
}

impl Render for DlqShowReport {
    fn page(&self, page: &mut TextPage) {
        let dead_letter = &self.dead_letter;
        let error = &dead_letter.error;
        page.field("id", Cell::new(dead_letter.id.to_string()).tone(Tone::Strong));
        page.field("error", Cell::new(error.kind.as_str()).tone(Tone::Bad));
        page.field("message", error.message.as_str());
        page.field("came from", Cell::maybe(error.source.as_ref()));
        page.field("group", Cell::maybe(error.group.as_deref()));
        page.field("attempts", Cell::maybe(error.attempts));
        page.field("class", Cell::maybe(error.class));
        page.field("first failed", self.time_cell(error.first_failed_at));
        page.field("last failed", self.time_cell(error.last_failed_at.or(Some(dead_letter.dead_lettered_at))));
        page.field("worker", Cell::maybe(error.worker.as_deref()));
        page.field("header format", error.format.as_str());
        page.field("redriven before", dead_letter.redrive.redrives.to_string());
        self.add_resolution(page);
        page.field("a redrive would", self.preview_text());
        self.add_kept_record(page);
        self.add_asset(page);
        page.field("value against its schema", dead_letter.validity.as_str());
        page.heading("Headers");
        let rows =
            dead_letter.headers.iter().map(|header| vec![Cell::new(header.name.as_str()), bytes_cell(&header.value)]);
        page.table(&[Column::text("NAME"), Column::text("VALUE")], rows.collect());
        page.heading(format!(
            "Value ({}, {})",
            dead_letter.value.encoding,
            humane::bytes(dead_letter.value.size_bytes)
        ));
        print_value(&dead_letter.value, page);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.dead_letter.id.to_string()])
    }
}

impl DlqShowReport {
    fn time_cell(&self, at: Option<Timestamp>) -> Cell {
        Cell::maybe(at.map(|at| self.now.map_or_else(|| humane::time(at), |now| humane::time_and_age(at, now))))
    }

    fn add_resolution(&self, page: &mut TextPage) {
        let Some(entry) = &self.dead_letter.resolution else {
            page.field("ledger", Cell::new("unresolved").tone(Tone::Bad));
            return;
        };
        let to = entry.sent_to.as_ref().map(|topic| format!(" to {topic}")).unwrap_or_default();
        let text = format!("{}{to} by {} in run {}", entry.resolution, entry.actor, entry.run);
        page.field("ledger", Cell::new(text).tone(Tone::Good));
        page.field("decided", self.time_cell(Some(entry.at)));
        if let Some(reason) = &entry.reason {
            page.field("reason", reason.as_str());
        }
    }

    fn preview_text(&self) -> String {
        let preview = &self.dead_letter.redrive;
        match (&preview.to, &preview.reason) {
            (Some(to), _) if preview.action == "park" => format!("park it in {to}: it was redriven too often"),
            (Some(to), _) => format!("send it to {to}"),
            (None, Some(reason)) => format!("skip it: {reason}"),
            (None, None) => "skip it".to_owned(),
        }
    }

    fn add_kept_record(&self, page: &mut TextPage) {
        let Some(kept) = &self.dead_letter.kept_record else { return };
        let size = humane::bytes(kept.stub.object_bytes);
        let cell = match &kept.unavailable {
            None => Cell::new(format!("{size} in {}", kept.stub.object)),
            Some(reason) => Cell::new(format!("{size} in {}: {reason}", kept.stub.object)).tone(Tone::Bad),
        };
        page.field("record kept aside", cell);
    }

    fn add_asset(&self, page: &mut TextPage) {
        let Some(asset) = &self.dead_letter.asset else { return };
        let state = asset.state.map_or_else(|| "not in the catalog".to_owned(), |state| state.to_string());
        let flag = asset.dead_lettered.map(|stage| format!(", dead-lettered in {stage}")).unwrap_or_default();
        page.field("asset", format!("{} ({state}{flag})", asset.asset_id));
        if let Some(title) = &asset.title {
            page.field("title", title.as_str());
        }
    }
}

fn bytes_cell(bytes: &ShownBytes) -> Cell {
    match (&bytes.text, bytes.encoding) {
        (Some(text), "hex") => Cell::new(format!("0x{text}{}", ellipsis(bytes))).tone(Tone::Dim),
        (Some(text), _) => Cell::new(format!("{text}{}", ellipsis(bytes))),
        (None, _) => Cell::new("null").tone(Tone::Dim),
    }
}

fn ellipsis(bytes: &ShownBytes) -> &'static str {
    if bytes.truncated { "…" } else { "" }
}

fn print_value(value: &ShownBytes, page: &mut TextPage) {
    if let Some(schema) = value.schema_id {
        page.toned(format!("schema {schema}"), Tone::Dim);
    }
    let text = match &value.json {
        Some(json) => serde_json::to_string_pretty(json).unwrap_or_default(),
        None => value.text.clone().unwrap_or_else(|| "null".to_owned()),
    };
    let mut lines = text.lines();
    for line in lines.by_ref().take(MAX_LINES) {
        page.line(line);
    }
    if lines.next().is_some() || value.truncated {
        page.toned("… truncated; --raw writes all of it", Tone::Dim);
    }
}
