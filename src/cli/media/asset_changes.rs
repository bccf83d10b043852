//! Changes assets one after the other, and reports what became of each: for takedowns and lifts.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::ids;
use crate::cli::output::{Cell, Column, ProgressPosition, Render, TextPage, Tone, humane};
use crate::cli::record::RecordedChange;
use crate::cli::signals;
use crate::ops::takedown::TakedownPorts;
use mfctl_core::domain::{Asset, AssetId, IdPrefix};
use mfctl_core::events::EventCodec;
use mfctl_core::ports::{self, Error, ErrorKind};
use mfctl_core::stop::StopReason;

/// What to do after a run that ended early.
const AGAIN: &str = "run the same command again: it continues where this one ended";

/// What to do after a run in which assets failed.
const SEE_EACH: &str = "the error of each says what to do";

/// Most assets that are read at once, and that one operator record names: its size is limited.
const MAX_ASSETS_PER_CALL: usize = 1000;

/// What became of one asset.
pub trait AssetOutcome: Serialize {
    /// The asset.
    fn asset_id(&self) -> AssetId;

    /// The result in a few words, of a dry run too.
    fn result(&self) -> &'static str;

    /// What was done, or why it failed.
    fn details(&self) -> String;

    /// Whether the asset failed.
    fn is_failed(&self) -> bool;

    /// Whether there was something to do.
    fn is_changed(&self) -> bool;
}

/// The output of `mfctl media takedown` and `mfctl media lift`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AssetChangeReport<T> {
    /// Whether this was a dry run; the outcomes then say what a run would do.
    pub dry_run: bool,
    /// The outcome of each asset, in the given order.
    pub assets: Vec<T>,
    /// Given assets that the run did not reach.
    pub remaining: u64,
    /// The signal or error that ended the run early.
    pub stopped_by: Option<String>,
    /// How long the run took.
    pub elapsed_seconds: f64,
}

impl<T: AssetOutcome> AssetChangeReport<T> {
    /// The counts of each result in words: `2 taken down, 1 failed`.
    fn summary(&self) -> String {
        let mut counts: Vec<(&'static str, u64)> = Vec::new();
        for outcome in &self.assets {
            match counts.iter_mut().find(|(result, _)| *result == outcome.result()) {
                Some((_, count)) => *count += 1,
                None => counts.push((outcome.result(), 1)),
            }
        }
        let parts: Vec<String> =
            counts.iter().map(|(name, count)| format!("{} {name}", humane::count(*count))).collect();
        let counted = if parts.is_empty() { "nothing done".to_owned() } else { parts.join(", ") };
        match &self.stopped_by {
            Some(cause) => format!("{counted}; stopped: {cause}; {} left", self.remaining),
            None => counted,
        }
    }
}

impl<T: AssetOutcome> Render for AssetChangeReport<T> {
    fn page(&self, page: &mut TextPage) {
        if self.dry_run {
            page.toned(format!("Dry run, nothing was changed. A run would result in: {}", self.summary()), Tone::Warn);
        } else {
            page.field("result", Cell::new(self.summary()).tone(Tone::Strong));
            page.field("took", humane::duration(Duration::from_secs_f64(self.elapsed_seconds.max(0.0))));
        }
        if let Some(cause) = &self.stopped_by {
            page.field("stopped by", Cell::new(cause.as_str()).tone(Tone::Bad));
            page.field("left", humane::count(self.remaining));
        }
        page.blank();
        let rows = self.assets.iter().map(|outcome| {
            let tone = if outcome.is_failed() { Tone::Bad } else { Tone::Plain };
            vec![
                Cell::new(outcome.asset_id().to_string()),
                Cell::new(outcome.result()).tone(tone),
                Cell::new(outcome.details()),
            ]
        });
        page.table(&[Column::whole("ASSET"), Column::text("RESULT"), Column::text("DETAILS")], rows.collect());
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.assets.iter().map(|outcome| outcome.asset_id().to_string()).collect())
    }
}

/// The given assets of the profile's tenant, each once.
///
/// # Errors
/// `Usage` for fewer digits of an id than 8, `NotFound` if one of them does not exist; otherwise those of the catalog.
pub(super) async fn given_assets(given: Vec<IdPrefix>, connected: &Connected) -> Result<Vec<Asset>> {
    let mut ids = Vec::with_capacity(given.len());
    let mut seen = HashSet::new();
    for prefix in given {
        let id = ids::asset_to_change(prefix, connected).await?;
        if seen.insert(id) {
            ids.push(id);
        }
    }
    let mut assets = Vec::with_capacity(ids.len());
    for ids in ids.chunks(MAX_ASSETS_PER_CALL) {
        assets.extend(super::find_assets(ids, connected).await?);
    }
    Ok(assets)
}

