//! Checks that what jobs were given as lists and manifests is kept still: `jobs verify` and a resume depend on it.

use std::path::Path;

use super::report::{CursorGuard, Findings, ViolationKind};
use crate::pipeline::ingest::kept_input_path;
use mfctl_core::domain::JobId;
use mfctl_core::domain::job::JobInput;
use mfctl_core::domain::path::ShownPath as _;
use mfctl_core::ports::{JobJournal, Result};

/// The name of the journal's jobs in the report.
const JOBS: &str = "journal: jobs";
/// Jobs per page.
const PAGE: usize = 500;

/// Checks the copies that are kept in this data folder, by their sizes.
pub(super) async fn check(journal: &dyn JobJournal, data_dir: &Path, findings: &mut Findings) -> Result<()> {
    let mut cursor = None;
    let mut cursors = CursorGuard::default();
    loop {
        let page = journal.jobs(cursor.as_deref(), PAGE).await;
        let Some(page) = findings.readable(JOBS, page)? else { return Ok(()) };
        for job in page.items {
            let inputs = journal.inputs(job.job_id).await;
            let Some(inputs) = findings.readable(JOBS, inputs)? else { return Ok(()) };
            inputs.iter().for_each(|input| check_input(data_dir, job.job_id, input, findings));
        }
        let Some(next) = findings.readable(JOBS, cursors.next(page.next))? else { return Ok(()) };
        cursor = next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn check_input(data_dir: &Path, job: JobId, input: &JobInput, findings: &mut Findings) {
    let path = kept_input_path(data_dir, job, input.kind, input.part);
    let damage = match std::fs::symlink_metadata(&path) {
        Ok(metadata) if !metadata.is_file() => "is not a file".to_owned(),
        // How much of an input was read that did not end is not recorded in every case.
        Ok(metadata) if input.ended && metadata.len() != input.bytes => {
            format!("has {} bytes, not {}", metadata.len(), input.bytes)
        }
        Ok(_) => return,
        Err(error) => format!("cannot be looked at: {error}"),
    };
    let detail = format!("the {} that was kept of job {job} {damage}", input.kind);
    findings.violation(ViolationKind::DamagedData, path.shown(), detail);
}
