//! Ingest jobs and the progress of their files.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asset::text_enum;
use super::ids::{AssetId, EventId, JobId, ParseIdError, Sha256};
use super::names::{ObjectKey, Tenant};
use super::path::SourcePath;

text_enum!(
    /// Status of a job.
    JobStatus: "a job status (running, interrupted, finished)" {
        /// A process runs it, or ran it until it died.
        Running = "running",
        /// It was stopped before its end, for the reason given; it can be resumed.
        Interrupted = "interrupted",
        /// Every file has an outcome.
        Finished = "finished",
    }
);

text_enum!(
    /// Progress of a file in the journal.
    FileStep: "a file step" {
        /// Its event id and staging key are fixed; nothing else is known to be done.
        Planned = "planned",
        /// Its bytes are durable in the staging bucket; its event is not acknowledged yet.
        Staged = "staged",
        /// Its event was acknowledged.
        Published = "published",
        /// An asset with the same bytes existed; nothing was staged.
        Deduplicated = "deduplicated",
        /// Refused; a retry of the unchanged file cannot succeed.
        Rejected = "rejected",
        /// Failed; a retry may succeed.
        Failed = "failed",
    }
);

impl FileStep {
    /// Whether nothing is left to do for the file in this job.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Published | Self::Deduplicated | Self::Rejected | Self::Failed)
    }
}

text_enum!(
    /// Outcome of a file in a job, as in the catalog's `job_outcomes` table.
    FileOutcome: "a file outcome (accepted, rejected or failed)" {
        /// Ingested as the asset that the row names.
        Accepted = "accepted",
        /// Refused; a retry of the unchanged file cannot succeed.
        Rejected = "rejected",
        /// Failed; a retry may succeed (`--retry-failed`).
        Failed = "failed",
    }
);

text_enum!(
    /// Why a file was refused, as a stable name for scripts; a sentence accompanies it.
    RefusalKind: "a refusal kind" {
        /// The file has no bytes.
        Empty = "empty",
        /// The file is larger than `--max-size`.
        TooLarge = "too_large",
        /// Its media type is not allowed.
        TypeNotAllowed = "type_not_allowed",
        /// The path is a FIFO, socket, device or folder.
        NotRegular = "not_a_regular_file",
        /// A symbolic link that is dangling or part of a loop.
        BrokenLink = "broken_link",
        /// Its sidecar or manifest row is invalid.
        BadMetadata = "bad_metadata",
        /// It is in mfctl's own data folder.
        DataFolder = "data_folder",
        /// Its asset was taken down.
        TakenDown = "taken_down",
        /// It cannot be opened or read.
        Unreadable = "unreadable",
        /// A list or manifest names it, and it does not exist.
        NotFound = "not_found",
        /// The last entry of a list or manifest: it has no terminator, and is incomplete or names nothing.
        CutOff = "cut_off",
        /// An entry of a list that cannot be a path.
        InvalidEntry = "invalid_entry",
        /// It was found, and was deleted before it was read.
        Vanished = "vanished",
        /// It changed while it was read.
        Changed = "changed_while_read",
        /// The object store refused or failed the put.
        Store = "store_error",
    }
);

impl RefusalKind {
    /// `rejected` when the unchanged file can never be ingested, `failed` when a retry may succeed.
    #[must_use]
    pub fn outcome(self) -> FileOutcome {
        match self {
            Self::Unreadable | Self::NotFound | Self::CutOff | Self::Vanished | Self::Changed | Self::Store => {
                FileOutcome::Failed
            }
            _ => FileOutcome::Rejected,
        }
    }
}

/// Why a file was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRefusal {
    /// Stable name for scripts.
    pub kind: RefusalKind,
    /// Sentence for people.
    pub reason: String,
}

text_enum!(
    /// What a job's input is.
    InputKind: "a kind of input (list or manifest)" {
        /// Paths of files and folders, from `--files-from`.
        List = "list",
        /// Rows that name files and their metadata, from `--manifest`.
        Manifest = "manifest",
    }
);

