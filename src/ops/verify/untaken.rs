//! Files at a job's source that the job has no row for: excluded by filters or ignore files, or added later.

use std::ops::ControlFlow;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::{PAGE, VerifyProblem};
use crate::pipeline::ingest::source::{self, Standing, What};
use crate::pipeline::ingest::spec::JobSpec;
use mfctl_core::domain::JobId;
use mfctl_core::domain::job::Job;
use mfctl_core::ports::{Error, ErrorKind, JobJournal, Result};

/// Result of the search.
pub(super) struct Untaken {
    /// Number of files found.
    pub(super) count: u64,
    /// Whether the job's list, if it had one, could be read again.
    pub(super) whole: bool,
}

/// Walks the source again and reports the files that the job has no row for.
pub(super) async fn find_untaken(
    journal: &dyn JobJournal,
    job: &Job,
    spec: JobSpec,
    data_dir: PathBuf,
    found: &mut impl FnMut(VerifyProblem),
) -> Result<Untaken> {
    let (sender, mut batches) = mpsc::channel(1);
    let began = job.started_at;
    let finder = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::new();
        let mut sink = |standing| {
            batch.push(standing);
            if batch.len() < PAGE || sender.blocking_send(std::mem::take(&mut batch)).is_ok() {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        };
        let whole = source::everything(&spec, &data_dir, began, &mut sink);
        // The receiver is gone once the verification was stopped.
        let _ = sender.blocking_send(batch);
        whole
    });
    let mut count = 0;
    while let Some(batch) = batches.recv().await {
        for standing in without_row(journal, job.job_id, batch).await? {
            count += 1;
            let reason = reason(&standing.what);
            found(VerifyProblem { path: standing.path, kind: "not_in_job", reason });
        }
    }
    let whole =
        finder.await.map_err(|error| Error::new(ErrorKind::Internal, format!("go through the source: {error}")))?;
    Ok(Untaken { count, whole })
}

/// Those without a row in the job, except sidecars of files that have one.
async fn without_row(journal: &dyn JobJournal, job: JobId, mut batch: Vec<Standing>) -> Result<Vec<Standing>> {
    let mut asked: Vec<_> = batch.iter().map(|standing| standing.path.clone()).collect();
    asked.extend(batch.iter().filter_map(|standing| match &standing.what {
        What::Sidecar(media) => Some(media.clone()),
        _ => None,
    }));
    let held = journal.existing_paths(job, asked).await?;
    batch.retain(|standing| match &standing.what {
        What::Sidecar(media) => !held.contains(media) && !held.contains(&standing.path),
        _ => !held.contains(&standing.path),
    });
    Ok(batch)
}

fn reason(what: &What) -> String {
    match what {
        What::File => "the job did not take it: its options or an ignore file leave it out, or it came later",
        What::Sidecar(_) => "a sidecar of a file that the job did not take",
        What::YoungSidecar => "a sidecar that came or changed after the job began: it may not have been read as it is",
        What::LinkedFolder => "a link to a folder, which the job did not enter: --follow enters them",
        What::DataFolder => "the data folder itself: what was stored may be in it",
        What::Unseen(reason) => reason,
    }
    .to_owned()
}
