//! The event log on SQLite: Kafka's meanings for one host.
//!
//! A partition is a run of rows keyed by offset; publishing is inserting at its end, so order and visibility are the
//! transaction's. Groups are in [`membership`], a member in [`consumer`].

mod append;
mod assign;
mod consumer;
mod fetch;
mod groups;
mod headers;
mod liveness;
mod membership;
mod producer;
mod retention;
mod topic_admin;
mod topics;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;

use super::db::Db;
use super::folder::DataFolder;
use mfctl_core::domain::{GroupName, NewRecord, RecordAddress, TopicName, TopicPartition};
use mfctl_core::ports::{
    Clock, EventLog, ExclusiveProducer, FetchLimits, Fetched, GroupConsumer, GroupDescription, PartitionOffsets,
    PartitionProgress, Result, RetentionReport, Subscription, TopicDescription, TopicSpec,
};

/// What is published in one transaction at most; more is published in several.
const PUBLISH_ROWS: usize = 4096;
const PUBLISH_BYTES: usize = 8 << 20;

/// The log of a data folder.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    shared: Shared,
}

/// What the log's parts share.
#[derive(Clone)]
struct Shared {
    db: Db,
    members_dir: PathBuf,
    clock: Arc<dyn Clock>,
    topics: Arc<topics::Topics>,
    keyless: Arc<AtomicU32>,
}

impl Shared {
    /// Spreads records without a key: in turn, from a random beginning.
    fn next_keyless(&self) -> u32 {
        self.keyless.fetch_add(1, Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("db", &self.db).finish_non_exhaustive()
    }
}

impl EmbeddedLog {
    /// The log of this folder. `clock` dates commits; records carry their own time.
    #[must_use]
    pub fn new(folder: &DataFolder, clock: Arc<dyn Clock>) -> Self {
        let shared = Shared {
            db: folder.db().clone(),
            members_dir: folder.locks_dir().join("members"),
            clock,
            topics: Arc::default(),
            keyless: Arc::new(AtomicU32::new(fastrand::u32(..))),
        };
        Self { shared }
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn identity(&self) -> Result<String> {
        Ok(self.shared.db.identity().to_owned())
    }

    async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
        let specs = specs.to_vec();
        self.shared.db.write("make topics", move |tx| topics::create(tx, &specs)).await
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.shared.db.read("list topics", topics::list).await
    }

    async fn offsets(&self, names: &[TopicName]) -> Result<Vec<PartitionOffsets>> {
        let topics = self.shared.topics.all(&self.shared.db, names).await?;
        self.shared.db.read("read offsets", move |c| topics::spans(c, &topics)).await
    }

    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        let mut rows = append::route(&self.shared, records).await?;
        let mut addresses = Vec::with_capacity(rows.len());
        while !rows.is_empty() {
            let rest = rows.split_off(one_transaction(&rows));
            let batch = std::mem::replace(&mut rows, rest);
            addresses.extend(self.shared.db.write("publish records", move |tx| append::insert(tx, &batch)).await?);
        }
        Ok(addresses)
    }

    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<Fetched> {
        let part_id = self.shared.topics.get(&self.shared.db, &at.topic).await?.part_id(at.partition)?;
        let at = at.clone();
        self.shared.db.read("read records", move |c| fetch::fetch(c, (part_id, &at), from, limits)).await
    }

    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        let part_id = self.shared.topics.get(&self.shared.db, &at.topic).await?.part_id(at.partition)?;
        self.shared.db.read("look for a record's time", move |c| fetch::offset_for_time(c, part_id, time)).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>> {
        Ok(Box::new(consumer::Consumer::join(self.shared.clone(), subscription).await?))
    }

    async fn groups(&self) -> Result<Vec<GroupDescription>> {
        let dir = self.shared.members_dir.clone();
        self.shared.db.read("read groups", move |c| groups::list(c, &dir)).await
    }

    async fn progress(&self, group: &GroupName, names: &[TopicName]) -> Result<Vec<PartitionProgress>> {
        let topics = self.shared.topics.all(&self.shared.db, names).await?;
        let group = group.clone();
        self.shared.db.read("read a group's progress", move |c| groups::progress(c, &group, &topics)).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<()> {
        let (group, dir) = (group.clone(), self.shared.members_dir.clone());
        self.shared.db.write("delete a group", move |tx| groups::delete(tx, &group, &dir)).await
    }

    async fn exclusive(&self, transactional_id: &str) -> Result<Box<dyn ExclusiveProducer>> {
        Ok(Box::new(producer::Exclusive::make(self.shared.clone(), transactional_id).await?))
    }

    async fn run_retention(&self, now: Timestamp) -> Result<RetentionReport> {
        retention::run(&self.shared, now).await
    }
}

/// How many of these rows go into one transaction.
fn one_transaction(rows: &[append::Row]) -> usize {
    let mut bytes = 0;
    let fits = |row: &&append::Row| {
        bytes += row.size_bytes();
        bytes <= PUBLISH_BYTES
    };
    rows.iter().take(PUBLISH_ROWS).take_while(fits).count().max(1)
}