/// The ports of a takedown or lift on this platform.
pub(super) fn takedown_ports(connected: &Connected) -> TakedownPorts {
    let ports = &connected.ports;
    TakedownPorts {
        catalog: Arc::clone(&ports.catalog),
        objects: Arc::clone(&ports.objects),
        search: Arc::clone(&ports.search),
        log: Arc::clone(&ports.log),
        codec: EventCodec::new(Arc::clone(&ports.registry), connected.target.environment.clone()),
        clock: Arc::clone(&ports.clock),
        buckets: connected.buckets.clone(),
    }
}

/// The outcomes of the assets that a run reached, and what ended it early.
pub(super) struct AssetRun<T> {
    outcomes: Vec<T>,
    remaining: usize,
    failed: Option<Error>,
    stopped: Option<StopReason>,
}

/// Runs `change` for each asset until a signal asks to stop or a dependency fails. The error of one asset is its outcome.
pub(super) async fn change_each<T>(
    name: &'static str,
    assets: &[Asset],
    change: impl AsyncFn(&Asset) -> ports::Result<T>,
    failed: impl Fn(&Asset, &Error) -> T,
    cx: &Context,
) -> Result<AssetRun<T>> {
    let stop = cx.stop()?;
    let bar = cx.out().progress(name, "assets");
    let mut run = AssetRun { outcomes: Vec::new(), remaining: 0, failed: None, stopped: None };
    for (index, asset) in assets.iter().enumerate() {
        bar.set(&ProgressPosition {
            done: index as u64,
            total: Some(assets.len() as u64),
            ..ProgressPosition::default()
        });
        run.stopped = stop.requested();
        if run.stopped.is_some() {
            run.remaining = assets.len() - index;
            break;
        }
        match change(asset).await {
            Ok(outcome) => run.outcomes.push(outcome),
            Err(error) if concerns_one_asset(&error) => run.outcomes.push(failed(asset, &error)),
            Err(error) => {
                run.failed = Some(error);
                run.remaining = assets.len() - index;
                break;
            }
        }
    }
    bar.finish();
    Ok(run)
}

fn concerns_one_asset(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::Invalid | ErrorKind::NotFound)
}

/// What would be done for each asset. Installs no signal handler: a prompt may follow.
///
/// # Errors
/// Those that do not concern one asset alone.
pub(super) async fn plan_each<T>(
    assets: &[Asset],
    plan: impl AsyncFn(&Asset) -> ports::Result<T>,
    failed: impl Fn(&Asset, &Error) -> T,
) -> Result<Vec<T>> {
    let mut outcomes = Vec::with_capacity(assets.len());
    for asset in assets {
        outcomes.push(match plan(asset).await {
            Err(error) if concerns_one_asset(&error) => failed(asset, &error),
            planned => planned?,
        });
    }
    Ok(outcomes)
}

/// The commands that run `verb` on those of these assets that were changed, each on as many as one operator record
/// names.
fn undo_commands<T: AssetOutcome>(verb: &str, outcomes: &[T]) -> Vec<String> {
    let changed = outcomes.iter().filter(|outcome| outcome.is_changed());
    let ids: Vec<String> = changed.map(|outcome| outcome.asset_id().to_string()).collect();
    let commands = ids.chunks(MAX_ASSETS_PER_CALL);
    commands.map(|ids| format!("mfctl media {verb} {} --reason TEXT", ids.join(" "))).collect()
}

/// Number of assets that a run will change, by its plan.
pub(super) fn count_to_change<T: AssetOutcome>(planned: &[T]) -> u64 {
    planned.iter().filter(|outcome| outcome.is_changed() && !outcome.is_failed()).count() as u64
}

/// Prints the outcomes of assets of which none was changed.
///
/// # Errors
/// `Partial` if an asset would fail; when stdout cannot be written.
pub(super) fn print_unchanged<T: AssetOutcome>(assets: Vec<T>, dry_run: bool, cx: &Context) -> Result<()> {
    let report = AssetChangeReport { dry_run, assets, remaining: 0, stopped_by: None, elapsed_seconds: 0.0 };
    cx.out().print(&report)?;
    fail_if_any_failed(&report.assets)
}

