//! `mfctl dlq list`: lists dead letters, grouped by error or one by one.

use clap::Args as ClapArgs;
use clap_complete::ArgValueCandidates;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::nul_names::NulNames;
use crate::cli::output::{Cell, Column, ListItem, Render, TextPage, Tone, humane};
use crate::cli::since::Since;
use crate::dlq::list::{self, DeadLetterFilter, ErrorGroup, ErrorGroups, ListedDeadLetter};
use crate::ops::target::DataDirMode;
use mfctl_core::domain::{Timestamp, TopicName};
use mfctl_core::events::dead_letters;
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::ports::EventLog;

/// Arguments of `mfctl dlq list`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl dlq list                                  unresolved dead letters, grouped by error
  mfctl dlq list --since 2h --topic ingest.raw.dlq
  mfctl dlq list --each --kind parser_limit       one row per dead letter
  mfctl dlq list -o name | mfctl dlq redrive - --dry-run

Exit codes: 0 listed, 5 log not reachable, 6 no such topic or no data folder")]
pub struct Args {
    /// Only this dead-letter or parked topic
    #[arg(long, value_name = "TOPIC", add = ArgValueCandidates::new(complete::dead_letter_topics))]
    topic: Option<TopicName>,
    /// Only this error kind; can be repeated
    #[arg(long, value_name = "KIND", add = ArgValueCandidates::new(complete::error_kinds))]
    kind: Vec<String>,
    /// Only records dead-lettered since: an RFC 3339 time, or how long ago (15m, 2h, 3d)
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Include resolved and parked dead letters
    #[arg(long)]
    all: bool,
    /// Print one row per dead letter instead of groups
    #[arg(long)]
    each: bool,
    #[command(flatten)]
    nul_names: NulNames,
}

/// The output of `mfctl dlq list`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DlqListReport {
    /// Matching dead letters without a ledger entry; parked topics are not counted.
    pub unresolved: u64,
    /// Matching dead letters with a ledger entry; parked topics are not counted.
    pub resolved: u64,
    /// Records in parked topics without a ledger entry, regardless of the filters: an operator must decide on them.
    pub parked_waiting: u64,
    /// The groups with unresolved dead letters, or all groups with `--all`.
    pub groups: Vec<ErrorGroup>,
    /// Dead letters counted in an `(other)` group because there are too many groups.
    pub not_grouped: u64,
    /// Ledger records that cannot be read; their dead letters count as unresolved.
    pub ledger_unreadable: u64,
    #[serde(skip)]
    now: Option<Timestamp>,
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    args.nul_names.apply(cx.out())?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let log = connected.ports.log.as_ref();
    let now = connected.ports.clock.now();
    let filter = DeadLetterFilter {
        topic: args.topic,
        kinds: args.kind,
        since: args.since.map(|since| since.resolve(now)),
        with_parked: args.all,
    };
    let ledger = Ledger::load(log).await?;
    if args.each || cx.out().prints_only_names() {
        let mut rows = cx.out().list::<ListedDeadLetter>("dead_letters");
        list::for_each_dead_letter(log, &ledger, &filter, |letter| {
            if args.all || letter.resolution.is_none() { rows.push(&letter) } else { Ok(()) }
        })
        .await?;
        return rows.finish();
    }
    cx.out().print(&group_report(log, &ledger, &filter, args.all, now).await?)
}

async fn group_report(
    log: &dyn EventLog,
    ledger: &Ledger,
    filter: &DeadLetterFilter,
    all: bool,
    now: Timestamp,
) -> Result<DlqListReport> {
    let mut groups = ErrorGroups::default();
    let mut unresolved = 0;
    let mut resolved = 0;
    list::for_each_dead_letter::<mfctl_core::ports::Error>(log, ledger, filter, |letter| {
        if letter.id.topic.is_dead_letters() {
            let count = if letter.resolution.is_none() { &mut unresolved } else { &mut resolved };
            *count += 1;
        }
        groups.add(letter);
        Ok(())
    })
    .await?;
    let (mut groups, not_grouped) = groups.finish();
    groups.retain(|group| all || group.unresolved > 0);
    let parked_waiting = count_parked_waiting(log, ledger).await?;
    let ledger_unreadable = ledger.unreadable();
    Ok(DlqListReport { unresolved, resolved, parked_waiting, groups, not_grouped, ledger_unreadable, now: Some(now) })
}

/// Counts the records of parked topics that have no ledger entry.
async fn count_parked_waiting(log: &dyn EventLog, ledger: &Ledger) -> Result<u64> {
    let mut topics = dead_letters::topics(log).await?;
    topics.retain(TopicName::is_parked);
    let mut waiting = 0;
    for partition in log.offsets(&topics).await? {
        let mut pager = Pager::whole(&partition);
        while let Some(records) = pager.next_page(log).await? {
            waiting += records.iter().filter(|record| ledger.get(record).is_none()).count() as u64;
        }
    }
    Ok(waiting)
}

