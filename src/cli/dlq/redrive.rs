//! `mfctl dlq redrive`: sends dead letters back to the topic they came from, each exactly once.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Which, ended, tally_page, told};
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Cell, Page, Position, Render, Tone, humane};
use crate::cli::record::Change;
use crate::cli::signals;
use crate::dlq::decide::RedriveRules;
use crate::dlq::report::RunTally;
use crate::dlq::run::{DlqAction, DlqRun, DlqRunResult};
use crate::dlq::selection::SelectionSnapshot;
use crate::ops::target::DataDirMode;
use mfctl_core::domain::Timestamp;

/// Redriven this often, a dead letter is parked.
pub const DEFAULT_MAX_REDRIVES: u32 = 3;

/// Arguments of `mfctl dlq redrive`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Mend the cause first. What is selected is fixed when the command is planned: dead letters that arrive later are not part
of it. Each is sent with its ledger entry in one transaction, so running the command again never sends one twice. One that
came back --max-redrives times goes to the .parked topic instead; `--from-parked` with its id sends it once more and its
count begins anew.

Examples:
  mfctl dlq redrive media.ingested.dlq:3:42          one
  mfctl dlq redrive --topic media.ingested.dlq --dry-run
  mfctl dlq redrive --all --rate 50/s --yes          all, slowly, in a runbook
  mfctl dlq list --kind timeout -o name | mfctl dlq redrive - --yes

Exit codes: 0 done, 2 nothing selected, 3 some were skipped, each one listed, 5 log not reachable, 6 no such topic or no
data folder, 7 another run took over, 8 not confirmed, 129/130/143 stopped between two transactions")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Park what was redriven this often instead of sending it again
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_REDRIVES)]
    max_redrives: u32,
    /// Stop after this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Send at most this many a second, e.g. 50/s
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    rate: Option<NonZeroU32>,
    /// Send parked records that are selected by id or --topic, too
    #[arg(long, conflicts_with = "all")]
    from_parked: bool,
    /// Say what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What `mfctl dlq redrive` and `mfctl dlq discard` print.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DlqRunReport {
    /// The run's id: in the ledger, and in the header `mfctl.redrive` of what was sent.
    pub run_id: String,
    /// Whether this only says what would happen.
    pub dry_run: bool,
    /// What was done and what was left.
    #[serde(flatten)]
    pub tally: RunTally,
    /// Selected dead letters the run did not come to.
    pub remaining: u64,
    /// What ended it before its end.
    pub stopped_by: Option<String>,
    /// How long it took.
    pub elapsed_seconds: f64,
}

fn parse_rate(text: &str) -> std::result::Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().map_err(|_| "give a whole number above 0, e.g. 50/s".to_owned())
}

/// Runs the verb.
///
/// # Errors
/// As its help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let selection = args.which.selection()?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let rules = rules(&connected, args.max_redrives, args.from_parked).await?;
    let run = DlqRun {
        id: uuid::Uuid::now_v7().to_string(),
        actor: connected.settings.profile.actor.clone(),
        env: connected.target.environment.clone(),
        action: DlqAction::Redrive(rules),
        limit: args.limit,
        rate: args.rate.map(NonZeroU32::get),
    };
    let snapshot = SelectionSnapshot::capture(&selection, connected.ports.log.as_ref()).await?;
    let work = Work { verb: "dlq redrive", dangerous: false, which: args.which.name(), dry_run: args.dry_run };
    work.run(&run, &snapshot, &connected, cx).await
}

/// What the decisions need to know of this platform.
pub(super) async fn rules(connected: &Connected, max_redrives: u32, from_parked: bool) -> Result<RedriveRules> {
    let topics = connected.ports.log.topics().await?.into_iter().map(|topic| topic.name).collect();
    Ok(RedriveRules { env: connected.target.environment.clone(), max_redrives, from_parked, topics })
}

/// The part that redrive and discard share: dry run, confirm, do, record, report.
pub(super) struct Work {
    pub(super) verb: &'static str,
    pub(super) dangerous: bool,
    pub(super) which: String,
    pub(super) dry_run: bool,
}

