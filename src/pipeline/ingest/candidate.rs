//! A file that the walk, a manifest or a list names, before it is read.

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::metadata::DeclaredMetadata;
use mfctl_core::domain::job::FileRefusal;

/// A file that may be ingested.
#[derive(Debug)]
pub struct IngestCandidate {
    /// The absolute path.
    pub path: PathBuf,
    /// Its size in bytes when it was found; 0 where it was not looked at.
    pub size_hint: u64,
    /// Why it is not ingested, if that is already known.
    pub refused: Option<FileRefusal>,
    /// The metadata in its manifest row.
    pub declared: Option<Box<DeclaredMetadata>>,
}

impl IngestCandidate {
    /// A path that has not been looked at.
    pub(super) fn unchecked(path: PathBuf) -> Self {
        Self { path, size_hint: 0, refused: None, declared: None }
    }

    pub(super) fn refused(path: impl Into<PathBuf>, refusal: FileRefusal) -> Self {
        Self { refused: Some(refusal), ..Self::unchecked(path.into()) }
    }
}

/// Receives candidates; breaks to end the walk.
pub(super) type CandidateSink<'a> = &'a mut dyn FnMut(IngestCandidate) -> ControlFlow<()>;