fn fail_if_any_failed<T: AssetOutcome>(assets: &[T]) -> Result<()> {
    match assets.iter().filter(|outcome| outcome.is_failed()).count() as u64 {
        0 => Ok(()),
        failed => {
            let count = humane::counted(failed, "asset", "assets");
            Err(Failure::partial(format!("{count} failed; each is listed with its error")).hint(SEE_EACH))
        }
    }
}

/// Writes one operator record for each command that undoes a part of the change, and one if there is none.
async fn record(
    verb: &'static str,
    undo: Vec<String>,
    began_at: jiff::Timestamp,
    summary: &str,
    connected: &Connected,
) -> Result<()> {
    let recorder = connected.recorder();
    let change = RecordedChange::of_process(verb);
    let records = undo.len();
    if records == 0 {
        return recorder.append(change, began_at, summary.to_owned()).await;
    }
    for (index, undo) in undo.into_iter().enumerate() {
        let part = if records > 1 { format!(" (record {} of {records})", index + 1) } else { String::new() };
        recorder.append(change.clone().undo(undo), began_at, format!("{summary}{part}")).await?;
    }
    Ok(())
}

impl<T: AssetOutcome> AssetRun<T> {
    /// Records the run in the operator journal, with the commands that undo it if it can be undone, and prints its
    /// report. More assets than one record names are recorded in several.
    ///
    /// # Errors
    /// `Partial` if an asset failed, the error that ended the run, or that of the journal.
    pub(super) async fn finish(
        self,
        verb: &'static str,
        undo_verb: Option<&str>,
        began: (jiff::Timestamp, Instant),
        connected: &Connected,
        cx: &Context,
    ) -> Result<()> {
        let stopped_by = match (&self.failed, self.stopped) {
            (Some(error), _) => Some(error.full()),
            (None, reason) => reason.map(|reason| reason.to_string()),
        };
        let report = AssetChangeReport {
            dry_run: false,
            assets: self.outcomes,
            remaining: self.remaining as u64,
            stopped_by,
            elapsed_seconds: began.1.elapsed().as_secs_f64(),
        };
        let undo = undo_verb.map_or_else(Vec::new, |undo_verb| undo_commands(undo_verb, &report.assets));
        let recorded = record(verb, undo, began.0, &report.summary(), connected).await;
        cx.out().print(&report)?;
        if let Some(error) = self.failed {
            return Err(Failure::from(error).while_doing(format!("stopped after {}", report.summary())).hint(AGAIN));
        }
        if let Some(reason) = self.stopped {
            return Err(signals::stopped(reason, format!("{reason} after {}", report.summary())).hint(AGAIN));
        }
        recorded.map_err(|failure| failure.while_doing("the change was made, but its record could not be written"))?;
        fail_if_any_failed(&report.assets)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[derive(Serialize)]
    struct Outcome {
        id: u128,
        is_changed: bool,
        is_failed: bool,
    }

    impl AssetOutcome for Outcome {
        fn asset_id(&self) -> AssetId {
            AssetId(Uuid::from_u128(self.id))
        }

        fn result(&self) -> &'static str {
            "changed"
        }

        fn details(&self) -> String {
            String::new()
        }

        fn is_failed(&self) -> bool {
            self.is_failed
        }

        fn is_changed(&self) -> bool {
            self.is_changed
        }
    }

    /// The limit of a record of the log is 1 MiB.
    #[test]
    fn each_command_that_undoes_a_part_of_a_large_run_fits_into_an_operator_record() {
        let outcomes: Vec<Outcome> =
            (0..30_000).map(|id| Outcome { id, is_changed: id >= 500, is_failed: false }).collect();
        let commands = undo_commands("lift", &outcomes);
        assert_eq!(commands.len(), 30);
        assert!(commands.iter().all(|command| command.len() < 64 * 1024));
        let named: HashSet<&str> = commands.iter().flat_map(|command| command.split(' ')).collect();
        assert!(
            outcomes
                .iter()
                .all(|outcome| { named.contains(outcome.asset_id().to_string().as_str()) == outcome.is_changed })
        );
    }

    #[test]
    fn only_assets_that_a_run_will_change_are_counted() {
        let outcome = |is_changed, is_failed| Outcome { id: 1, is_changed, is_failed };
        assert_eq!(count_to_change(&[outcome(true, false), outcome(false, false), outcome(true, true)]), 1);
    }
}
