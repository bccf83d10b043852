//! `mfctl worker`: connects, runs the worker daemon and prints its report.

mod report;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args as ClapArgs, Subcommand};
use tracing::Level;

use super::context::{Connected, Context};
use super::failure::{Failure, Result};
use super::flag_bounds::check_flag;
use super::{open_files, signals};
use crate::connect::complete_data_folder;
use crate::daemon::{self, Daemon, DaemonOptions};
use crate::ops::target::{DataDirMode, TargetKind};
use crate::settings::{
    Auto, ByteSize, LayerValue, Layers, Ratio, RawValue, SettingValue, Settings, ValueOrigin, parse_duration,
};
use mfctl_core::domain::Stage;
use mfctl_core::retry::retry_until_deadline;
use mfctl_core::stop::Stop;
use mfctl_core::telemetry::logs::{self, LogFormat, LogOptions};

pub use report::WorkerReport;

/// Arguments of `mfctl worker`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  mfctl worker all                        every stage in one daemon
  mfctl worker all --until-drained        process the backlog, then exit
  mfctl worker persist --listen :9464     one stage, with /healthz, /readyz and /metrics")]
pub struct Args {
    #[command(subcommand)]
    command: WorkerCommand,
}

#[derive(Debug, Subcommand)]
enum WorkerCommand {
    /// Copy staged files to the durable bucket: ingest.raw to media.ingested
    #[command(after_help = PERSIST_HELP)]
    Persist(RunArgs),
    /// Derive text, thumbnails and search documents: media.ingested to media.enriched
    #[command(after_help = ENRICH_HELP)]
    Enrich(EnrichArgs),
    /// Both stages in one process
    #[command(after_help = ALL_HELP)]
    All(EnrichArgs),
}

const PERSIST_HELP: &str = "\
Examples:
  mfctl worker persist
  mfctl worker persist --until-drained -o json | jq .emitted
  mfctl worker persist --listen :9464 --log-format json --instance persist-1

Exit codes: 0 drained, 3 drained and something was dead-lettered, 5 a dependency was down for --give-up-after,
6 something required is missing, or a record is of another environment or a newer mfctl, 7 the instance is taken,
8 the dead-letter ratio was exceeded, 129/130/143 stopped by a signal, everything in flight settled";

const ENRICH_HELP: &str = "\
Examples:
  mfctl worker enrich
  mfctl worker enrich --until-drained --max-pixels 200000000
  mfctl worker enrich --concurrency 8 --memory 1GiB

Exit codes: 0 drained, 3 drained and something was dead-lettered, 5 a dependency was down for --give-up-after,
6 something required is missing, or a record is of another environment or a newer mfctl, 7 the instance is taken,
8 the dead-letter ratio was exceeded, 129/130/143 stopped by a signal, everything in flight settled";

const ALL_HELP: &str = "\
Examples:
  mfctl worker all
  mfctl worker all --until-drained -o json | jq '.stages[] | {stage, emitted, dead_lettered}'
  mfctl worker all --listen 127.0.0.1:9464 --drain-timeout 10s

Exit codes: 0 drained, 3 drained and something was dead-lettered, 5 a dependency was down for --give-up-after,
6 something required is missing, or a record is of another environment or a newer mfctl, 7 the instance is taken,
8 the dead-letter ratio was exceeded, 129/130/143 stopped by a signal, everything in flight settled";

