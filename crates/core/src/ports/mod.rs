//! The ports: what the pipeline needs of the world, each with its contract in its doc comment.
//!
//! Every backend of a port passes the same suite in `tests/contract/`; a behaviour that is not in the suite is not
//! promised. Ports know `domain` and nothing else.

mod catalog;
mod clock;
mod config_store;
mod consul_acl;
mod error;
mod event_log;
mod journal;
mod migrations;
mod objects;
mod operator;
mod registry;
mod search;
mod secret_store;
mod topic_admin;
mod vault_setup;

pub use catalog::{
    AssetFilter, Catalog, CatalogSummary, Claim, ClaimRequest, DeadLetterFlag, Page, StagedAsset, StagedRow,
    StateTransition,
};
pub use clock::{Clock, SystemClock};
pub use config_store::{
    ConfigChange, ConfigEntry, ConfigLock, ConfigSnapshot, ConfigStore, MAX_CHANGES, MAX_VALUE_BYTES,
};
pub use consul_acl::{ConsulAcl, ConsulPolicy, ConsulToken};
pub use error::{Error, ErrorKind, Result};
pub use event_log::{
    CommitRequest, CommittedOffset, EventLog, FetchLimits, FetchedRecords, GroupConsumer, GroupDescription,
    GroupMember, PartitionOffsets, PartitionProgress, Poll, RetentionReport, Subscription, TopicDescription, TopicSpec,
    TransactionalProducer,
};
pub use journal::{FileUpdate, JobFilter, JobJournal, JobLease, NewJob, PlannedFile};
pub use migrations::{Migration, Migrations};
pub use objects::{
    BucketAdmin, BucketChange, BucketEncryption, BucketPolicy, BucketUsage, ByteSource, Capacity, CopyOutcome,
    ListedObject, LocalObject, ObjectInfo, ObjectListing, ObjectStore, PutOptions, UnfinishedUpload,
};
pub use operator::{OperatorJournal, OperatorRecord};
pub use registry::{RegisteredSchema, SchemaRegistry};
pub use search::{SearchDocument, SearchHit, SearchIndex, SearchPage, SearchQuery};
pub use secret_store::{AppRole, MountClass, SecretShape, SecretStore, VaultAdmin, VaultMount};
pub use topic_admin::{MAX_MESSAGE_BYTES, TopicAdmin, TopicState};
pub use vault_setup::{AdminRole, InitKeys, SealStatus, VaultSetup};

use std::sync::Arc;

/// Everything a connected profile offers. A verb takes the ports it needs out of this; it never takes the whole.
#[derive(Clone)]
pub struct Ports {
    /// Topics and consumer groups.
    pub log: Arc<dyn EventLog>,
    /// Buckets.
    pub objects: Arc<dyn ObjectStore>,
    /// Metadata.
    pub catalog: Arc<dyn Catalog>,
    /// Search.
    pub search: Arc<dyn SearchIndex>,
    /// Schemas.
    pub registry: Arc<dyn SchemaRegistry>,
    /// Ingest jobs of this host.
    pub journal: Arc<dyn JobJournal>,
    /// Who did what.
    pub operators: Arc<dyn OperatorJournal>,
    /// How buckets keep what they hold; `None` where a store does nothing by itself and mfctl's own retention does it.
    pub buckets: Option<Arc<dyn BucketAdmin>>,
    /// The catalog's tables; `None` where the profile does not say how to reach their database.
    pub migrations: Option<Arc<dyn Migrations>>,
    /// Topics, as operators keep them.
    pub topics: Option<Arc<dyn TopicAdmin>>,
    /// Configuration of services; `None` where a profile has none.
    pub config: Option<Arc<dyn ConfigStore>>,
    /// Who may do what in Consul; `None` where there is none.
    pub consul_acl: Option<Arc<dyn ConsulAcl>>,
    /// Secrets; `None` where a profile has no store of them.
    pub secrets: Option<Arc<dyn SecretStore>>,
    /// The configuration of that store.
    pub vault: Option<Arc<dyn VaultAdmin>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}
