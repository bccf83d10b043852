//! Progress of a running ingest, on the terminal.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cli::context::{Connected, Context};
use crate::cli::failure::{Failure, FailureKind, Result};
use crate::cli::output::{Output, Progress, ProgressPosition, humane};
use crate::cli::signals;
use crate::pipeline::ingest::{self, RuleSource, SkipCounters, wait_for_state};
use mfctl_core::domain::job::{InputKind, JobInput};
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

/// Prints what a run waits for before it has anything to do.
pub(super) fn wait_notice(out: &Output) -> ingest::WaitNotice {
    let out = out.clone();
    Arc::new(move |text: &str| out.note(text))
}

/// Prints how many files and folders were skipped by rule.
pub(super) fn note_skipped(out: &Output, skipped: &SkipCounters) {
    for note in skip_notes(skipped) {
        out.note(note);
    }
    note_unmatched(out, skipped);
}

/// What was skipped by rule, one sentence for each rule that skipped something.
fn skip_notes(skipped: &SkipCounters) -> Vec<String> {
    let rules = [
        (&skipped.ignore_files, "ignore file", "ignore files", "applied"),
        (&skipped.data_folders, "data folder of mfctl", "data folders of mfctl", "not ingested"),
        (&skipped.linked_folders, "link to a folder", "links to folders", "not followed; see --follow"),
        (&skipped.sidecars, "sidecar", "sidecars", "read as metadata, not ingested as files"),
        (
            &skipped.unread_sidecars,
            "sidecar of a file that was left out was",
            "sidecars of files that were left out were",
            "not ingested",
        ),
    ];
    let counted =
        rules.into_iter().map(|(counter, one, many, note)| (counter.load(Ordering::Relaxed), one, many, note));
    let mut notes: Vec<String> = counted
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many, note)| format!("{} {note}", humane::counted(count, one, many)))
        .collect();
    let rules = skipped.by_rule();
    let entries = |count| humane::counted(count, "file or folder", "files or folders");
    let by_rule = rules.iter().take(MAX_RULES);
    notes.extend(by_rule.map(|counted| format!("{} left out by {}", entries(counted.count), counted.rule)));
    let others = skipped.by_other_rules() + rules.iter().skip(MAX_RULES).map(|counted| counted.count).sum::<u64>();
    if others > 0 {
        notes.push(format!("{} left out by other rules", entries(others)));
    }
    notes
}

/// Prints how many entries were read of lists and manifests.
pub(super) fn note_inputs(out: &Output, inputs: &[JobInput]) {
    for kind in InputKind::ALL {
        let parts = || inputs.iter().filter(|input| input.kind == *kind);
        let Some(last) = parts().next_back() else { continue };
        let (one, many) = match kind {
            InputKind::List => ("entry", "entries"),
            InputKind::Manifest => ("row", "rows"),
        };
        let read = humane::counted(parts().map(|input| input.entries).sum(), one, many);
        let end = if last.ended { "" } else { ", but not to its end" };
        out.note(format!("{read} of the {kind} read{end}"));
    }
}

/// Prints which patterns matched nothing.
fn note_unmatched(out: &Output, skipped: &SkipCounters) {
    for rule in skipped.unmatched.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let pattern = rule.pattern.as_deref().unwrap_or_default();
        match rule.source {
            RuleSource::Include => out.warn(format!("--include '{pattern}' matches no file")),
            _ => out.note(format!("{rule} matches nothing")),
        }
    }
}

/// The failure of an ingest that found no file; it names the rules that left files out.
pub(super) fn nothing_found(skipped: &SkipCounters, inputs: &[JobInput]) -> Failure {
    let mut reasons = skip_notes(skipped);
    if !inputs.is_empty() && inputs.iter().all(|input| input.entries == 0) {
        reasons.push("the list or manifest has no entries".to_owned());
    }
    let why = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
    Failure::new(FailureKind::NothingFound, format!("no file was found to ingest{why}"))
        .hint("--allow-empty makes this a success")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_that_were_not_read_are_said_to_be_left_out() {
        let skipped = SkipCounters::default();
        assert!(skip_notes(&skipped).is_empty());
        skipped.sidecars.store(1, Ordering::Relaxed);
        skipped.unread_sidecars.store(2, Ordering::Relaxed);
        let expected = [
            "1 sidecar read as metadata, not ingested as files",
            "2 sidecars of files that were left out were not ingested",
        ];
        assert_eq!(skip_notes(&skipped), expected);
    }
}
