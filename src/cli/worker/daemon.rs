//! Puts a worker together: ports, names, logs, the server of `--listen`, one loop per stage, and the end of it all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Level;

use super::instance::{self, Instance};
use super::report::{StageReport, WorkerReport, verdict};
use super::{EnrichArgs, RunArgs, listen, reload, upkeep};
use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::signals;
use crate::cli::target::{DataDirMode, TargetKind};
use crate::pipeline::enrich::Enrich;
use crate::pipeline::persist::Persist;
use crate::pipeline::worker::{self, Until, WorkerEnd, WorkerHealth, WorkerOptions, WorkerOutcome, WorkerPorts};
use crate::settings::Layers;
use mfctl_core::domain::Stage;
use mfctl_core::events::EventCodec;
use mfctl_core::ports::{self, FetchLimits};
use mfctl_core::retry::retry_until_deadline;
use mfctl_core::stop::{Stop, StopReason, Stopper};
use mfctl_core::telemetry::{Metrics, logs};
use mfctl_extract::sandbox::Parser;

/// Runs these stages until they end.
pub(super) async fn run(flags: EnrichArgs, stages: &[Stage], cx: &Context) -> Result<()> {
    let (began, args) = (Instant::now(), &flags.run);
    start_logs(args, cx);
    let stop = cx.stop()?;
    let listener = match args.listen {
        Some(address) => Some(listen::bind(address).await?),
        None => None,
    };
    let layers = cx.layers()?;
    let connected = begin(&layers, &flags, stages, &stop, cx).await?;
    let staging_kept = Duration::from_secs(u64::from(connected.settings.retention.staging_days) * 24 * 60 * 60);
    let (ports, buckets) = (connected.ports.clone(), connected.buckets.clone());
    let keeper = upkeep::Keeper { ports, buckets, staging_kept };
    if connected.target.kind == TargetKind::Embedded {
        keeper.run().await;
    }

    let metrics = Arc::clone(&connected.metrics);
    let mut beside = JoinSet::new();
    let mut crew = Crew::new(&connected, Arc::clone(&metrics), args, stop);
    for stage in stages {
        crew.hire(*stage)?;
    }
    if let Some(store) = &connected.ports.config {
        let (store, settings, live) = (Arc::clone(store), connected.settings.clone(), crew.live.clone());
        beside.spawn(reload::Reload { layers, flags: flags.clone(), settings, live }.follow(store));
    }
    if let Some(listener) = listener {
        if let Ok(address) = listener.local_addr() {
            cx.out().note(format!("listening on http://{address}"));
        }
        let (workers, ports) = (crew.workers.clone(), connected.ports.clone());
        beside
            .spawn(listen::serve(listener, Arc::new(listen::Served { metrics: Arc::clone(&metrics), workers, ports })));
        let env = connected.target.environment.clone();
        beside.spawn(upkeep::measure_for_ever(connected.ports.clone(), metrics, env, stages.to_vec()));
    }
    if connected.target.kind == TargetKind::Embedded {
        beside.spawn(keeper.run_for_ever());
    }
    let (reports, ends) = crew.finish().await?;
    drop(beside);

    let report = WorkerReport::of(reports, began.elapsed().as_secs_f64());
    cx.out().print(&report)?;
    verdict(&ends, report.dead_lettered)
}

/// Connects, and makes sure that the topics are there. Servers that are down are waited for: after a power cut everything
/// comes up in any order.
async fn begin(layers: &Layers, flags: &EnrichArgs, stages: &[Stage], stop: &Stop, cx: &Context) -> Result<Connected> {
    let mut local = layers.settings()?;
    flags.over(&mut local);
    let outage = |failure: &Failure| failure.is_outage().then(|| failure.to_string());
    let connect = || async {
        let mut connected = cx.connect_with(layers, DataDirMode::MayCreate).await?;
        flags.over(&mut connected.settings);
        check_topics(&connected, stages).await?;
        Ok(connected)
    };
    tokio::select! {
        // First, for a stop ends the waiting too, with the outage that was waited for.
        biased;
        reason = stop.wait() => Err(signals::stopped(reason, format!("stopped: {reason}"))),
        connected = retry_until_deadline(local.worker.give_up_after, Duration::MAX, stop, outage, connect) => connected,
    }
}

/// Logs go to stderr from here on. `-q` leaves warnings, `-v` adds each batch.
fn start_logs(args: &RunArgs, cx: &Context) {
    let options = cx.out().options();
    let level = match (options.quiet, options.verbose) {
        (true, _) => Level::WARN,
        (false, 0) => Level::INFO,
        (false, 1) => Level::DEBUG,
        _ => Level::TRACE,
    };
    let out = cx.out().clone();
    let logs = logs::LogOptions { format: args.log_format, level, color: options.stderr.color };
    // Set already: by a verb that runs this one.
    let _ = logs::init(logs, move || out.log_writer());
}

/// Workers make no topics: what is missing is named, with what makes it.
async fn check_topics(connected: &Connected, stages: &[Stage]) -> Result<()> {
    // One stage's output is the next one's input.
    let topics: BTreeSet<_> =
        stages.iter().flat_map(|stage| [stage.input(), stage.input().dead_letters(), stage.output()]).collect();
    let topics: Vec<_> = topics.into_iter().collect();
    let missing = |error: ports::Error| match error.kind() {
        ports::ErrorKind::NotFound if error.hint_text().is_none() => {
            error.hint("`mfctl bootstrap apply` makes the topics of a cluster; `mfctl init` those of a data folder")
        }
        _ => error,
    };
    connected.ports.log.offsets(&topics).await.map_err(missing)?;
    Ok(())
}