/// Arguments of every worker.
#[derive(Debug, Clone, ClapArgs)]
pub struct RunArgs {
    /// Exit once the whole group has processed every record
    #[arg(long)]
    until_drained: bool,
    /// Records processed at the same time [default: worker.concurrency; auto depends on the machine]
    #[arg(long, value_name = "N|auto")]
    concurrency: Option<Auto>,
    /// Serve /healthz, /readyz and /metrics on this address, e.g. 127.0.0.1:9464 or :9464
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Format of the log lines on stderr
    #[arg(long, value_name = "FORMAT", default_value = "human", value_parser = log_format_parser())]
    log_format: LogFormat,
    /// How long a stop may take [default: worker.drain_timeout]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    drain_timeout: Option<Duration>,
    /// Exit with code 5 when a dependency is down for this long [default: worker.give_up_after]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    give_up_after: Option<Duration>,
    /// Stop when a larger share of the latest 100 records fails for one reason that points to the worker and not to the
    /// files [default: worker.dead_letter_ratio]
    #[arg(long, value_name = "RATIO", value_parser = parse_ratio)]
    dead_letter_ratio: Option<Ratio>,
    /// This worker's name in its group [default: the host, the data folder's id and the lowest free slot]
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Arguments of a worker that enriches.
#[derive(Debug, Clone, ClapArgs)]
pub struct EnrichArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Memory limit of the parser [default: enrich.memory]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// CPU time limit of the parser [default: enrich.cpu]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    cpu: Option<Duration>,
    /// Wall-clock time limit of the parser [default: enrich.wall]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wall: Option<Duration>,
    /// Pixels that an image may declare [default: enrich.max_pixels]
    #[arg(long, value_name = "N")]
    max_pixels: Option<u64>,
    /// Text kept of one file [default: enrich.max_text]
    #[arg(long, value_name = "SIZE")]
    max_text: Option<ByteSize>,
}

/// A setting that a flag gives.
type FlagValue = (&'static str, &'static str, Option<String>);

impl RunArgs {
    fn values(&self) -> [FlagValue; 4] {
        let shown = |time: Option<Duration>| time.map(|time| time.show());
        [
            ("worker.concurrency", "--concurrency", self.concurrency.map(|count| count.show())),
            ("worker.drain_timeout", "--drain-timeout", shown(self.drain_timeout)),
            ("worker.give_up_after", "--give-up-after", shown(self.give_up_after)),
            ("worker.dead_letter_ratio", "--dead-letter-ratio", self.dead_letter_ratio.map(|ratio| ratio.show())),
        ]
    }
}

impl EnrichArgs {
    /// The arguments of a worker that does not enrich.
    const fn without_enrich(run: RunArgs) -> Self {
        Self { run, memory: None, cpu: None, wall: None, max_pixels: None, max_text: None }
    }

    /// The settings that were given as flags: key, flag, value.
    fn given(&self) -> impl Iterator<Item = (&'static str, &'static str, RawValue)> {
        let own = [
            ("enrich.memory", "--memory", self.memory.map(|size| size.show())),
            ("enrich.cpu", "--cpu", self.cpu.map(|time| time.show())),
            ("enrich.wall", "--wall", self.wall.map(|time| time.show())),
            ("enrich.max_pixels", "--max-pixels", self.max_pixels.map(|pixels| pixels.to_string())),
            ("enrich.max_text", "--max-text", self.max_text.map(|size| size.show())),
        ];
        let all = self.run.values().into_iter().chain(own);
        all.filter_map(|(key, flag, value)| Some((key, flag, RawValue::Text(value?))))
    }

    /// Checks the bounds of the flags.
    fn check(&self) -> Result<()> {
        self.given().try_for_each(|(key, flag, value)| check_flag(key, flag, &value))
    }

    /// Overrides settings with the flags that were given.
    fn apply_to(&self, settings: &mut Settings) {
        for (key, flag, value) in self.given() {
            settings.put(key, LayerValue::valid(value, ValueOrigin::flag(flag)));
        }
    }
}

/// Runs the stages until they are drained, are stopped or fail, and prints a report.
///
/// # Errors
/// Every end but that of drained stages without dead letters, and those of [`Daemon::run`].
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let (flags, stages): (EnrichArgs, &[Stage]) = match args.command {
        WorkerCommand::Persist(run) => (EnrichArgs::without_enrich(run), &[Stage::Persist]),
        WorkerCommand::Enrich(args) => (args, &[Stage::Enrich]),
        WorkerCommand::All(args) => (args, &[Stage::Persist, Stage::Enrich]),
    };
    Box::pin(run_stages(flags, stages, cx)).await
}

