//! A batch's files after they were read.

use std::collections::HashMap;

use bytes::Bytes;

use super::candidate::IngestCandidate;
use super::metadata::ResolvedMetadata;
use super::read::{ContentType, FileVersion, refusal};
use mfctl_core::domain::job::{FileRefusal, JournalFile, RefusalKind};
use mfctl_core::domain::{AssetId, Sha256};

/// A file whose content was read and may be ingested.
pub(super) struct AcceptedFile {
    pub(super) row: JournalFile,
    pub(super) version: FileVersion,
    pub(super) sha256: Sha256,
    pub(super) content_type: ContentType,
    pub(super) metadata: ResolvedMetadata,
    pub(super) asset: AssetId,
    /// Its bytes, until it is decided whether they have to be staged; `None` for a file that was streamed.
    pub(super) content: Option<Bytes>,
    /// Whether its bytes were staged in this run, under the row's own key.
    pub(super) staged: bool,
}

/// A file that is not ingested.
pub(super) struct RefusedFile {
    pub(super) row: JournalFile,
    pub(super) refusal: FileRefusal,
    pub(super) version: Option<FileVersion>,
}

/// The result of reading one file.
pub(super) enum FileReadOutcome {
    /// The file may be ingested.
    Accepted(Box<AcceptedFile>),
    /// The file is not ingested.
    Refused(RefusedFile),
    /// The file is too large for memory and has to be streamed.
    Large(JournalFile, IngestCandidate),
    /// The run is stopping: the file stays planned.
    Skipped,
}

/// The files of a batch by result. A file in neither list stays planned, because the run is stopping.
#[derive(Default)]
pub(super) struct ReadBatch {
    pub(super) accepted: Vec<AcceptedFile>,
    pub(super) refused: Vec<RefusedFile>,
}

impl ReadBatch {
    /// Adds a result; returns the file if it has to be streamed.
    pub(super) fn add(&mut self, outcome: FileReadOutcome) -> Option<(JournalFile, IngestCandidate)> {
        match outcome {
            FileReadOutcome::Accepted(file) => self.accepted.push(*file),
            FileReadOutcome::Refused(file) => self.refused.push(file),
            FileReadOutcome::Large(row, candidate) => return Some((row, candidate)),
            FileReadOutcome::Skipped => {}
        }
        None
    }

    /// Refuses the files whose bytes the store did not take, and those that relied on the same bytes.
    pub(super) fn refuse_unstaged(&mut self, failed: &HashMap<AssetId, String>) {
        if failed.is_empty() {
            return;
        }
        let accepted = std::mem::take(&mut self.accepted);
        let (lost, kept): (Vec<_>, Vec<_>) =
            accepted.into_iter().partition(|file| !file.staged && failed.contains_key(&file.asset));
        self.accepted = kept;
        self.refused.extend(lost.into_iter().map(|file| RefusedFile {
            refusal: refusal(RefusalKind::Store, failed.get(&file.asset).cloned().unwrap_or_default()),
            version: Some(file.version),
            row: file.row,
        }));
    }
}
