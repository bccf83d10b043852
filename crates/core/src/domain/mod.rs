//! Types and rules of the platform: what an asset, an event, a dead letter and a job *are*.
//!
//! Pure: no I/O, no async, no clock. A time that a rule needs is passed in. Everything here may be imported by
//! every other module and imports none of them.

pub mod asset;
pub mod compat;
pub mod config_key;
pub mod dead_letter;
pub mod difference;
pub mod error_chain;
pub mod event;
pub mod ids;
pub mod job;
pub mod lag;
pub mod names;
pub mod object_keys;
pub mod partition;
pub mod path;
pub mod record;
pub mod secret;
pub mod secret_like;
pub mod text;

pub use asset::{Asset, AssetState, Stage};
pub use config_key::ConfigKey;
pub use error_chain::error_chain;
pub use ids::{AssetId, EventId, JobId, ParseIdError, Revision, Sha256};
pub use jiff::Timestamp;
pub use names::{BucketName, EnvName, GroupName, InvalidName, ObjectKey, ObjectRef, Tenant, TopicName};
pub use path::SourcePath;
pub use record::{Header, Headers, NewRecord, Record, RecordAddress, TopicPartition};
pub use secret::Secret;