/// The loops of one process.
struct Crew<'a> {
    connected: &'a Connected,
    metrics: Arc<Metrics>,
    args: &'a RunArgs,
    codec: Arc<EventCodec>,
    stopper: Stopper,
    stop: Stop,
    workers: Vec<(Stage, WorkerHealth)>,
    /// What of the settings may change while they run.
    live: reload::LiveSettings,
    running: JoinSet<(Stage, Instance, Instant, ports::Result<WorkerOutcome>)>,
    /// Becomes true when the stage hired last is drained.
    drained: Option<watch::Receiver<bool>>,
}

impl<'a> Crew<'a> {
    fn new(connected: &'a Connected, metrics: Arc<Metrics>, args: &'a RunArgs, asked: Stop) -> Self {
        let env = connected.target.environment.clone();
        let codec = Arc::new(EventCodec::new(Arc::clone(&connected.ports.registry), env));
        let (stopper, stop) = Stop::channel();
        let relay = stopper.clone();
        tokio::spawn(async move { relay.stop(asked.wait().await) });
        let (workers, running, live) = (Vec::new(), JoinSet::new(), reload::LiveSettings::of(&connected.settings));
        Self { connected, metrics, args, codec, stopper, stop, workers, live, running, drained: None }
    }

    /// Starts a stage. One that is hired later waits, when it is to drain, for those before it.
    fn hire(&mut self, stage: Stage) -> Result<()> {
        let target = &self.connected.target;
        let instance = instance::take(&target.data_dir, stage, self.args.instance.as_deref())?;
        let (tell, drained) = watch::channel(false);
        let after = self.drained.replace(drained);
        let options = self.options(stage, &instance, after);
        let ports = WorkerPorts {
            log: Arc::clone(&self.connected.ports.log),
            catalog: Arc::clone(&self.connected.ports.catalog),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&self.connected.ports.clock),
            metrics: Arc::clone(&self.metrics),
        };
        let health = WorkerHealth::default();
        self.workers.push((stage, health.clone()));
        let stop = self.stop.clone();
        let began = Instant::now();
        match stage {
            Stage::Persist => {
                let step = Arc::new(self.persist());
                self.running.spawn(async move {
                    let outcome = worker::run(step, ports, options, health, &stop).await;
                    (stage, instance, began, told(outcome, &tell))
                });
            }
            Stage::Enrich => {
                let step = Arc::new(self.enrich()?);
                self.running.spawn(async move {
                    let outcome = worker::run(step, ports, options, health, &stop).await;
                    (stage, instance, began, told(outcome, &tell))
                });
            }
        }
        Ok(())
    }

    fn options(&self, stage: Stage, instance: &Instance, after: Option<watch::Receiver<bool>>) -> WorkerOptions {
        let (window, batch, commit) = match stage {
            Stage::Persist => (16384, 2048, 8192),
            Stage::Enrich => (256, 64, 256),
        };
        let defaults = WorkerOptions::default();
        WorkerOptions {
            instance: instance.name.clone(),
            tuning: self.live.tuning(stage),
            window_records: window,
            batch: FetchLimits { max_records: batch, ..defaults.batch },
            commit_records: commit,
            until: if self.args.until_drained { Until::Drained { after } } else { Until::Stopped },
            ..defaults
        }
    }

    fn persist(&self) -> Persist {
        let ports = &self.connected.ports;
        Persist {
            objects: Arc::clone(&ports.objects),
            catalog: Arc::clone(&ports.catalog),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&ports.clock),
            buckets: self.connected.buckets.clone(),
        }
    }

    fn enrich(&self) -> Result<Enrich> {
        let ports = &self.connected.ports;
        let parser = Parser::of_this_program()
            .map_err(|error| Failure::unexpected("cannot find this program to run it as a parser").because(&error))?;
        Ok(Enrich {
            extractor: Arc::new(parser),
            limits: self.live.limits(),
            objects: Arc::clone(&ports.objects),
            catalog: Arc::clone(&ports.catalog),
            search: Arc::clone(&ports.search),
            codec: Arc::clone(&self.codec),
            clock: Arc::clone(&ports.clock),
            buckets: self.connected.buckets.clone(),
            scratch: std::env::temp_dir(),
        })
    }

    /// Waits for every stage. One that ends otherwise than drained takes the others with it.
    async fn finish(mut self) -> Result<(Vec<StageReport>, Vec<(Stage, WorkerEnd)>)> {
        let (mut reports, mut ends, mut failed) = (Vec::new(), Vec::new(), None);
        while let Some(joined) = self.running.join_next().await {
            let (stage, instance, began, outcome) =
                joined.map_err(|error| Failure::unexpected("a worker ended in a defect").because(&error))?;
            match outcome {
                Ok(outcome) => {
                    if outcome.ended != WorkerEnd::Drained {
                        self.stopper.stop(StopReason::Terminated);
                    }
                    reports.push(StageReport::of(stage, instance.name, &outcome, began.elapsed().as_secs_f64()));
                    ends.push((stage, outcome.ended));
                }
                Err(error) => {
                    self.stopper.stop(StopReason::Terminated);
                    failed.get_or_insert(error);
                }
            }
        }
        reports.sort_by_key(|report| report.stage);
        match failed {
            Some(error) => Err(Failure::from(error)),
            None => Ok((reports, ends)),
        }
    }
}

/// Tells the stage behind when this one is drained.
fn told(outcome: ports::Result<WorkerOutcome>, tell: &watch::Sender<bool>) -> ports::Result<WorkerOutcome> {
    tell.send_replace(matches!(&outcome, Ok(outcome) if outcome.ended == WorkerEnd::Drained));
    outcome
}
