//! `mfctl worker`: the daemons that persist and enrich, on the one consume loop.

mod daemon;
mod instance;
mod listen;
mod reload;
mod report;
mod upkeep;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};

use super::context::Context;
use super::failure::Result;
use crate::settings::{Auto, ByteSize, Ratio, Settings, parse_duration};
use mfctl_core::domain::Stage;
use mfctl_core::telemetry::logs::LogFormat;

pub use report::WorkerReport;

/// Arguments of `mfctl worker`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl worker all                        a daemon that does everything
  mfctl worker all --until-drained        work off what is there, then end
  mfctl worker persist --listen :9464     one stage, with /healthz, /readyz and /metrics")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Move staged files to the durable bucket: ingest.raw to media.ingested
    #[command(after_help = PERSIST_HELP)]
    Persist(RunArgs),
    /// Derive text, thumbnails and search documents: media.ingested to media.enriched
    #[command(after_help = ENRICH_HELP)]
    Enrich(EnrichArgs),
    /// Both, in one process
    #[command(after_help = ALL_HELP)]
    All(EnrichArgs),
}

const PERSIST_HELP: &str = "\
Examples:
  mfctl worker persist
  mfctl worker persist --until-drained -o json | jq .emitted
  mfctl worker persist --listen :9464 --log-format json --instance persist-1

Exit codes: 0 drained, 3 drained and something was dead-lettered, 5 a dependency was down for --give-up-after,
6 what must exist does not, or another environment's or a too new record, 7 the instance is taken,
8 the dead-letter ratio was crossed, 129/130/143 stopped by a signal, everything in flight settled";

const ENRICH_HELP: &str = "\
Examples:
  mfctl worker enrich
  mfctl worker enrich --until-drained --max-pixels 200000000
  mfctl worker enrich --concurrency 8 --memory 1GiB

Exit codes: 0 drained, 3 drained and something was dead-lettered, 5 a dependency was down for --give-up-after,
6 what must exist does not, or another environment's or a too new record, 7 the instance is taken,
8 the dead-letter ratio was crossed, 129/130/143 stopped by a signal, everything in flight settled";

const ALL_HELP: &str = "\
Examples:
  mfctl worker all
  mfctl worker all --until-drained -o json | jq '.stages[] | {stage, emitted, dead_lettered}'
  mfctl worker all --listen 127.0.0.1:9464 --drain-timeout 10s

Exit codes: 0 drained, 3 drained and something was dead-lettered, 5 a dependency was down for --give-up-after,
6 what must exist does not, or another environment's or a too new record, 7 the instance is taken,
8 the dead-letter ratio was crossed, 129/130/143 stopped by a signal, everything in flight settled";

/// What every worker takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct RunArgs {
    /// End when nothing is left for the whole group
    #[arg(long)]
    until_drained: bool,
    /// Records worked on at the same time [default: worker.concurrency; auto looks at the machine]
    #[arg(long, value_name = "N|auto")]
    concurrency: Option<Auto>,
    /// Serve /healthz, /readyz and /metrics there, e.g. 127.0.0.1:9464 or :9464
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
    /// How log lines look on stderr
    #[arg(long, value_name = "FORMAT", default_value = "human", value_parser = log_format())]
    log_format: LogFormat,
    /// How long a stop may take [default: worker.drain_timeout]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    drain_timeout: Option<Duration>,
    /// End with exit code 5 when a dependency is down for this long [default: worker.give_up_after]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    give_up_after: Option<Duration>,
    /// Stop when a larger share of the latest 100 records would be dead letters [default: worker.dead_letter_ratio]
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    dead_letter_ratio: Option<Ratio>,
    /// This worker's name in its group [default: the host and the lowest free slot]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// What a worker that enriches takes beside that.
#[derive(Debug, Clone, ClapArgs)]
pub struct EnrichArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Memory a parser may use [default: enrich.memory]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Processor time a parser may use [default: enrich.cpu]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    cpu: Option<Duration>,
    /// Time on the clock a parser may take [default: enrich.wall]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wall: Option<Duration>,
    /// Pixels an image may declare [default: enrich.max_pixels]
    #[arg(long, value_name = "N")]
    max_pixels: Option<u64>,
    /// Text kept of one file [default: enrich.max_text]
    #[arg(long, value_name = "SIZE")]
    max_text: Option<ByteSize>,
}

impl RunArgs {
    fn over(&self, settings: &mut Settings) {
        let worker = &mut settings.worker;
        worker.concurrency = self.concurrency.unwrap_or(worker.concurrency);
        worker.drain_timeout = self.drain_timeout.unwrap_or(worker.drain_timeout);
        worker.give_up_after = self.give_up_after.unwrap_or(worker.give_up_after);
        worker.dead_letter_ratio = self.dead_letter_ratio.unwrap_or(worker.dead_letter_ratio);
    }
}

impl EnrichArgs {
    /// Those of a worker that enriches nothing.
    const fn of(run: RunArgs) -> Self {
        Self { run, memory: None, cpu: None, wall: None, max_pixels: None, max_text: None }
    }

    /// The settings with these flags on top.
    fn over(&self, settings: &mut Settings) {
        self.run.over(settings);
        let enrich = &mut settings.enrich;
        enrich.memory = self.memory.unwrap_or(enrich.memory);
        enrich.cpu = self.cpu.unwrap_or(enrich.cpu);
        enrich.wall = self.wall.unwrap_or(enrich.wall);
        enrich.max_pixels = self.max_pixels.unwrap_or(enrich.max_pixels);
        enrich.max_text = self.max_text.unwrap_or(enrich.max_text);
    }
}

/// Runs the verb.
///
/// # Errors
/// As each verb's help says.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let (flags, stages): (EnrichArgs, &[Stage]) = match args.verb {
        Verb::Persist(run) => (EnrichArgs::of(run), &[Stage::Persist]),
        Verb::Enrich(args) => (args, &[Stage::Enrich]),
        Verb::All(args) => (args, &[Stage::Persist, Stage::Enrich]),
    };
    Box::pin(daemon::run(flags, stages, cx)).await
}

/// `:9464` means every address of this host.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("{text:?} is not an address and port, such as 127.0.0.1:9464 or :9464"))
}

fn ratio(text: &str) -> Result<Ratio, String> {
    let raw = crate::settings::RawValue::Text(text.to_owned());
    <Ratio as crate::settings::SettingValue>::parse(&raw).ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

fn log_format() -> impl clap::builder::TypedValueParser<Value = LogFormat> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(["human", "json"]).try_map(|text| text.parse::<LogFormat>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_means_every_address() {
        assert_eq!(address(":9464").unwrap().to_string(), "0.0.0.0:9464");
        assert_eq!(address("[::1]:1").unwrap().to_string(), "[::1]:1");
        assert!(address("9464").is_err());
    }
}
