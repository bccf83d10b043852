//! `mfctl dlq redrive`: sends dead letters back to the topic they came from, each exactly once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use schemars::JsonSchema;
use serde::Serialize;

use super::{SelectionArgs, print_tally, run_failure, tally_summary};
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::guard::{self, GuardedChange};
use crate::cli::output::{Cell, ProgressPosition, Render, TextPage, Tone, humane};
use crate::cli::record::RecordedChange;
use crate::cli::signals;
use crate::dlq::decide::RedriveRules;
use crate::dlq::kept::KeptRecords;
use crate::dlq::report::RunTally;
use crate::dlq::run::{DlqAction, DlqRun, DlqRunResult};
use crate::dlq::selection::SelectionSnapshot;
use crate::ops::target::DataDirMode;
use mfctl_core::domain::Timestamp;

/// A dead letter that was redriven this often is parked instead.
pub const DEFAULT_MAX_REDRIVES: u32 = 3;

/// Arguments of `mfctl dlq redrive`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Fix the cause first. The selection is fixed when the command starts: dead letters that arrive later are not part of it.
Each is sent with its ledger entry in one transaction, so running the command again never sends one twice. A dead letter
that was redriven --max-redrives times is moved to the .parked topic instead; `--from-parked` with its id sends it again
and resets its count.

A dead letter whose record was too large for its topic is sent with its whole record, which is kept in the object store
until then. It is skipped if that record is missing or damaged, or larger than its topic takes.

Examples:
  mfctl dlq redrive media.ingested.dlq:3:42          one dead letter
  mfctl dlq redrive --topic media.ingested.dlq --dry-run
  mfctl dlq redrive --all --rate 50/s --yes          all, at a limited rate, without a prompt
  mfctl dlq list --kind timeout -o name | mfctl dlq redrive - --yes

Exit codes: 0 done, 2 nothing selected, 3 some were skipped, each one listed, 5 log not reachable, 6 no such topic or no
data folder, 7 another run took over, 8 not confirmed, 129/130/143 stopped between two transactions")]
pub struct Args {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Park dead letters that were redriven this often instead of sending them again
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_REDRIVES)]
    max_redrives: u32,
    /// Stop after this many dead letters
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Send at most this many per second, e.g. 50/s
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    rate: Option<NonZeroU32>,
    /// Also send parked records that are selected by id or --topic
    #[arg(long, conflicts_with = "all")]
    from_parked: bool,
    /// Show what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The output of `mfctl dlq redrive` and `mfctl dlq discard`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DlqRunReport {
    /// The run's id, as in the ledger and in the header `mfctl.redrive` of the records that were sent.
    pub run_id: String,
    /// Whether this was a dry run; the counts then say what a run would do.
    pub dry_run: bool,
    /// The counts of the run.
    #[serde(flatten)]
    pub tally: RunTally,
    /// Selected dead letters that the run did not reach.
    pub remaining: u64,
    /// The signal or error that ended the run early.
    pub stopped_by: Option<String>,
    /// How long the run took.
    pub elapsed_seconds: f64,
}

fn parse_rate(text: &str) -> std::result::Result<NonZeroU32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().map_err(|_| "a rate is a whole number above 0, e.g. 50/s".to_owned())
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let given = args.selection.parse()?;
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let selection = given.resolve(args.from_parked, &connected, cx).await?;
    let rules = redrive_rules(&connected, args.max_redrives, args.from_parked).await?;
    let run = DlqRun {
        id: mfctl_core::domain::ids::time_ordered_uuid().to_string(),
        actor: connected.settings.profile.actor.clone(),
        env: connected.target.environment.clone(),
        action: DlqAction::Redrive(rules),
        limit: args.limit,
        rate: args.rate.map(NonZeroU32::get),
    };
    let snapshot = SelectionSnapshot::capture(&selection, connected.ports.log.as_ref()).await?;
    let command = DlqRunCommand {
        verb: "dlq redrive",
        dangerous: false,
        selection: args.selection.description(),
        dry_run: args.dry_run,
    };
    command.run(&run, &snapshot, &connected, cx).await
}

/// The rules of a redrive on this platform, with the topics that exist now.
pub(super) async fn redrive_rules(connected: &Connected, max_redrives: u32, from_parked: bool) -> Result<RedriveRules> {
    let log = connected.ports.log.as_ref();
    let topics = log.topics().await?.into_iter().map(|topic| topic.name).collect();
    let limits_compressed_records = log.limits_compressed_records();
    let env = connected.target.environment.clone();
    Ok(RedriveRules { env, max_redrives, from_parked, topics, limits_compressed_records })
}

/// The kept records of this platform.
pub(super) fn kept_records(connected: &Connected) -> KeptRecords {
    KeptRecords::new(Arc::clone(&connected.ports.objects), &connected.buckets)
}

/// What redrive and discard have in common: dry run, confirmation, execution, operator journal, report.
pub(super) struct DlqRunCommand {
    /// The command as typed: `dlq redrive` or `dlq discard`.
    pub(super) verb: &'static str,
    /// Whether a protected profile asks for its environment's name.
    pub(super) dangerous: bool,
    /// The selection in words.
    pub(super) selection: String,
    pub(super) dry_run: bool,
}

