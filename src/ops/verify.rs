//! Verifies that the source of an ingest job may be deleted: the object of each file is read back, its catalog row and event
//! are looked up, and the source is compared with the bytes that were ingested. Then the source is searched for files that
//! the job did not ingest.

mod by_outcomes;
mod stored;
mod untaken;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use self::stored::{Problem, StoredCheck};
use crate::pipeline::ingest::source::JobSource;
use crate::pipeline::ingest::spec::JobSpec;
use crate::pipeline::ingest::{FileVersion, Incomplete, incomplete};
use mfctl_core::domain::job::{FileStep, Job, JournalFile};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::{Sha256, SourcePath};
use mfctl_core::ports::{ContentDigest, Error, ErrorKind, JobFilter, Ports, Result};

pub use by_outcomes::{StoredReport, verify_outcomes};

/// Files per page.
const PAGE: usize = 512;

/// A reason why a file must not be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerifyProblem {
    /// Path of the file.
    pub path: SourcePath,
    /// Stable name for scripts.
    pub kind: &'static str,
    /// Sentence for people.
    pub reason: String,
}

/// Result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// Number of files of the job.
    pub files: u64,
    /// Number of files whose source may be deleted.
    pub verified: u64,
    /// Number of these whose source was compared by size, time stamps and inode alone.
    pub by_time_stamps: u64,
    /// Number of files whose event was removed from the log by retention and that are otherwise verified.
    pub unverifiable: u64,
    /// Number of files of the job that must not be deleted.
    pub problems: u64,
    /// Number of files at the source that are not in the job.
    pub not_in_job: u64,
    /// Whether a manifest or list named the files: then their folders are not verified.
    pub named: bool,
    /// Whether the list or manifest is gone, so that what it named was not looked at.
    pub list_lost: bool,
    /// Why the job does not have all of its list and manifest, if it does not.
    pub incomplete: Option<String>,
}

/// Options of a verification.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions {
    /// Hash every source again, not only those whose size, time stamps or inode differ or are not known.
    pub deep: bool,
}

/// Verifies a job; `data_dir` is never part of a source. `found` receives each problem, `progress` the number of files
/// verified so far. The source of a job with an incomplete walk is not searched: it is known to contain other files.
///
/// # Errors
/// Errors of the ports; `TooNew` for a job of a later version of mfctl.
pub async fn verify(
    ports: &Ports,
    buckets: &Buckets,
    job: &Job,
    data_dir: PathBuf,
    depth: VerifyOptions,
    mut found: impl FnMut(VerifyProblem),
    progress: impl FnMut(u64),
) -> Result<VerifyReport> {
    let spec = JobSpec::read(&job.spec).map_err(|error| Error::new(ErrorKind::TooNew, error.to_string()))?;
    let named = spec.manifest.is_some() || spec.list.is_some();
    let inputs = ports.journal.inputs(job.job_id).await?;
    // An input without a copy can still be a file; if it is not, the list counts as lost.
    let incomplete = incomplete(&spec, &inputs)
        .filter(|incomplete| !matches!(incomplete, Incomplete::NotKept(_)))
        .map(|incomplete| incomplete.to_string());
    let taken = verify_files(ports, buckets, job, depth, &mut found, progress).await?;
    if !job.walk_complete || incomplete.is_some() {
        return Ok(VerifyReport { named, incomplete, ..taken });
    }
    let source = JobSource { job: job.job_id, spec, began: job.started_at, inputs, data_dir };
    let untaken = untaken::find_untaken(ports.journal.as_ref(), source, &mut found).await?;
    Ok(VerifyReport { not_in_job: untaken.count, named, list_lost: !untaken.whole, ..taken })
}

/// Verifies each file of the job.
async fn verify_files(
    ports: &Ports,
    buckets: &Buckets,
    job: &Job,
    depth: VerifyOptions,
    found: &mut impl FnMut(VerifyProblem),
    mut progress: impl FnMut(u64),
) -> Result<VerifyReport> {
    let mut total = VerifyReport::default();
    let mut check = StoredCheck::new(ports, buckets);
    let mut cursor: Option<String> = None;
    loop {
        let page = ports.journal.files(job.job_id, &JobFilter::default(), cursor.as_deref(), PAGE).await?;
        check.load(page.items.iter().filter_map(|file| file.asset_id).collect()).await?;
        for file in &page.items {
            total.files += 1;
            match verify_file(&mut check, file, depth).await? {
                Ok(verified) => {
                    *if verified.event { &mut total.verified } else { &mut total.unverifiable } += 1;
                    total.by_time_stamps += u64::from(verified.comparison == Comparison::TimeStamps);
                }
                Err((kind, reason)) => {
                    total.problems += 1;
                    found(VerifyProblem { path: file.path.clone(), kind, reason });
                }
            }
            progress(total.files);
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(total);
        }
    }
}

/// How a source was compared with what was ingested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// By size, time stamps, device and inode.
    TimeStamps,
    /// By its bytes.
    Bytes,
}

