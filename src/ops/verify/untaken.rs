//! Files at a job's source for which the job has no row: filters or ignore files excluded them, or they arrived later.

use std::ops::ControlFlow;

use tokio::sync::mpsc;

use super::{PAGE, VerifyProblem};
use crate::pipeline::ingest;
use crate::pipeline::ingest::source::{self, JobSource, SourceEntry, SourceEntryKind};
use mfctl_core::domain::{JobId, error_chain};
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
    let job = source.job;
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
            let reason = reason(&standing.kind);
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

fn reason(what: &SourceEntryKind) -> String {
    match what {
        SourceEntryKind::File => {
            "the job did not take it: its options or an ignore file leave it out, or it came later"
        }
        SourceEntryKind::Sidecar(_) => "a sidecar of a file that the job did not take",
        SourceEntryKind::ModifiedSidecar => {
            "a sidecar that came or changed after the job began: it may not have been read as it is"
        }
        SourceEntryKind::LinkedFolder => "a link to a folder, which the job did not enter: --follow enters them",
        SourceEntryKind::DataFolder => "the data folder itself: what was stored may be in it",
        SourceEntryKind::Unreadable(reason) => reason,
    }
    .to_owned()
}
