//! Types and rules of the platform: assets, events, dead letters, jobs, names and records.
//!
//! Pure: no I/O, no async, no clock; a time that a rule needs is passed in. Every other module may import this one, which
//! imports none of them.

pub mod address;
pub mod asset;
pub mod braces;
pub mod char_class;
pub mod claim;
pub mod claim_folding;
pub mod compat;
pub mod config_key;
pub mod dead_letter;
pub mod dead_letter_stub;
pub mod difference;
pub mod error_chain;
pub mod event;
pub mod host_errors;
pub mod ids;
pub mod job;
pub mod job_lease;
pub mod json_numbers;
pub mod kept_record;
pub mod lag;
pub mod media_type;
pub mod name_glob;
pub mod names;
pub mod object_keys;
pub mod partition;
pub mod path;
pub mod record;
pub mod record_limits;
pub mod secret;
pub mod secret_like;
pub mod text;

pub use asset::{Asset, AssetState, Stage};
pub use claim::{ClaimEpoch, ClaimGround, ClaimOwner, ClaimState, GroupGeneration};
pub use config_key::ConfigKey;
pub use error_chain::error_chain;
pub use ids::{AssetId, EventId, IdPrefix, JobId, ParseIdError, Revision, Sha256};
pub use jiff::Timestamp;
pub use job_lease::{ImportedLease, JobEpoch, JobFence, LeaseState, OutcomeCounts};
pub use media_type::{InvalidMediaType, MediaTypePattern};
pub use name_glob::{InvalidNameGlob, NameGlob};
pub use names::{BucketName, EnvName, GroupName, InvalidName, ObjectKey, ObjectRef, Tenant, TopicId, TopicName};
pub use path::SourcePath;
pub use record::{Header, Headers, NewRecord, Record, RecordAddress, TopicPartition};
pub use secret::{Secret, SecretValue};