impl DlqRunCommand {
    pub(super) async fn run(
        &self,
        run: &DlqRun,
        snapshot: &SelectionSnapshot,
        connected: &Connected,
        cx: &Context,
    ) -> Result<()> {
        let planned = run.dry_run(snapshot, connected.ports.log.as_ref(), &kept_records(connected)).await?;
        if self.dry_run || planned.done() == 0 {
            let report = DlqRunReport::new(run, planned, 0, self.dry_run);
            cx.out().print(&report)?;
            return if self.dry_run { Ok(()) } else { fail_if_skipped(&report.tally) };
        }
        let summary = confirmation_summary(&planned, &self.selection);
        let action = GuardedChange { verb: self.verb, summary, dangerous: self.dangerous };
        guard::confirm(&action, cx.globals(), &connected.target, cx.out())?;
        let at = connected.ports.clock.now();
        let started = Instant::now();
        let result = execute_with_progress(run, snapshot, planned.done(), connected, cx).await?;
        let remaining = if result.stopped.is_some() || result.failed.is_some() {
            planned.done().saturating_sub(result.tally.done())
        } else {
            0
        };
        let report = DlqRunReport {
            stopped_by: stopped_by(&result),
            elapsed_seconds: started.elapsed().as_secs_f64(),
            ..DlqRunReport::new(run, result.tally, remaining, false)
        };
        let recorded = self.record(at, report.summary(), connected).await;
        cx.out().print(&report)?;
        if let Some(error) = result.failed {
            return Err(run_failure(error, &report.tally, remaining));
        }
        if let Some(reason) = result.stopped {
            let left = humane::count(remaining);
            let message = format!("{reason} after {}, {left} left", tally_summary(&report.tally));
            return Err(signals::stopped(reason, message).hint("run the same command again to process the rest"));
        }
        recorded.map_err(|failure| failure.while_doing("the change was made, but its record could not be written"))?;
        fail_if_skipped(&report.tally)
    }

    /// Records the change in the operator journal. The arguments hold no secret.
    async fn record(&self, at: Timestamp, result: String, connected: &Connected) -> Result<()> {
        connected.recorder().append(RecordedChange::of_process(self.verb), at, result).await
    }
}

async fn execute_with_progress(
    run: &DlqRun,
    snapshot: &SelectionSnapshot,
    expected: u64,
    connected: &Connected,
    cx: &Context,
) -> Result<DlqRunResult> {
    let stop = cx.stop()?;
    let bar = cx.out().progress("dead letters", "dead letters");
    let show_progress = |tally: &RunTally| {
        bar.set(&ProgressPosition { done: tally.done(), total: Some(expected), ..ProgressPosition::default() });
    };
    let log = connected.ports.log.as_ref();
    let clock = connected.ports.clock.as_ref();
    let kept = kept_records(connected);
    let result = run.execute(snapshot, log, &kept, clock, &stop, show_progress).await;
    bar.finish();
    Ok(result)
}

fn stopped_by(result: &DlqRunResult) -> Option<String> {
    match (&result.failed, result.stopped) {
        (Some(error), _) => Some(error.full()),
        (None, reason) => reason.map(|reason| reason.to_string()),
    }
}

/// What the prompt asks to confirm: `redrive 12 dead letters of media.ingested.dlq and park 1 dead letter`.
fn confirmation_summary(planned: &RunTally, selection: &str) -> String {
    let dead_letters = |count| humane::counted(count, "dead letter", "dead letters");
    let mut parts = Vec::new();
    if planned.redriven > 0 {
        parts.push(format!("redrive {} of {selection}", dead_letters(planned.redriven)));
    }
    if planned.parked > 0 {
        parts.push(format!("park {} redriven too often", dead_letters(planned.parked)));
    }
    if planned.discarded > 0 {
        parts.push(format!("permanently discard {} of {selection}", dead_letters(planned.discarded)));
    }
    parts.join(" and ")
}

/// Fails with the exit code for a partial success if the run skipped dead letters that are unresolved.
fn fail_if_skipped(tally: &RunTally) -> Result<()> {
    if tally.skipped_count() == 0 {
        return Ok(());
    }
    let count = humane::counted(tally.skipped_count(), "dead letter was", "dead letters were");
    Err(Failure::partial(format!("{count} skipped; each is listed with its reason"))
        .hint("`mfctl dlq show ID` shows one; `mfctl dlq discard ID --reason TEXT` discards it"))
}

impl DlqRunReport {
    fn new(run: &DlqRun, tally: RunTally, remaining: u64, dry_run: bool) -> Self {
        Self { run_id: run.id.clone(), dry_run, tally, remaining, stopped_by: None, elapsed_seconds: 0.0 }
    }

    /// The result in words, for the operator journal.
    fn summary(&self) -> String {
        match &self.stopped_by {
            Some(cause) => {
                format!("{}; stopped: {cause}; {} left", tally_summary(&self.tally), self.remaining)
            }
            None => tally_summary(&self.tally),
        }
    }
}

impl Render for DlqRunReport {
    fn page(&self, page: &mut TextPage) {
        if self.dry_run {
            page.toned(
                format!("Dry run, nothing was changed. A run would result in: {}", tally_summary(&self.tally)),
                Tone::Warn,
            );
        } else {
            page.field("run", self.run_id.as_str());
            page.field("result", Cell::new(tally_summary(&self.tally)).tone(Tone::Strong));
            page.field("took", humane::duration(Duration::from_secs_f64(self.elapsed_seconds.max(0.0))));
        }
        if let Some(cause) = &self.stopped_by {
            page.field("stopped by", Cell::new(cause.as_str()).tone(Tone::Bad));
            page.field("left", humane::count(self.remaining));
        }
        page.blank();
        print_tally(&self.tally, page);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.run_id.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_positive_number_per_second() {
        assert_eq!(parse_rate("50/s").unwrap().get(), 50);
        assert_eq!(parse_rate("50").unwrap().get(), 50);
        assert!(parse_rate("0/s").is_err() && parse_rate("50/m").is_err() && parse_rate("").is_err());
    }
}
