//! Files at a job's source for which the job has no row: filters or ignore files excluded them, or they arrived later.

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tokio::sync::mpsc;

use super::{PAGE, VerifyProblem};
use crate::pipeline::ingest::source::{self, JobSource, SourceEntry, SourceEntryKind};
use crate::pipeline::ingest::{self, FileRules};
use mfctl_core::domain::{JobId, Timestamp, error_chain};
use mfctl_core::ports::{Error, ErrorKind, JobJournal, Result};

/// The result of a search for such files.
pub(super) struct Untaken {
    /// The number of these files.
    pub(super) count: u64,
    /// Whether the job's list and manifest, if it had them, could be read.
    pub(super) whole: bool,
}

/// Goes through the source again and hands over what the job has no row of.
pub(super) async fn find_untaken(
    journal: &dyn JobJournal,
    source: JobSource,
    found: &mut impl FnMut(VerifyProblem),
) -> Result<Untaken> {
    let (sender, mut batches) = mpsc::channel(1);
    let (job, began) = (source.job, source.began);
    let rules = source.rules().map_err(|error| Error::new(ErrorKind::Invalid, error_chain(&error)))?;
    let finder = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::new();
        let mut sink = |standing| {
            batch.push(standing);
            if batch.len() < PAGE || sender.blocking_send(std::mem::take(&mut batch)).is_ok() {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        };
        let whole = source::walk_all(&source, &mut sink);
        // The receiver is gone once the verification was stopped.
        let _ = sender.blocking_send(batch);
        whole
    });
    let mut count = 0;
    while let Some(batch) = batches.recv().await {
        for standing in without_row(journal, job, batch).await? {
            count += 1;
            let reason = reason(&standing, &rules, began);
            found(VerifyProblem { path: standing.path, kind: "not_in_job", reason });
        }
    }
    let whole =
        finder.await.map_err(|error| Error::new(ErrorKind::Internal, format!("go through the source: {error}")))?;
    match whole {
        Ok(whole) => Ok(Untaken { count, whole }),
        Err(ingest::Error::Port(error)) => Err(error),
        Err(error) => Err(Error::new(ErrorKind::Invalid, error_chain(&error))),
    }
}

/// Those without a row in the job, except sidecars of files that have one.
async fn without_row(journal: &dyn JobJournal, job: JobId, mut batch: Vec<SourceEntry>) -> Result<Vec<SourceEntry>> {
    let mut asked: Vec<_> = batch.iter().map(|standing| standing.path.clone()).collect();
    asked.extend(batch.iter().filter_map(|standing| match &standing.kind {
        SourceEntryKind::Sidecar(media) => Some(media.clone()),
        _ => None,
    }));
    let held = journal.existing_paths(job, asked).await?;
    batch.retain(|standing| match &standing.kind {
        SourceEntryKind::Sidecar(media) => !held.contains(media) && !held.contains(&standing.path),
        _ => !held.contains(&standing.path),
    });
    Ok(batch)
}

fn reason(standing: &SourceEntry, rules: &FileRules, began: Timestamp) -> String {
    match &standing.kind {
        SourceEntryKind::File => why_not_taken(&standing.path.to_path(), rules, began),
        SourceEntryKind::Sidecar(_) => "a sidecar of a file that the job did not take".to_owned(),
        SourceEntryKind::ModifiedSidecar => {
            "a sidecar that came or changed after the job began: it may not have been read as it is".to_owned()
        }
        SourceEntryKind::LinkedFolder => {
            "a link to a folder, which the job did not enter: --follow enters them".to_owned()
        }
        SourceEntryKind::DataFolder => "the data folder itself: what was stored may be in it".to_owned(),
        SourceEntryKind::Unreadable(reason) => reason.clone(),
    }
}

/// Names the rule that leaves a file out, or says that it came after the job had begun.
fn why_not_taken(path: &Path, rules: &FileRules, began: Timestamp) -> String {
    if let Some(rule) = rules.leaves_out_found(path) {
        return format!("left out by {rule}");
    }
    let began = (began.as_second(), i64::from(began.subsec_nanosecond()));
    let came_later =
        std::fs::symlink_metadata(path).is_ok_and(|metadata| (metadata.ctime(), metadata.ctime_nsec()) > began);
    if came_later {
        "it came or changed after the job began".to_owned()
    } else {
        "no rule leaves it out now: it came later, or an ignore file has changed since".to_owned()
    }
}
