//! Progress of a running ingest, on the terminal.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Output, Progress, ProgressPosition, humane};
use crate::cli::signals;
use crate::pipeline::ingest::{self, RuleSource, SkipCounters, wait_for_state};
use mfctl_core::domain::{AssetState, JobId};
use mfctl_core::stop::Stop;

/// Rules whose counts are printed after a run; JSON has more.
const MAX_RULES: usize = 10;

/// The progress bar of a run, until it is finished.
pub(super) struct IngestProgressBar(Mutex<Option<Progress>>);

impl IngestProgressBar {
    pub(super) fn new(out: &Output) -> Self {
        Self(Mutex::new(Some(out.progress("ingest", "files"))))
    }

    pub(super) fn finish(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl ingest::ProgressObserver for IngestProgressBar {
    fn update(&self, progress: ingest::IngestProgress) {
        let bar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bar) = bar.as_ref() else { return };
        let note = if progress.refused > 0 { format!("{} not ingested", progress.refused) } else { String::new() };
        bar.set(&ProgressPosition {
            done: progress.files,
            total: progress.total.map(|total| total.files.max(progress.files)),
            bytes: Some(progress.bytes),
            bytes_total: None,
            note: note.into(),
        });
    }
}

/// Prints how many files and folders were skipped by rule.
pub(super) fn note_skipped(out: &Output, skipped: &SkipCounters) {
    for (counter, one, many, note) in [
        (&skipped.ignore_files, "ignore file", "ignore files", "applied"),
        (&skipped.data_folders, "data folder of mfctl", "data folders of mfctl", "not ingested"),
        (&skipped.linked_folders, "link to a folder", "links to folders", "not followed; see --follow"),
        (&skipped.sidecars, "sidecar", "sidecars", "read as metadata, not ingested as files"),
    ] {
        let count = counter.load(Ordering::Relaxed);
        if count > 0 {
            out.note(format!("{} {note}", humane::counted(count, one, many)));
        }
    }
    note_rules(out, skipped);
}

/// Prints what each rule left out, and which patterns matched nothing.
fn note_rules(out: &Output, skipped: &SkipCounters) {
    let rules = skipped.by_rule();
    let entries = |count| humane::counted(count, "file or folder", "files or folders");
    for counted in rules.iter().take(MAX_RULES) {
        out.note(format!("{} left out by {}", entries(counted.count), counted.rule));
    }
    let others = skipped.by_other_rules() + rules.iter().skip(MAX_RULES).map(|counted| counted.count).sum::<u64>();
    if others > 0 {
        out.note(format!("{} left out by other rules", entries(others)));
    }
    for rule in skipped.unmatched.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let pattern = rule.pattern.as_deref().unwrap_or_default();
        match rule.source {
            RuleSource::Include => out.warn(format!("--include '{pattern}' matches no file")),
            _ => out.note(format!("{rule} matches nothing")),
        }
    }
}

/// Waits until the assets of a job have reached `state`. Fails after `timeout`, or if some are dead-lettered.
pub(super) async fn wait_for_assets(
    cx: &Context,
    connected: &Connected,
    job: JobId,
    state: AssetState,
    timeout: Duration,
    stop: &Stop,
) -> Result<()> {
    let bar = cx.out().progress("waiting", "files");
    let on_progress = |done| bar.set(&ProgressPosition { done, ..ProgressPosition::default() });
    let outcome = wait_for_state(connected.ports.catalog.as_ref(), job, state, timeout, stop, on_progress).await?;
    bar.finish();
    let arrived = humane::counted(outcome.arrived, "file is", "files are");
    if let Some(reason) = outcome.stopped.filter(|_| !outcome.complete) {
        return Err(signals::stopped(reason, format!("the wait was {reason}; the upload itself is done")));
    }
    if !outcome.complete {
        return Err(Failure::partial(format!("not every file is {state} after {}", humane::duration(timeout)))
            .hint("`mfctl status` shows whether a worker is running; --wait-timeout sets a longer timeout"));
    }
    if outcome.dead_lettered > 0 {
        let dead_lettered = humane::counted(outcome.dead_lettered, "file is", "files are");
        return Err(Failure::partial(format!("{arrived} {state}, {dead_lettered} dead-lettered"))
            .hint("`mfctl dlq list` shows why"));
    }
    cx.out().note(format!("{arrived} {state}"));
    Ok(())
}
