//! `mfctl top`: lag, rates, ingestion latency, dead letters and storage, live.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::context::{Connected, Context};
use super::failure::{Failure, Result};
use super::output::{Cell, Column, Render, TextPage, Tone, humane};
use super::signals;
use crate::ops::notice::NoticeReader;
use crate::ops::target::DataDirMode;
use crate::ops::vitals::{Objectives, Vitals, VitalsMonitor};
use crate::tui;

/// Arguments of `mfctl top`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Keys: q quits, ? explains the others.

Examples:
  mfctl top                          the live dashboard
  mfctl top --once                   one snapshot, as text
  mfctl top --once -o json           one snapshot, for scripts
  mfctl top -o jsonl --interval 5s   a snapshot every 5 seconds, one a line, until Ctrl-C

Exit codes: 0, 2 no terminal and no --once, 5 a dependency is not reachable, 6 no data folder, 130 Ctrl-C")]
pub struct Args {
    /// Print one snapshot and exit
    #[arg(long)]
    once: bool,
    /// How often to refresh, e.g. 500ms, 2s, 1m
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Time window of the latency figures, e.g. 15m, 1h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = interval)]
    window: Duration,
}

fn interval(text: &str) -> std::result::Result<Duration, String> {
    let duration = crate::settings::parse_duration(text)?;
    if duration < Duration::from_millis(100) { Err("at least 100ms".to_owned()) } else { Ok(duration) }
}

/// A monitor of the connected profile's vitals; `window` is the time window of the latency figures.
#[must_use]
pub fn monitor(connected: &Connected, window: Duration) -> VitalsMonitor {
    let slo = &connected.settings.slo;
    let objectives = Objectives {
        latency_seconds: f64::from(slo.latency_seconds),
        latency_objective: slo.latency_objective.get(),
        storage_warn_percent: connected.settings.storage.warn_percent.get(),
    };
    let ports = connected.ports.clone();
    let environment = connected.target.environment.clone();
    VitalsMonitor::new(ports, environment, connected.buckets.clone(), objectives, window)
}

/// Runs the dashboard, or prints one or more snapshots.
///
/// # Errors
/// `Usage` when the dashboard has no terminal; `Interrupted` and the like when it is stopped by a signal; otherwise the
/// errors of the ports.
pub async fn run(args: Args, cx: &Context) -> Result<()> {
    let connected = cx.connect(DataDirMode::MustExist).await?;
    let mut monitor = monitor(&connected, args.window);
    let stop = cx.stop()?;
    if args.once {
        let vitals = tokio::select! {
            vitals = monitor.refresh() => vitals?,
            reason = stop.wait() => return Err(signals::stopped(reason, "the dashboard was stopped")),
        };
        return cx.out().print(&vitals);
    }
    if !cx.out().options().format.is_table() {
        return stream(monitor, args.interval, cx).await;
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("the dashboard needs a terminal on stdin and stdout")
            .hint("`mfctl top --once` prints one snapshot; `-o jsonl` prints one after the other"));
    }
    let title = super::output::target_line(&connected.target).trim_start_matches("target: ").to_owned();
    let notices = NoticeReader { ports: connected.ports.clone(), env: connected.target.environment.clone() };
    let colored = cx.out().options().stdout.color;
    match tui::run(title, monitor, notices, args.interval, colored, &stop).await {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(signals::stopped(reason, "the dashboard was stopped")),
        Err(error) => Err(Failure::unexpected("the terminal cannot be used").because(&error)),
    }
}

/// Prints one snapshot after the other, until stopped.
async fn stream(mut monitor: VitalsMonitor, interval: Duration, cx: &Context) -> Result<()> {
    let stop = cx.stop()?;
    loop {
        tokio::select! {
            vitals = monitor.refresh() => cx.out().refresh(&vitals?)?,
            reason = stop.wait() => return Err(signals::stopped(reason, "the dashboard was stopped")),
        }
        tokio::select! {
            () = mfctl_core::wait::pause(interval) => {}
            reason = stop.wait() => return Err(signals::stopped(reason, "the dashboard was stopped")),
        }
    }
}