async fn run_stages(flags: EnrichArgs, stages: &[Stage], cx: &Context) -> Result<()> {
    let started = Instant::now();
    flags.check()?;
    open_files::check_for_worker()?;
    start_logs(flags.run.log_format, cx);
    let stop = cx.stop()?;
    // Before it connects: a worker whose address is taken must not wait for servers first.
    let listener = match flags.run.listen {
        Some(address) => Some(daemon::bind(address).await?),
        None => None,
    };
    let layers = cx.worker_layers()?;
    let connected = connect_with_retry(&layers, &flags, stages, &stop, cx).await?;
    let daemon = new_daemon(connected, layers, flags, stages);
    let listening = |address| cx.out().note(format!("listening on http://{address}"));
    let outcomes = Box::pin(daemon.run(listener, stop, listening)).await?;
    // Tasks that were left behind may still have the data folder's file open.
    if let Some(target) = cx.out().target().filter(|target| target.kind == TargetKind::Embedded) {
        complete_data_folder(&target.data_dir);
    }

    let report = WorkerReport::new(&outcomes, started.elapsed());
    cx.out().print(&report)?;
    report::check_outcomes(&outcomes)
}

/// Connects and checks the topics. Retries during an outage for up to `worker.give_up_after`, because after a power
/// failure servers start in any order.
async fn connect_with_retry(
    layers: &Layers,
    flags: &EnrichArgs,
    stages: &[Stage],
    stop: &Stop,
    cx: &Context,
) -> Result<Connected> {
    let mut host_settings = layers.settings()?;
    flags.apply_to(&mut host_settings);
    let timeout = host_settings.worker.give_up_after;
    let outage = |failure: &Failure| failure.is_outage().then(|| failure.to_string());
    let connect = || async {
        let mut connected = cx.connect_with(layers, DataDirMode::MayCreate).await?;
        flags.apply_to(&mut connected.settings);
        daemon::check_topics(connected.ports.log.as_ref(), stages).await?;
        Ok(connected)
    };
    tokio::select! {
        biased;
        // 1. A stop was requested. First, for it also ends the retries, with the failure of the outage.
        reason = stop.wait() => Err(signals::stopped(reason, format!("the worker was {reason} before it was connected"))),
        // 2. The platform is connected, or cannot be.
        connected = retry_until_deadline(timeout, Duration::MAX, stop, outage, connect) => connected,
    }
}

fn new_daemon(connected: Connected, layers: Layers, flags: EnrichArgs, stages: &[Stage]) -> Daemon {
    let options = DaemonOptions {
        stages: stages.to_vec(),
        instance: flags.run.instance.clone(),
        until_drained: flags.run.until_drained,
    };
    Daemon {
        ports: connected.ports,
        buckets: connected.buckets,
        target: connected.target,
        metrics: connected.metrics,
        settings: connected.settings,
        layers,
        flags: Arc::new(move |settings: &mut Settings| flags.apply_to(settings)),
        options,
        exit_code: report::exit_code,
    }
}

/// Starts logging to stderr: info and above; warnings and above with `-q`, debug lines with `-v`, trace lines with
/// `-vv`.
fn start_logs(format: LogFormat, cx: &Context) {
    let options = cx.out().options();
    let level = match (options.quiet, options.verbose) {
        (true, _) => Level::WARN,
        (false, 0) => Level::INFO,
        (false, 1) => Level::DEBUG,
        _ => Level::TRACE,
    };
    let out = cx.out().clone();
    let logs = LogOptions { format, level, color: options.stderr.color };
    // An error means that the process has a logger already, which stays.
    let _ = logs::init(logs, move || out.log_writer());
}

/// Parses an address and port; `:9464` is that port on every IPv4 address of this host.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("{text:?} is not an address and port, such as 127.0.0.1:9464 or :9464"))
}

fn parse_ratio(text: &str) -> Result<Ratio, String> {
    let raw = RawValue::Text(text.to_owned());
    Ratio::parse(&raw).ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

fn log_format_parser() -> impl clap::builder::TypedValueParser<Value = LogFormat> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(["human", "json"]).try_map(|text| text.parse::<LogFormat>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_every_address() {
        assert_eq!(parse_address(":9464").unwrap().to_string(), "0.0.0.0:9464");
        assert_eq!(parse_address("[::1]:1").unwrap().to_string(), "[::1]:1");
        assert!(parse_address("9464").is_err());
    }
}