/// A list or manifest of a job, as far as it was read into the job's spool. An input that is given again, because it was
/// cut off, is another part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobInput {
    /// What it is.
    pub kind: InputKind,
    /// Number of the part among those of its kind, from 1.
    pub part: u32,
    /// Bytes in the spool.
    pub bytes: u64,
    /// Entries or rows that were read, without empty ones.
    pub entries: u64,
    /// Whether its end was read.
    pub ended: bool,
}

/// A job's row in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Job id.
    pub job_id: JobId,
    /// Tenant of its assets.
    pub tenant: Tenant,
    /// Current status.
    pub status: JobStatus,
    /// Why it was interrupted.
    pub reason: Option<String>,
    /// Who started it.
    pub actor: String,
    /// Host that runs it.
    pub host: String,
    /// Roots and options as canonical JSON: an equal spec means the same job.
    pub spec: serde_json::Value,
    /// Start time.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Time of the row's last change.
    #[schemars(with = "String")]
    pub updated_at: Timestamp,
    /// End time, once it is finished.
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Whether the walk is complete: only then is `discovered` final.
    pub walk_complete: bool,
}

/// Counts of a job's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct JobCounts {
    /// Files found by the walk.
    pub discovered: u64,
    /// Files staged by this job whose event is or will be published.
    pub staged: u64,
    /// Files whose bytes were ingested before.
    pub deduplicated: u64,
    /// Files whose event was acknowledged.
    pub published: u64,
    /// Files refused for good.
    pub rejected: u64,
    /// Files that failed and may be retried.
    pub failed: u64,
    /// Total size in bytes of the files that were read.
    pub bytes: u64,
}

impl JobCounts {
    /// Files that were found and are neither staged, deduplicated, rejected nor failed.
    #[must_use]
    pub const fn not_done(&self) -> u64 {
        self.discovered.saturating_sub(self.staged + self.deduplicated + self.rejected + self.failed)
    }
}

/// A file's row in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalFile {
    /// Path of the file.
    pub path: SourcePath,
    /// Step reached.
    pub step: FileStep,
    /// Id of its event; every retry publishes this event.
    pub event_id: EventId,
    /// Key of its staged bytes.
    pub staging_key: ObjectKey,
    /// Size in bytes when it was read.
    pub size_bytes: Option<u64>,
    /// Modification time when it was read, in nanoseconds since 1970.
    pub modified_ns: Option<i64>,
    /// Time of the last change of its data or metadata when it was read, in nanoseconds since 1970; `None` where it is not
    /// known to tell every later change.
    pub changed_ns: Option<i64>,
    /// Device of the file when it was read.
    pub device: Option<u64>,
    /// Inode of the file when it was read.
    pub inode: Option<u64>,
    /// Digest of its content.
    pub sha256: Option<Sha256>,
    /// Media type by content.
    pub media_type: Option<String>,
    /// Asset of its content.
    pub asset_id: Option<AssetId>,
    /// Why it was refused.
    pub refusal: Option<FileRefusal>,
    /// Time of staging.
    #[schemars(with = "Option<String>")]
    pub staged_at: Option<Timestamp>,
}

/// The outcome of a file, kept in the catalog so that any host can audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobOutcome {
    /// Job of the outcome.
    pub job_id: JobId,
    /// Tenant of the job.
    pub tenant: Tenant,
    /// Path of the file; with the tenant, its identity.
    pub path: SourcePath,
    /// Outcome of the file.
    pub outcome: FileOutcome,
    /// Asset of the file, when accepted.
    pub asset_id: Option<AssetId>,
    /// Id of its `ingest.raw` event, when accepted.
    pub event_id: Option<EventId>,
    /// Size in bytes.
    pub size_bytes: Option<u64>,
    /// Why it was refused.
    pub refusal: Option<FileRefusal>,
    /// Time of the outcome.
    #[schemars(with = "String")]
    pub at: Timestamp,
}