impl Render for DlqListReport {
    fn page(&self, page: &mut TextPage) {
        let tone = if self.unresolved > 0 { Tone::Bad } else { Tone::Good };
        page.field("unresolved", Cell::new(humane::count(self.unresolved)).tone(tone));
        page.field("resolved", Cell::new(humane::count(self.resolved)));
        let tone = if self.parked_waiting > 0 { Tone::Warn } else { Tone::Plain };
        page.field("parked, waiting for an operator", Cell::new(humane::count(self.parked_waiting)).tone(tone));
        if self.ledger_unreadable > 0 {
            let records = humane::counted(self.ledger_unreadable, "record", "records");
            page.toned(format!("{records} of the ledger cannot be read"), Tone::Bad);
        }
        if self.groups.is_empty() {
            return;
        }
        page.blank();
        let columns = [
            Column::number("UNRESOLVED"),
            Column::number("RESOLVED").rank(3),
            Column::text("TOPIC").rank(1),
            Column::whole("KIND"),
            Column::text("MESSAGE"),
            Column::text("GROUP").rank(4),
            Column::whole("LAST").rank(2),
            Column::whole("EXAMPLE").rank(1),
        ];
        page.table(&columns, self.groups.iter().map(|group| group_cells(group, self.now)).collect());
        let kept: u64 = self.groups.iter().map(|group| group.kept_records).sum();
        if kept > 0 {
            let bytes = self.groups.iter().map(|group| group.kept_record_bytes).sum();
            let records = humane::counted(kept, "record is", "records are");
            page.line(format!(
                "{records} too large for a dead-letter topic and kept in the object store: {}",
                humane::bytes(bytes)
            ));
        }
        if self.not_grouped > 0 {
            let not_grouped = humane::counted(self.not_grouped, "dead letter was", "dead letters were");
            page.line(format!(
                "{not_grouped} counted under (other): too many different errors; narrow the list with --topic or --kind"
            ));
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.groups.iter().flat_map(|group| &group.sample_ids).map(ToString::to_string).collect())
    }
}

fn group_cells(group: &ErrorGroup, now: Option<Timestamp>) -> Vec<Cell> {
    let tone = if group.unresolved > 0 { Tone::Bad } else { Tone::Dim };
    let last =
        now.map_or_else(|| humane::time(group.last_failed_at), |now| humane::time_and_age(group.last_failed_at, now));
    vec![
        Cell::new(humane::count(group.unresolved)).tone(tone),
        Cell::new(humane::count(group.redriven + group.parked + group.discarded)),
        Cell::new(group.topic.as_str()),
        Cell::new(group.kind.as_str()),
        Cell::new(group.message_shape.as_str()),
        Cell::maybe(group.group.as_deref()),
        Cell::new(last),
        Cell::maybe(group.sample_ids.first()),
    ]
}

impl ListedDeadLetter {
    /// The message, with the size of a record that is kept in the object store.
    fn message_and_size(&self) -> String {
        match &self.kept_record {
            Some(kept) => format!("{} (record kept aside: {})", self.error.message, humane::bytes(kept.object_bytes)),
            None => self.error.message.clone(),
        }
    }
}

impl ListItem for ListedDeadLetter {
    const COLUMNS: &'static [Column] = &[
        Column::whole("ID"),
        Column::whole("DEAD-LETTERED").rank(3),
        Column::whole("STATE").rank(1),
        Column::whole("KIND"),
        Column::number("REDRIVES").rank(4),
        Column::whole("ASSET").rank(2),
        Column::text("MESSAGE"),
    ];

    fn cells(&self) -> Vec<Cell> {
        let state = match self.resolution {
            None => Cell::new("unresolved").tone(Tone::Bad),
            Some(resolution) => Cell::new(resolution.as_str()).tone(Tone::Dim),
        };
        vec![
            Cell::new(self.id.to_string()),
            Cell::new(humane::time(self.dead_lettered_at)),
            state,
            Cell::new(self.error.kind.as_str()),
            Cell::new(self.error.redrives.to_string()),
            Cell::maybe(self.asset_id),
            Cell::new(self.message_and_size()),
        ]
    }

    const WIDE_COLUMNS: &'static [Column] = &[
        Column::text("GROUP").rank(9),
        Column::text("WORKER").rank(9),
        Column::whole("CAME FROM").rank(9),
        Column::whole("FIRST FAILED").rank(9),
    ];

    fn wide_cells(&self) -> Vec<Cell> {
        vec![
            Cell::maybe(self.error.group.as_deref()),
            Cell::maybe(self.error.worker.as_deref()),
            Cell::maybe(self.error.source.as_ref()),
            Cell::maybe(self.error.first_failed_at.map(humane::time)),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}