impl Work {
    pub(super) async fn run(
        &self,
        run: &DlqRun,
        snapshot: &SelectionSnapshot,
        connected: &Connected,
        cx: &Context,
    ) -> Result<()> {
        let planned = run.dry_run(snapshot, connected.ports.log.as_ref()).await?;
        if self.dry_run || planned.done() == 0 {
            let report = DlqRunReport::of(run, planned, 0, self.dry_run);
            cx.out().print(&report)?;
            return if self.dry_run { Ok(()) } else { skipped(&report.tally) };
        }
        let action =
            GuardedChange { verb: self.verb, summary: summary(&planned, &self.which), dangerous: self.dangerous };
        guard::confirm(&action, cx.globals(), &connected.target, cx.out())?;
        let at = connected.ports.clock.now();
        let started = Instant::now();
        let finished = carry_out(run, snapshot, planned.done(), connected, cx).await?;
        let remaining = if finished.stopped.is_some() || finished.failed.is_some() {
            planned.done().saturating_sub(finished.tally.done())
        } else {
            0
        };
        let report = DlqRunReport {
            stopped_by: stopped_by(&finished),
            elapsed_seconds: started.elapsed().as_secs_f64(),
            ..DlqRunReport::of(run, finished.tally, remaining, false)
        };
        let recorded = self.record(at, report.told(), connected).await;
        cx.out().print(&report)?;
        if let Some(error) = finished.failed {
            return Err(ended(error, &report.tally, remaining));
        }
        if let Some(reason) = finished.stopped {
            let left = humane::count(remaining);
            let message = format!("{reason} after {}, {left} left", told(&report.tally));
            return Err(signals::stopped(reason, message).hint("run the same command again to go on with the rest"));
        }
        recorded.map_err(|failure| failure.while_doing("it was done, but its record could not be written"))?;
        skipped(&report.tally)
    }

    /// Keeps who did what; the arguments hold no secret.
    async fn record(&self, at: Timestamp, result: String, connected: &Connected) -> Result<()> {
        connected.recorder().append(Change::of_process(self.verb), at, result).await
    }
}

async fn carry_out(
    run: &DlqRun,
    snapshot: &SelectionSnapshot,
    expected: u64,
    connected: &Connected,
    cx: &Context,
) -> Result<DlqRunResult> {
    let stop = cx.stop()?;
    let bar = cx.out().progress("dead letters", "dead letters");
    let show = |tally: &RunTally| {
        bar.set(&Position { done: tally.done(), total: Some(expected), ..Position::default() });
    };
    let (log, clock) = (connected.ports.log.as_ref(), connected.ports.clock.as_ref());
    let finished = run.execute(snapshot, log, clock, &stop, show).await;
    bar.finish();
    Ok(finished)
}

fn stopped_by(finished: &DlqRunResult) -> Option<String> {
    match (&finished.failed, finished.stopped) {
        (Some(error), _) => Some(error.full()),
        (None, reason) => reason.map(|reason| reason.to_string()),
    }
}

/// `send 12 dead letters of media.ingested.dlq back and park 1`.
fn summary(planned: &RunTally, which: &str) -> String {
    let letters = |count| humane::counted(count, "dead letter", "dead letters");
    let mut parts = Vec::new();
    if planned.redriven > 0 {
        parts.push(format!("send {} of {which} back", letters(planned.redriven)));
    }
    if planned.parked > 0 {
        parts.push(format!("park {} that came back too often", letters(planned.parked)));
    }
    if planned.discarded > 0 {
        parts.push(format!("discard {} of {which} for good", letters(planned.discarded)));
    }
    parts.join(" and ")
}

fn skipped(tally: &RunTally) -> Result<()> {
    if tally.skipped_count() == 0 {
        return Ok(());
    }
    let count = humane::counted(tally.skipped_count(), "dead letter was", "dead letters were");
    Err(Failure::partial(format!("{count} skipped; each is listed with its reason"))
        .hint("`mfctl dlq show ID` shows one; `mfctl dlq discard ID --reason TEXT` gives it up"))
}

impl DlqRunReport {
    fn of(run: &DlqRun, tally: RunTally, remaining: u64, dry_run: bool) -> Self {
        Self { run_id: run.id.clone(), dry_run, tally, remaining, stopped_by: None, elapsed_seconds: 0.0 }
    }

    fn told(&self) -> String {
        match &self.stopped_by {
            Some(why) => format!("{}; stopped: {why}; {} left", told(&self.tally), self.remaining),
            None => told(&self.tally),
        }
    }
}

impl Render for DlqRunReport {
    fn page(&self, page: &mut Page) {
        if self.dry_run {
            page.toned(format!("Dry run: {} would be the result; nothing was changed", told(&self.tally)), Tone::Warn);
        } else {
            page.field("run", self.run_id.as_str());
            page.field("result", Cell::new(told(&self.tally)).tone(Tone::Strong));
            page.field("took", humane::duration(Duration::from_secs_f64(self.elapsed_seconds.max(0.0))));
        }
        if let Some(why) = &self.stopped_by {
            page.field("stopped by", Cell::new(why.as_str()).tone(Tone::Bad));
            page.field("left", humane::count(self.remaining));
        }
        page.blank();
        tally_page(&self.tally, page);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.run_id.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_a_second() {
        assert_eq!(parse_rate("50/s").unwrap().get(), 50);
        assert_eq!(parse_rate("50").unwrap().get(), 50);
        assert!(parse_rate("0/s").is_err() && parse_rate("50/m").is_err() && parse_rate("").is_err());
    }
}
