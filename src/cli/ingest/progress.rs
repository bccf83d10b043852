//! What a person sees of an ingest that is under way.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, Result};
use crate::cli::output::{Output, Position, Progress, humane};
use crate::cli::signals;
use crate::pipeline::ingest::{self, SkipCounters, wait_for_state};
use mfctl_core::domain::{AssetState, JobId};
use mfctl_core::stop::Stop;

/// The progress display of a run.
pub(super) struct Shown(Mutex<Option<Progress>>);

impl Shown {
    pub(super) fn new(out: &Output) -> Self {
        Self(Mutex::new(Some(out.progress("ingest", "files"))))
    }

    pub(super) fn finish(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl ingest::ProgressObserver for Shown {
    fn update(&self, progress: ingest::IngestProgress) {
        let bar = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bar) = bar.as_ref() else { return };
        let note = if progress.refused > 0 { format!("{} not taken", progress.refused) } else { String::new() };
        bar.set(&Position {
            done: progress.files,
            total: progress.total.map(|total| total.files.max(progress.files)),
            bytes: Some(progress.bytes),
            bytes_total: None,
            note: note.into(),
        });
    }
}

/// Says what was left out on purpose.
pub(super) fn left_out(out: &Output, left_out: &SkipCounters) {
    for (counter, one, many, hint) in [
        (&left_out.filtered, "file or folder", "files or folders", "left out by --include or --exclude"),
        (&left_out.ignore_files, "ignore file", "ignore files", "heeded; what such a file leaves out is not counted"),
        (&left_out.linked_folders, "link to a folder", "links to folders", "not entered; --follow enters them"),
        (&left_out.sidecars, "sidecar", "sidecars", "read as metadata, not taken as files"),
    ] {
        let count = counter.load(Ordering::Relaxed);
        if count > 0 {
            out.note(format!("{} {hint}", humane::counted(count, one, many)));
        }
    }
}

/// Waits until the job's assets have come as far as wanted.
pub(super) async fn wait(
    cx: &Context,
    connected: &Connected,
    job: JobId,
    state: AssetState,
    at_most: Duration,
    stop: &Stop,
) -> Result<()> {
    let bar = cx.out().progress("waiting", "files");
    let told = |done| bar.set(&Position { done, ..Position::default() });
    let waited = wait_for_state(connected.ports.catalog.as_ref(), job, state, at_most, stop, told).await?;
    bar.finish();
    let arrived = humane::counted(waited.arrived, "file is", "files are");
    if let Some(reason) = waited.stopped.filter(|_| !waited.complete) {
        return Err(signals::stopped(reason, format!("the wait was {reason}; the upload itself is done")));
    }
    if !waited.complete {
        return Err(Failure::partial(format!("not every file is {state} after {}", humane::duration(at_most)))
            .hint("is a worker running? `mfctl status` says; --wait-timeout waits longer"));
    }
    if waited.dead_lettered > 0 {
        let dead = humane::counted(waited.dead_lettered, "file is", "files are");
        return Err(
            Failure::partial(format!("{arrived} {state}, {dead} dead-lettered")).hint("`mfctl dlq list` says why")
        );
    }
    cx.out().note(format!("{arrived} {state}"));
    Ok(())
}
