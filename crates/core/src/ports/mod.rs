//! The ports: interfaces to the systems that mfctl works with, each with its contract in its doc comment.
//!
//! Every backend of a port passes the same suite in `tests/contract/`; behaviour outside the suite is not guaranteed.
//! Ports import `domain` alone.

mod catalog;
mod clock;
mod config_store;
mod consul_acl;
mod dependency;
mod error;
mod event_log;
mod job_catalog;
mod journal;
mod migrations;
mod objects;
mod operator;
mod registry;
mod search;
mod secret_store;
mod storage_check;
mod takedown;
mod topic_admin;
mod vault_setup;

pub use catalog::{
    AssetFilter, AssetOrder, AssetSortKey, Catalog, CatalogSummary, ClaimAnswer, ClaimBatch, ClaimEnd, ClaimRequest,
    ClaimedBatch, CursorPage, DeadLetterFlag, EpochRequest, FoldedPage, HeldClaim, PartitionEnd, PartitionEndSeen,
    PartitionFence, PassedRecords, StagedAsset, StagedRow, StateTransition, UnreadCount,
};
pub use clock::{Clock, MAX_CLOCK_SKEW, SystemClock};
pub use config_store::{
    ConfigChange, ConfigEntry, ConfigLock, ConfigSnapshot, ConfigStore, MAX_CHANGES, MAX_VALUE_BYTES,
};
pub use consul_acl::{ConsulAcl, ConsulPolicy, ConsulToken};
pub use dependency::Dependency;
pub use error::{Error, ErrorKind, Result};
pub use event_log::{
    CommitRequest, CommittedOffset, EventLog, FetchLimits, FetchedRecords, GroupCommit, GroupConsumer,
    GroupDescription, GroupMember, HiddenRecords, PartitionOffsets, PartitionProgress, Poll, RetentionReport,
    Subscription, TopicDescription, TopicSpec, TransactionalProducer,
};
pub use job_catalog::{JobCatalog, LeaseAnswer, LeaseEnd, LeaseRequest, OutcomeCountsPage, lease_lost};
pub use journal::{FileUpdate, JobFilter, JobJournal, JobLease, NewJob, PlannedFile};
pub use migrations::{ClaimFence, Migration, Migrations};
pub use objects::{
    BucketAdmin, BucketChange, BucketEncryption, BucketPolicy, BucketUsage, ByteSource, Capacity, ContentDigest,
    CopyOutcome, ListedObject, LocalObject, ObjectInfo, ObjectListing, ObjectStore, PutOptions, UnfinishedUpload,
};
pub use operator::{OperatorJournal, OperatorRecord};
pub use registry::{RegisteredSchema, SchemaRegistry};
pub use search::{SearchDocument, SearchHit, SearchIndex, SearchPage, SearchQuery};
pub use secret_store::{AppRole, MountClass, SecretShape, SecretStore, VaultAdmin, VaultMount};
pub use storage_check::{CheckDepth, MAX_DAMAGE, StorageCheck};
pub use takedown::{Takedown, TakedownRequest};
pub use topic_admin::{TopicAdmin, TopicState};
pub use vault_setup::{AdminRole, InitKeys, SealStatus, VaultSetup};

use std::sync::Arc;

/// The ports of a connected profile. A verb takes the ports it needs, never the whole struct.
#[derive(Clone)]
pub struct Ports {
    /// Event log: topics, records and consumer groups.
    pub log: Arc<dyn EventLog>,
    /// Object store.
    pub objects: Arc<dyn ObjectStore>,
    /// Catalog of assets, claims and file outcomes.
    pub catalog: Arc<dyn Catalog>,
    /// Search index.
    pub search: Arc<dyn SearchIndex>,
    /// Schema registry.
    pub registry: Arc<dyn SchemaRegistry>,
    /// Jobs of all hosts, in the catalog.
    pub jobs: Arc<dyn JobCatalog>,
    /// Journal of this host's ingest jobs.
    pub journal: Arc<dyn JobJournal>,
    /// Check of the data folder's file.
    pub storage: Arc<dyn StorageCheck>,
    /// Record of operators' changes.
    pub operators: Arc<dyn OperatorJournal>,
    /// Bucket administration; `None` where the store has no lifecycle rules and mfctl runs retention itself.
    pub buckets: Option<Arc<dyn BucketAdmin>>,
    /// Migrations of the catalog's database; `None` where the profile does not configure that database.
    pub migrations: Option<Arc<dyn Migrations>>,
    /// Topic administration.
    pub topics: Option<Arc<dyn TopicAdmin>>,
    /// Configuration of services; `None` without Consul.
    pub config: Option<Arc<dyn ConfigStore>>,
    /// Consul's access control; `None` without Consul.
    pub consul_acl: Option<Arc<dyn ConsulAcl>>,
    /// Secrets; `None` without Vault.
    pub secrets: Option<Arc<dyn SecretStore>>,
    /// Vault's own configuration; `None` without Vault.
    pub vault: Option<Arc<dyn VaultAdmin>>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}
