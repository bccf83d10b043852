//! Bulk upload: walk → plan → read and hash → stage → record → publish, in batches that overlap.
//!
//! Each file's journey is in the job's journal: its event id and staging key are there before anything else happens, so a
//! job that was killed goes on where it was and publishes the same events. The order of the writes is what makes that
//! safe; it is told in [`batch`]. Nothing here grows with the number or the size of the files.

mod batch;
mod dry;
mod engine;
mod feed;
mod filter;
mod job;
mod manifest;
pub mod metadata;
mod read;
mod record;
pub mod source;
mod space;
pub mod spec;
mod stage;
mod stream;
mod wait;
mod walk;

pub use dry::{Foreseen, dry_run, foresee};
pub use engine::{Place, Tools};
pub use job::{Ended, Outcome, Request, Start, run};
pub use space::room;
pub use wait::{Waited, wait_for};
pub use walk::LeftOut;

use std::path::PathBuf;
use std::time::Duration;

use filter::{PathFilter, TypeFilter};
use spec::JobSpec;

use mfctl_core::domain::JobId;
use mfctl_core::ports;
use mfctl_core::retry;
use mfctl_core::stop::Stop;

/// Why an ingest did not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A backend's error.
    #[error(transparent)]
    Port(#[from] ports::Error),
    /// The options cannot be used.
    #[error("the ingest's specification {0}")]
    Spec(String),
    /// A manifest or list cannot be read.
    #[error("cannot read {what}")]
    Input {
        /// Which.
        what: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The journal does not have this job.
    #[error("job {0} is not in this data folder's journal")]
    UnknownJob(JobId),
    /// It would leave too little of the disk free.
    #[error("{0}")]
    NoRoom(String),
}

/// After this long without an answer the job is interrupted, and can be resumed.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Waits for a dependency. A full store is not waited for.
async fn retry_call<T, F>(stop: &Stop, call: impl FnMut() -> F) -> ports::Result<T>
where
    F: Future<Output = ports::Result<T>>,
{
    let retryable =
        |error: &ports::Error| retry::dependency_failure(error).filter(|_| error.kind() != ports::ErrorKind::Full);
    retry::retry_until_deadline(GIVE_UP, GIVE_UP, stop, retryable, call).await
}

/// Which files are taken, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    /// The spec they come from.
    pub spec: JobSpec,
    paths: PathFilter,
    types: TypeFilter,
    skipped: Vec<PathBuf>,
}

impl Rules {
    /// The rules of a spec. `skipped` folders are never looked into.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn new(spec: JobSpec, skipped: Vec<PathBuf>) -> Result<Self, Error> {
        Ok(Self { paths: PathFilter::new(&spec)?, types: TypeFilter::new(&spec)?, spec, skipped })
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Files with an outcome, those of earlier runs of the job included.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Files not taken.
    pub refused: u64,
    /// What a look ahead found, where it came to the end.
    pub total: Option<space::Estimate>,
}

/// Hears how far a run has come.
pub trait Progress: Send + Sync {
    /// Now and then.
    fn at(&self, position: Position);
}
