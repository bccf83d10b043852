//! Ingest jobs: what happened to each file a job saw.

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
    /// How a job stands.
    JobStatus: "a job status (running, interrupted, finished)" {
        /// A process is, or was until it died, working on it.
        Running = "running",
        /// It stopped before its end, cleanly; the reason says why. It can be resumed.
        Interrupted = "interrupted",
        /// Every file has an outcome.
        Finished = "finished",
    }
);

text_enum!(
    /// Where a file's journey stands in the journal.
    FileStep: "a file step" {
        /// Its event id and staging key are fixed; nothing else is known to be done.
        Planned = "planned",
        /// Its bytes are durable in staging; its event is not yet acknowledged.
        Staged = "staged",
        /// Its event is acknowledged.
        Published = "published",
        /// The same bytes were there already; nothing new was staged.
        Deduplicated = "deduplicated",
        /// Trying the unchanged file again cannot help.
        Rejected = "rejected",
        /// Trying again may help.
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
    /// A file's outcome in a job, as the catalog's `job_outcomes` has it.
    FileOutcome: "a file outcome (accepted, rejected or failed)" {
        /// It is the asset that the row names.
        Accepted = "accepted",
        /// Trying the unchanged file again cannot help.
        Rejected = "rejected",
        /// Trying again may help: what `--retry-failed` takes.
        Failed = "failed",
    }
);

text_enum!(
    /// Why a file was not taken: a stable word for scripts; a sentence stands beside it.
    RefusalKind: "a refusal kind" {
        /// No bytes.
        Empty = "empty",
        /// Larger than `--max-size`.
        TooLarge = "too_large",
        /// Its type is not allowed.
        TypeNotAllowed = "type_not_allowed",
        /// A FIFO, socket, device or folder.
        NotRegular = "not_a_regular_file",
        /// A symbolic link that leads nowhere or round in a circle.
        BrokenLink = "broken_link",
        /// Its sidecar or manifest row cannot be used.
        BadMetadata = "bad_metadata",
        /// The asset was taken down.
        Revoked = "revoked",
        /// It cannot be opened or read.
        Unreadable = "unreadable",
        /// It was there and is gone.
        Vanished = "vanished",
        /// It changed while it was read.
        Changed = "changed_while_read",
        /// The object store did not take it.
        Store = "store_error",
    }
);

impl RefusalKind {
    /// `rejected` when the unchanged file can never be taken, `failed` when trying again may help.
    #[must_use]
    pub fn outcome(self) -> FileOutcome {
        match self {
            Self::Unreadable | Self::Vanished | Self::Changed | Self::Store => FileOutcome::Failed,
            _ => FileOutcome::Rejected,
        }
    }
}

/// Why a file was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRefusal {
    /// A stable word.
    pub kind: RefusalKind,
    /// A sentence for people.
    pub reason: String,
}

/// A job as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its id.
    pub job_id: JobId,
    /// Its tenant.
    pub tenant: Tenant,
    /// How it stands.
    pub status: JobStatus,
    /// Why it stopped, when it was interrupted.
    pub reason: Option<String>,
    /// Who began it.
    pub actor: String,
    /// Where it runs.
    pub host: String,
    /// The roots and options it was given, as canonical JSON: the same again means the same job.
    pub spec: serde_json::Value,
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When its row last changed.
    #[schemars(with = "String")]
    pub updated_at: Timestamp,
    /// When it finished.
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Whether the walk came to its end: only then is `discovered` whole.
    pub walk_complete: bool,
}

/// Counts of a job's files by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct JobCounts {
    /// Files seen by the walk.
    pub discovered: u64,
    /// Files whose bytes were staged in this job and whose event is or will be published.
    pub staged: u64,
    /// Files whose bytes were there already.
    pub deduplicated: u64,
    /// Events acknowledged.
    pub published: u64,
    /// Files rejected.
    pub rejected: u64,
    /// Files failed.
    pub failed: u64,
    /// Bytes of all files that were read.
    pub bytes: u64,
}

/// One file in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalFile {
    /// The file.
    pub path: SourcePath,
    /// Where its journey stands.
    pub step: FileStep,
    /// The id of its event; every retry publishes this one.
    pub event_id: EventId,
    /// Where its bytes go.
    pub staging_key: ObjectKey,
    /// Its size when it was read.
    pub size_bytes: Option<u64>,
    /// Its modification time when it was read, in nanoseconds since 1970.
    pub modified_ns: Option<i64>,
    /// Its content.
    pub sha256: Option<Sha256>,
    /// Its type by content.
    pub media_type: Option<String>,
    /// The asset it is.
    pub asset_id: Option<AssetId>,
    /// Why it was not taken.
    pub refusal: Option<FileRefusal>,
    /// When its bytes were staged.
    #[schemars(with = "Option<String>")]
    pub staged_at: Option<Timestamp>,
}

/// A file's outcome, as the catalog keeps it so that any host can audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobOutcome {
    /// The job.
    pub job_id: JobId,
    /// Its tenant.
    pub tenant: Tenant,
    /// The file: with the tenant, its identity.
    pub path: SourcePath,
    /// What became of it.
    pub outcome: FileOutcome,
    /// The asset it is, when accepted.
    pub asset_id: Option<AssetId>,
    /// The `ingest.raw` event that stands for it, when accepted.
    pub event_id: Option<EventId>,
    /// Its size.
    pub size_bytes: Option<u64>,
    /// Why it was not taken.
    pub refusal: Option<FileRefusal>,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
}
