//! `mfctl dlq`: what failed, why, and what to do about it.

pub mod discard;
pub mod list;
pub mod redrive;
pub mod show;

use clap::{Args as ClapArgs, Subcommand};
use clap_complete::ArgValueCandidates;

use super::complete;
use super::context::Context;
use super::failure::{Failure, Result};
use super::ids;
use super::output::{Cell, Column, Page, Tone, humane};
use crate::dlq::report::RunTally;
use crate::dlq::selection::Selection;
use mfctl_core::domain::TopicName;
use mfctl_core::ports::Error;

/// Arguments of `mfctl dlq`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl dlq list                                         what failed, grouped by error
  mfctl dlq show media.ingested.dlq:3:42                 one of them, with everything known
  mfctl dlq redrive --topic media.ingested.dlq --dry-run what would be sent back
  mfctl dlq list --kind parser_limit -o name | mfctl dlq discard - --reason 'not ours' --yes")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List dead letters, grouped by error
    List(list::Args),
    /// Show one dead letter: why it failed, its headers and payload, and what a redrive would do
    Show(show::Args),
    /// Send dead letters back to the topic they came from
    Redrive(redrive::Args),
    /// Give dead letters up, with a reason that is kept
    Discard(discard::Args),
}

/// Runs the verb.
///
/// # Errors
/// As each verb's help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    match args.verb {
        Verb::List(args) => list::run(args, cx).await,
        Verb::Show(args) => show::run(args, cx).await,
        Verb::Redrive(args) => redrive::run(args, cx).await,
        Verb::Discard(args) => discard::run(args, cx).await,
    }
}

/// Which dead letters a changing verb works on. One of the three must be given.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
struct Which {
    /// Dead letters by id, <dlq-topic>:<partition>:<offset>; - reads them from stdin
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Everything in this dead-letter topic; can be repeated
    #[arg(long, value_name = "TOPIC", add = ArgValueCandidates::new(complete::dead_letter_topics))]
    topic: Vec<TopicName>,
    /// Everything in every dead-letter topic; parked topics are left alone
    #[arg(long)]
    all: bool,
}

impl Which {
    fn selection(&self) -> Result<Selection> {
        if self.all {
            return Ok(Selection::All);
        }
        if self.topic.is_empty() {
            Ok(Selection::Ids(ids::all(&self.ids)?))
        } else {
            Ok(Selection::Topics(self.topic.clone()))
        }
    }

    /// What a person calls the selection.
    fn name(&self) -> String {
        if self.all {
            return "every dead-letter topic".to_owned();
        }
        let topics: Vec<&str> = self.topic.iter().map(TopicName::as_str).collect();
        if topics.is_empty() { "the ids given".to_owned() } else { topics.join(", ") }
    }
}

/// Lays out what was done, topic by topic, and what was left.
fn tally_page(tally: &RunTally, page: &mut Page) {
    const LISTED: usize = 50;
    let columns = [
        Column::left("TOPIC"),
        Column::right("REDRIVEN"),
        Column::right("PARKED"),
        Column::right("DISCARDED"),
        Column::right("RESOLVED BEFORE"),
        Column::right("SKIPPED"),
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
        .take(LISTED)
        .map(|skipped| vec![Cell::new(skipped.id.to_string()), Cell::new(skipped.reason.text()).tone(Tone::Warn)]);
    page.table(&[Column::left("ID"), Column::left("REASON")], rows.collect());
    let more = tally.skipped_count().saturating_sub(LISTED as u64);
    if more > 0 {
        page.line(format!("and {} more; `-o json` lists them", humane::count(more)));
    }
}

/// `12 redriven, 1 parked, 2 skipped`.
fn told(tally: &RunTally) -> String {
    let counts = [
        (tally.redriven, "redriven"),
        (tally.parked, "parked"),
        (tally.discarded, "discarded"),
        (tally.skipped_resolved, "resolved before"),
        (tally.skipped_count(), "skipped"),
    ];
    let parts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", humane::count(*n))).collect();
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
}

/// The failure of a run that an error ended. What was done before stays done.
fn ended(error: Error, tally: &RunTally, remaining: u64) -> Failure {
    let fenced = error.kind() == mfctl_core::ports::ErrorKind::Fenced;
    let failure = Failure::from(error);
    let kind_hint = if fenced {
        "another redrive or discard of the same topic took over; what it has done is in the ledger: look with `mfctl dlq list`"
    } else {
        "what was done is in the ledger: run the same command again and it goes on with the rest"
    };
    failure.while_doing(format!("stopped after {}, {} left", told(tally), humane::count(remaining))).hint(kind_hint)
}
