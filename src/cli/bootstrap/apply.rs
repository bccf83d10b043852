//! `mfctl bootstrap apply`: makes what the contract names and the platform lacks, from built-in defaults.

use clap::{ArgAction, Args as ClapArgs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::bootstrap::{self, Action as What, Applied, Change, Desired, Difference, Plan};
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::guard::{self, Action};
use crate::cli::output::{Cell, Column, Page, Render, Tone, humane};
use crate::cli::pin;
use crate::cli::record;
use crate::cli::target::DataDirMode;
use crate::events::topics::Retention;
use crate::ops::platform::Platform;

/// Partitions of a topic where the profile does not say.
const PARTITIONS: u32 = 6;

/// Arguments of `mfctl bootstrap apply`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Makes what is missing, in this order: the catalog's tables, topics, buckets, schemas. What is there stays as it is; what is
there and differs is told. Run it again at any time: a platform that is complete is left alone.

Examples:
  mfctl bootstrap apply --dry-run               what would be done
  mfctl bootstrap apply --profile prod          asks, then does it
  mfctl bootstrap apply --yes -o json | jq '.changes[] | {kind, name}'

Exit codes: 0 done, or nothing to do, 5 a server is not reachable, 6 a server or right that it needs is missing,
7 another is applying, 8 not confirmed, or another platform than before")]
pub struct Args {
    /// Say what would be done; do nothing
    #[arg(short = 'n', long, action = ArgAction::SetTrue)]
    dry_run: bool,
}

/// What `mfctl bootstrap apply` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BootstrapReport {
    /// Whether nothing was done because nothing was to be.
    pub dry_run: bool,
    /// What was done; on a dry run, what would be.
    pub changes: Vec<Change>,
    /// What was not done because something before it failed.
    pub remaining: Vec<Change>,
    /// What differs from the contract and was left alone.
    pub differences: Vec<Difference>,
    /// Resources that are as they should be.
    pub unchanged: u64,
    /// What could not be looked at, and why.
    pub skipped: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: &Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let desired = desired(&connected);
    let plan = bootstrap::plan(&connected.ports, &desired).await?;
    if args.dry_run || plan.changes.is_empty() {
        return cx.out().print(&BootstrapReport::of(args.dry_run, plan));
    }
    let summary = format!("make or change {}", humane::counted(plan.changes.len() as u64, "resource", "resources"));
    let action = Action { verb: "bootstrap apply", summary, dangerous: false };
    guard::confirm(&action, cx.globals(), &connected.target, cx.out())?;
    let mut report = BootstrapReport::of(false, Plan { changes: Vec::new(), ..plan.clone() });
    let tell =
        |change: &Change| cx.out().note(format!("{} {} {}", verb(change.action), change.kind.as_str(), change.name));
    let Applied { done, remaining, failure } = bootstrap::apply(&connected.ports, &desired, plan, &tell).await;
    (report.changes, report.remaining) = (done, remaining);
    keep_record(&connected, &report, failure.is_some()).await?;
    cx.out().print(&report)?;
    match failure {
        None => pin_it(&connected, &desired).await,
        Some(error) => {
            let done = humane::counted(report.changes.len() as u64, "change was", "changes were");
            Err(Failure::from(error).while_doing(format!("{done} made, {} remain", report.remaining.len())))
        }
    }
}

fn desired(connected: &Connected) -> Desired {
    let settings = &connected.settings;
    let kafka = settings.profile.services.kafka.as_ref();
    Desired {
        env: connected.target.environment.clone(),
        buckets: connected.buckets.clone(),
        partitions: kafka.map_or(PARTITIONS, |kafka| kafka.partitions),
        retention: Retention {
            ingest_raw_days: settings.retention.ingest_raw_days,
            media_days: settings.retention.media_days,
        },
        staging_days: settings.retention.staging_days,
    }
}

/// The record is kept on a topic that may have been made just now, and cannot be where that failed.
async fn keep_record(connected: &Connected, report: &BootstrapReport, failed: bool) -> Result<()> {
    let change = record::Change::of_process("bootstrap apply");
    let result = format!("{} made, {} remain", report.changes.len(), report.remaining.len());
    let written = connected.recorder().append(change, connected.ports.clock.now(), result).await;
    if failed { Ok(()) } else { written }
}

/// The platform that was made is the one this profile knows from now on.
async fn pin_it(connected: &Connected, desired: &Desired) -> Result<()> {
    let mut target = connected.target.clone();
    if target.met.is_some() {
        target.met = Some(Platform::met(&connected.ports, &desired.buckets, &desired.env).await?);
    }
    pin::ensure(&target, connected.ports.clock.now())
}

const fn verb(action: What) -> &'static str {
    match action {
        What::Create => "make",
        What::Update => "change",
    }
}

impl BootstrapReport {
    fn of(dry_run: bool, plan: Plan) -> Self {
        let Plan { changes, differences, unchanged, skipped } = plan;
        Self { dry_run, changes, remaining: Vec::new(), differences, unchanged, skipped }
    }
}

impl Render for BootstrapReport {
    fn page(&self, page: &mut Page) {
        const COLUMNS: [Column; 4] =
            [Column::left("DO"), Column::left("KIND"), Column::left("NAME"), Column::left("WHAT")];
        let row = |word: &'static str, tone: Tone, change: &Change| {
            vec![
                Cell::new(word).tone(tone),
                Cell::new(change.kind.as_str()),
                Cell::new(change.name.as_str()),
                Cell::new(change.detail.as_str()),
            ]
        };
        let done = self.changes.iter().map(|change| match (self.dry_run, change.action) {
            (true, action) => row(verb(action), Tone::Warn, change),
            (false, What::Create) => row("made", Tone::Good, change),
            (false, What::Update) => row("changed", Tone::Good, change),
        });
        let rows: Vec<_> = done.chain(self.remaining.iter().map(|change| row("not done", Tone::Bad, change))).collect();
        if rows.is_empty() {
            page.line("nothing to do");
        } else {
            page.table(&COLUMNS, rows);
        }
        page.line(format!("{} as they should be", humane::counted(self.unchanged, "resource is", "resources are")));
        for differs in &self.differences {
            let line = format!("left alone: {} {} {}", differs.kind.as_str(), differs.name, differs.detail);
            page.toned(line, Tone::Warn);
        }
        for skipped in &self.skipped {
            page.toned(format!("not looked at: {skipped}"), Tone::Warn);
        }
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.changes.iter().map(|change| format!("{}/{}", change.kind.as_str(), change.name)).collect())
    }
}
