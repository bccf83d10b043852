//! The event log on SQLite, with the semantics of Kafka on one host.
//!
//! A partition is a sequence of rows keyed by offset. Publishing inserts rows at its end in one transaction, which
//! gives order and visibility. The rows of groups are in [`membership`], a member in [`consumer`].

mod append;
mod assign;
#[cfg(test)]
mod commit_property_tests;
#[cfg(test)]
mod commit_tests;
mod consumer;
mod context;
mod fetch;
mod groups;
mod headers;
mod liveness;
mod member;
mod membership;
mod owned;
mod producer;
mod retention;
#[cfg(test)]
mod test_log;
mod topic_admin;
mod topics;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use self::append::RoutedRecord;
use self::consumer::EmbeddedConsumer;
use self::context::LogContext;
use self::fetch::FetchPosition;
use self::producer::EmbeddedExclusiveProducer;
use super::folder::DataFolder;
use mfctl_core::domain::{GroupName, NewRecord, RecordAddress, TopicId, TopicName, TopicPartition};
use mfctl_core::ports::{
    Clock, EventLog, FetchLimits, FetchedRecords, GroupCommit, GroupConsumer, GroupDescription, PartitionOffsets,
    PartitionProgress, Result, RetentionReport, Subscription, TopicDescription, TopicSpec, TransactionalProducer,
};

/// Records and bytes published in one transaction at most; more are published in several transactions.
const MAX_PUBLISH_RECORDS: usize = 4096;
const MAX_PUBLISH_BYTES: usize = 8 << 20;

/// The log of a data folder.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    context: LogContext,
}

impl EmbeddedLog {
    /// The log of this folder. `clock` dates commits; records carry their own timestamps.
    #[must_use]
    pub fn new(folder: &DataFolder, clock: Arc<dyn Clock>) -> Self {
        Self { context: LogContext::new(folder, clock) }
    }

    async fn position(&self, at: &TopicPartition, offset: i64) -> Result<FetchPosition> {
        let topic = self.context.topics.get(&self.context.db, &at.topic).await?;
        Ok(FetchPosition { part_id: topic.part_id(at.partition)?, at: at.clone(), offset })
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn identity(&self) -> Result<String> {
        Ok(self.context.db.identity().to_owned())
    }

    async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
        let specs = specs.to_vec();
        self.context.db.write("create topics", move |tx| topics::create_topics(tx, &specs)).await
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.context.db.read("list topics", topics::topics).await
    }

    async fn offsets(&self, names: &[TopicName]) -> Result<Vec<PartitionOffsets>> {
        let topics = self.context.topics.get_all(&self.context.db, names).await?;
        self.context.db.read("read offsets", move |c| topics::offsets(c, &topics)).await
    }

    async fn written_ends(&self, names: &[TopicName]) -> Result<Vec<(TopicPartition, i64)>> {
        Ok(self.offsets(names).await?.into_iter().map(|one| (one.at, one.span.high)).collect())
    }

    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        let mut records = append::route(&self.context, records).await?;
        let mut addresses = Vec::with_capacity(records.len());
        while !records.is_empty() {
            let rest = records.split_off(transaction_len(&records));
            let batch = std::mem::replace(&mut records, rest);
            addresses.extend(self.context.db.write("publish records", move |tx| append::insert(tx, &batch)).await?);
        }
        Ok(addresses)
    }

    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        let from = self.position(at, from).await?;
        self.context.db.read_records("read records", move |c| fetch::fetch(c, from, limits)).await
    }

    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        let part_id = self.position(at, 0).await?.part_id;
        self.context.db.read("look up an offset by time", move |c| fetch::offset_for_time(c, part_id, time)).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>> {
        Ok(Box::new(EmbeddedConsumer::subscribe(self.context.clone(), subscription).await?))
    }

    async fn groups(&self) -> Result<Vec<GroupDescription>> {
        let dir = self.context.members_dir.clone();
        self.context.db.read("read groups", move |c| groups::groups(c, &dir)).await
    }

    async fn topic_ids(&self, names: &[TopicName]) -> Result<Vec<Option<TopicId>>> {
        let topics = self.context.topics.get_all(&self.context.db, names).await?;
        Ok(topics.iter().map(|topic| TopicId::new(topic.id.to_string()).ok()).collect())
    }

    async fn committed(&self, group: &GroupName, partitions: &[TopicPartition]) -> Result<Vec<GroupCommit>> {
        let mut wanted = Vec::with_capacity(partitions.len());
        for at in partitions {
            let topic = self.context.topics.get(&self.context.db, &at.topic).await?;
            wanted.push((topic.part_id(at.partition)?, at.clone()));
        }
        let group = group.clone();
        self.context.db.read("read a group's commits", move |c| groups::committed(c, &group, wanted)).await
    }

    async fn progress(&self, group: &GroupName, names: &[TopicName]) -> Result<Vec<PartitionProgress>> {
        let topics = self.context.topics.get_all(&self.context.db, names).await?;
        let group = group.clone();
        self.context.db.read("read a group's progress", move |c| groups::progress(c, &group, &topics)).await
    }

    async fn delete_group(&self, group: &GroupName) -> Result<()> {
        let group = group.clone();
        let dir = self.context.members_dir.clone();
        self.context.db.write("delete a group", move |tx| groups::delete_group(tx, &group, &dir)).await
    }

    async fn transactional_producer(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>> {
        Ok(Box::new(EmbeddedExclusiveProducer::create(self.context.clone(), transactional_id).await?))
    }

    async fn run_retention(&self, now: Timestamp) -> Result<RetentionReport> {
        retention::run_retention(&self.context, now).await
    }
}

/// How many of these records are published in one transaction.
fn transaction_len(records: &[RoutedRecord]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&RoutedRecord| {
        bytes += record.size_bytes();
        bytes <= MAX_PUBLISH_BYTES
    };
    records.iter().take(MAX_PUBLISH_RECORDS).take_while(fits).count().max(1)
}
