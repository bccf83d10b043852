//! `mfctl dlq`: lists, shows, redrives and discards dead letters.

pub mod discard;
mod given;
pub mod list;
pub mod redrive;
pub mod show;

use clap::{Args as ClapArgs, Subcommand};
use clap_complete::ArgValueCandidates;

use super::complete;
use super::context::{Connected, Context};
use super::failure::{Failure, Result};
use super::ids;
use super::output::{Cell, Column, TextPage, Tone, humane};
use crate::dlq::report::RunTally;
use crate::dlq::selection::Selection;
use mfctl_core::domain::TopicName;
use mfctl_core::ports::Error;

use given::GivenDeadLetter;

/// Arguments of `mfctl dlq`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl dlq list                                          unresolved dead letters, grouped by error
  mfctl dlq show media.ingested.dlq:3:42                  one dead letter in detail
  mfctl dlq redrive --topic media.ingested.dlq --dry-run  what would be redriven
  mfctl dlq list --kind parser_limit -o name | mfctl dlq discard - --reason 'not ours' --yes")]
pub struct Args {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// List dead letters, grouped by error
    List(list::Args),
    /// Show one dead letter: why it failed, its headers and value, and what a redrive would do
    Show(show::Args),
    /// Send dead letters back to the topic they came from
    Redrive(redrive::Args),
    /// Discard dead letters, with a reason for the ledger
    Discard(discard::Args),
}

pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.command {
        DlqCommand::List(args) => list::run(args, cx).await,
        DlqCommand::Show(args) => show::run(args, cx).await,
        DlqCommand::Redrive(args) => redrive::run(args, cx).await,
        DlqCommand::Discard(args) => discard::run(args, cx).await,
    }
}

/// Which dead letters to redrive or discard. Exactly one of the three must be given.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct SelectionArgs {
    /// Dead letters by id, <dlq-topic>:<partition>:<offset>, or by their asset: its id or at least its first 8 digits; - reads
    /// them from stdin
    #[arg(value_name = "ID", add = ArgValueCandidates::new(complete::dead_letters))]
    ids: Vec<String>,
    /// All dead letters of this topic; can be repeated
    #[arg(long, value_name = "TOPIC", add = ArgValueCandidates::new(complete::dead_letter_topics))]
    topic: Vec<TopicName>,
    /// All dead letters of every dead-letter topic; parked topics are not included
    #[arg(long)]
    all: bool,
}

impl SelectionArgs {
    fn parse(&self) -> Result<GivenSelection> {
        if self.all {
            return Ok(GivenSelection::Known(Selection::All));
        }
        if self.topic.is_empty() {
            Ok(GivenSelection::DeadLetters(ids::parse_all(&self.ids)?))
        } else {
            Ok(GivenSelection::Known(Selection::Topics(self.topic.clone())))
        }
    }

    /// The selection in words, for prompts and messages.
    fn description(&self) -> String {
        if self.all {
            return "every dead-letter topic".to_owned();
        }
        let topics: Vec<&str> = self.topic.iter().map(TopicName::as_str).collect();
        if topics.is_empty() { "the given ids".to_owned() } else { topics.join(", ") }
    }
}

/// A selection whose assets are yet to be looked up.
enum GivenSelection {
    Known(Selection),
    DeadLetters(Vec<GivenDeadLetter>),
}

impl GivenSelection {
    /// With `with_parked`, an asset's parked dead letters are selected too.
    async fn resolve(self, with_parked: bool, connected: &Connected, cx: &Context) -> Result<Selection> {
        match self {
            Self::Known(selection) => Ok(selection),
            Self::DeadLetters(given) => {
                Ok(Selection::Ids(given::to_change(given, with_parked, connected, cx.out()).await?))
            }
        }
    }
}

/// Prints the counts of each topic, and the first skipped dead letters with their reasons.
fn print_tally(tally: &RunTally, page: &mut TextPage) {
    const MAX_SKIPPED_ROWS: usize = 50;
    let columns = [
        Column::text("TOPIC"),
        Column::number("REDRIVEN"),
        Column::number("PARKED"),
        Column::number("DISCARDED"),
        Column::number("RESOLVED BEFORE").rank(2),
        Column::number("SKIPPED").rank(1),
    ];
    let rows = tally.topics.iter().map(|topic| {
        let counts = [topic.redriven, topic.parked, topic.discarded, topic.skipped_resolved, topic.skipped];
        let mut row = vec![Cell::new(topic.topic.as_str())];
        row.extend(counts.map(|count| Cell::new(humane::count(count))));
        row
    });
    page.table(&columns, rows.collect());
    if tally.skipped.is_empty() {
        return;
    }
    page.heading("Skipped");
    let rows = tally
        .skipped
        .iter()
        .take(MAX_SKIPPED_ROWS)
        .map(|skipped| vec![Cell::new(skipped.id.to_string()), Cell::new(skipped.reason.text()).tone(Tone::Warn)]);
    page.table(&[Column::whole("ID"), Column::text("REASON")], rows.collect());
    let more = tally.skipped_count().saturating_sub(MAX_SKIPPED_ROWS as u64);
    if more > 0 {
        page.line(format!("and {} more; `-o json` lists them", humane::count(more)));
    }
}

/// The counts in words: `12 redriven, 1 parked, 2 skipped`.
fn tally_summary(tally: &RunTally) -> String {
    let counts = [
        (tally.redriven, "redriven"),
        (tally.parked, "parked"),
        (tally.discarded, "discarded"),
        (tally.skipped_resolved, "resolved before"),
        (tally.skipped_count(), "skipped"),
    ];
    let parts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, label)| format!("{} {label}", humane::count(*n))).collect();
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
}

/// The failure of a run that an error ended. Its committed transactions stay.
fn run_failure(error: Error, tally: &RunTally, remaining: u64) -> Failure {
    let fenced = error.kind() == mfctl_core::ports::ErrorKind::Fenced;
    let failure = Failure::from(error);
    let kind_hint = if fenced {
        "another redrive or discard of the same topic took over; its results are in the ledger: see `mfctl dlq list`"
    } else {
        "what was done is in the ledger: run the same command again to process the rest"
    };
    failure
        .while_doing(format!("stopped after {}, {} left", tally_summary(tally), humane::count(remaining)))
        .hint(kind_hint)
}