impl Render for Vitals {
    fn page(&self, page: &mut TextPage) {
        groups(self, page);
        latency(self, page);
        dead_letters(self, page);
        storage(self, page);
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.groups.iter().map(|group| group.lag.group.to_string()).collect())
    }
}

fn seconds(value: f64) -> String {
    humane::duration(Duration::try_from_secs_f64(value).unwrap_or(Duration::MAX))
}

fn groups(vitals: &Vitals, page: &mut TextPage) {
    page.heading("Groups");
    let rows = vitals.groups.iter().map(|group| {
        let tone = if group.lag.lag > 0 { Tone::Warn } else { Tone::Good };
        vec![
            Cell::new(group.lag.group.as_str()),
            Cell::new(group.lag.members.len().to_string()),
            Cell::new(group.lag.lag_text()).tone(tone),
            Cell::maybe(group.rate_per_second.map(humane::rate)),
            Cell::maybe(group.drained_in_seconds.map(seconds)),
        ]
    });
    let columns = [
        Column::text("GROUP"),
        Column::number("MEMBERS"),
        Column::number("LAG"),
        Column::number("RATE").rank(1),
        Column::number("DRAINED IN"),
    ];
    page.table(&columns, rows.collect());
}

fn latency(vitals: &Vitals, page: &mut TextPage) {
    let latency = &vitals.latency;
    page.heading(format!("Latency, staged to enriched, last {}", seconds(latency.window_seconds as f64)));
    match &latency.quantiles {
        None => page.line("nothing was enriched in this time"),
        Some(q) => page.line(format!(
            "p50 {}  p95 {}  p99 {}  max {}  of {}",
            seconds(q.p50_seconds),
            seconds(q.p95_seconds),
            seconds(q.p99_seconds),
            seconds(q.max_seconds),
            humane::counted(q.count, "asset", "assets")
        )),
    };
    let target = format!("{} within {}", humane::percent(latency.objective), seconds(latency.objective_seconds));
    if let (Some(within), Some(met)) = (latency.within_objective, latency.met) {
        let (word, tone) = if met { ("met", Tone::Good) } else { ("missed", Tone::Bad) };
        page.toned(format!("objective {target}: {word}, {} of them", humane::percent(within)), tone);
    }
}

fn dead_letters(vitals: &Vitals, page: &mut TextPage) {
    page.heading("Dead letters");
    let rows = vitals.dead_letters.iter().map(|topic| {
        let tone = if topic.unresolved > 0 { Tone::Bad } else { Tone::Good };
        vec![
            Cell::new(topic.topic.as_str()),
            Cell::new(humane::count(topic.unresolved)).tone(tone),
            Cell::new(humane::count(topic.total)),
        ]
    });
    page.table(&[Column::text("TOPIC"), Column::number("UNRESOLVED"), Column::number("EVER")], rows.collect());
}

fn storage(vitals: &Vitals, page: &mut TextPage) {
    page.heading("Storage");
    let rows = vitals.storage.buckets.iter().map(|bucket| {
        let more = if bucket.usage.partial { "+" } else { "" };
        vec![
            Cell::new(bucket.bucket.as_str()),
            Cell::new(format!("{}{more}", humane::count(bucket.usage.objects))),
            Cell::new(format!("{}{more}", humane::bytes(bucket.usage.bytes))),
            Cell::maybe(bucket.usage.oldest_at.map(|at| humane::time_and_age(at, vitals.at))),
        ]
    });
    let columns = [Column::text("BUCKET"), Column::number("OBJECTS"), Column::number("BYTES"), Column::whole("OLDEST")];
    page.table(&columns, rows.collect());
    if let Some((capacity, used)) = vitals.storage.capacity.zip(vitals.storage.used_percent) {
        let text = format!("{used:.0} % full, {} free", humane::bytes(capacity.free_bytes));
        page.toned(text, if vitals.storage.warn { Tone::Bad } else { Tone::Plain });
    }
}