/// A file without a problem.
struct VerifiedFile {
    /// Whether its event is in the log; not, if retention removed it.
    event: bool,
    comparison: Comparison,
}

/// What was verified of a file, or its problem.
type FileVerdict = std::result::Result<VerifiedFile, Problem>;

async fn verify_file(check: &mut StoredCheck<'_>, file: &JournalFile, depth: VerifyOptions) -> Result<FileVerdict> {
    if !matches!(file.step, FileStep::Published | FileStep::Deduplicated) {
        let why = file.refusal.as_ref().map_or_else(|| "not done yet".to_owned(), |refusal| refusal.reason.clone());
        return Ok(Err(("not_taken", format!("{}: {why}", file.step))));
    }
    let asset = match check.asset(file.asset_id) {
        Ok(asset) => asset,
        Err(problem) => return Ok(Err(problem)),
    };
    if let Err(problem) = check.object(&asset).await? {
        return Ok(Err(problem));
    }
    let source = file.clone();
    let unchanged = tokio::task::spawn_blocking(move || unchanged(&source, depth.deep)).await;
    let unchanged = unchanged.map_err(|error| Error::new(ErrorKind::Internal, format!("read a source: {error}")))?;
    let comparison = match unchanged {
        Ok(comparison) => comparison,
        Err(reason) => return Ok(Err(("source", reason))),
    };
    Ok(check.event(&asset).map(|event| VerifiedFile { event, comparison }))
}

/// Compares the source with what was ingested. Where time stamps do not show that it is unchanged, its bytes are read.
fn unchanged(file: &JournalFile, deep: bool) -> std::result::Result<Comparison, String> {
    let path = file.path.to_path();
    let found = std::fs::metadata(&path).map_err(|error| format!("the source cannot be looked at: {error}"))?;
    if !found.is_file() {
        return Err("the source is no regular file any more".to_owned());
    }
    if file.size_bytes.is_some_and(|size| size != found.len()) {
        return Err(format!("the source has {} bytes now, not {}", found.len(), file.size_bytes.unwrap_or(0)));
    }
    if !deep && FileVersion::of(&found).is_as_recorded(file) == Some(true) {
        return Ok(Comparison::TimeStamps);
    }
    let digest = hash(&path).map_err(|error| format!("the source cannot be read: {error}"))?;
    if Some(digest) == file.sha256 { Ok(Comparison::Bytes) } else { Err("the source has other bytes now".to_owned()) }
}

fn hash(path: &Path) -> std::io::Result<Sha256> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let source: std::fs::File = rustix::fs::open(path, flags, Mode::empty())?.into();
    let size_bytes = source.metadata()?.len();
    Ok(ContentDigest::read(source, size_bytes)?.sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfctl_core::domain::EventId;
    use mfctl_core::domain::names::ObjectKey;

    #[test]
    fn a_source_is_read_unless_all_that_was_recorded_of_it_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "poem").unwrap();
        let now = FileVersion::of(&std::fs::metadata(&path).unwrap());
        let file = JournalFile {
            path: SourcePath::from_path(&path),
            step: FileStep::Published,
            event_id: EventId::fresh(),
            staging_key: ObjectKey::new("default/job/event").unwrap(),
            size_bytes: Some(now.size_bytes),
            modified_ns: Some(now.modified_ns),
            changed_ns: Some(now.changed_ns),
            device: Some(now.device),
            inode: Some(now.inode),
            sha256: Some(Sha256::of(b"poem")),
            media_type: None,
            asset_id: None,
            refusal: None,
            staged_at: None,
        };
        assert_eq!(unchanged(&file, false), Ok(Comparison::TimeStamps));
        assert_eq!(unchanged(&file, true), Ok(Comparison::Bytes));
        for (what, recorded) in [
            (
                "a job of an earlier version",
                JournalFile { changed_ns: None, device: None, inode: None, ..file.clone() },
            ),
            ("a file that had just changed", JournalFile { changed_ns: None, ..file.clone() }),
            ("its metadata was changed", JournalFile { changed_ns: Some(now.changed_ns - 1), ..file.clone() }),
            ("another file with the same bytes", JournalFile { inode: Some(now.inode + 1), ..file.clone() }),
            ("it was copied to another disk", JournalFile { device: Some(now.device + 1), ..file.clone() }),
            ("it was touched", JournalFile { modified_ns: Some(now.modified_ns - 1), ..file.clone() }),
        ] {
            assert_eq!(unchanged(&recorded, false), Ok(Comparison::Bytes), "{what}");
            let other = JournalFile { sha256: Some(Sha256([1; 32])), ..recorded };
            assert!(unchanged(&other, false).unwrap_err().contains("other bytes"), "{what}");
        }
        let longer = JournalFile { size_bytes: Some(5), ..file };
        assert!(unchanged(&longer, false).unwrap_err().contains("4 bytes now, not 5"));
    }
}
