//! The audit while another program's transaction is open: records behind it are on the log, and no reader sees them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mfctl::ops::audit::{self, AuditOptions, AuditProgress, AuditReport, ViolationKind};
use mfctl::ops::owed::{self, OwedState};
use mfctl_core::domain::lag::PartitionSpan;
use mfctl_core::domain::names::topics;
use mfctl_core::domain::{
    GroupName, NewRecord, RecordAddress, Revision, Tenant, Timestamp, TopicId, TopicName, TopicPartition,
};
use mfctl_core::ports::{
    Error, ErrorKind, EventLog, FetchLimits, FetchedRecords, GroupCommit, GroupConsumer, GroupDescription,
    HiddenRecords, PartitionOffsets, PartitionProgress, Ports, Result, RetentionReport, Subscription, TopicDescription,
    TopicSpec, TransactionalProducer,
};

use super::platform::Platform;

/// A log of which readers see no record from these offsets on.
struct LogWithOpenTransaction {
    inner: Arc<dyn EventLog>,
    stable: BTreeMap<TopicPartition, i64>,
    /// Whether it says what it hides; without, the records look as if they did not exist.
    tells: bool,
    /// Whether it says which members a group has.
    describes_groups: bool,
}

impl LogWithOpenTransaction {
    /// Hides what is published to this topic from now on.
    async fn on(inner: &Arc<dyn EventLog>, topic: &TopicName) -> Self {
        let offsets = inner.offsets(std::slice::from_ref(topic)).await.unwrap();
        let stable = offsets.into_iter().map(|partition| (partition.at, partition.span.high)).collect();
        Self { inner: Arc::clone(inner), stable, tells: true, describes_groups: true }
    }

    fn visible(&self, at: &TopicPartition, span: PartitionSpan) -> PartitionSpan {
        PartitionSpan { high: self.stable.get(at).map_or(span.high, |stable| span.high.min(*stable)), ..span }
    }
}

#[async_trait]
impl EventLog for LogWithOpenTransaction {
    async fn identity(&self) -> Result<String> {
        self.inner.identity().await
    }

    async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
        self.inner.create_topics(specs).await
    }

    async fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.inner.topics().await
    }

    async fn offsets(&self, topics: &[TopicName]) -> Result<Vec<PartitionOffsets>> {
        let offsets = self.inner.offsets(topics).await?.into_iter();
        Ok(offsets.map(|one| PartitionOffsets { span: self.visible(&one.at, one.span), ..one }).collect())
    }

    async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.inner.publish(records).await
    }

    async fn fetch(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        let mut fetched = self.inner.fetch(at, from, limits).await?;
        fetched.span = self.visible(at, fetched.span);
        fetched.records.retain(|record| record.address.offset < fetched.span.high);
        fetched.next_offset = fetched.next_offset.min(fetched.span.high);
        Ok(fetched)
    }

    async fn hidden(&self, topics: &[TopicName]) -> Result<Vec<HiddenRecords>> {
        let all = self.inner.offsets(topics).await?.into_iter().filter(|_| self.tells);
        let hidden = all.filter_map(|PartitionOffsets { at, span }| {
            let from_offset = *self.stable.get(&at)?;
            Some(HiddenRecords { at, from_offset, end_offset: span.high })
        });
        Ok(hidden.filter(|hidden| hidden.count() > 0).collect())
    }

    async fn written_ends(&self, topics: &[TopicName]) -> Result<Vec<(TopicPartition, i64)>> {
        self.inner.written_ends(topics).await
    }

    async fn fetch_hidden(&self, at: &TopicPartition, from: i64, limits: FetchLimits) -> Result<FetchedRecords> {
        self.inner.fetch(at, from, limits).await
    }

    async fn offset_for_time(&self, at: &TopicPartition, time: Timestamp) -> Result<i64> {
        self.inner.offset_for_time(at, time).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn GroupConsumer>> {
        self.inner.subscribe(subscription).await
    }

    async fn groups(&self) -> Result<Vec<GroupDescription>> {
        if !self.describes_groups {
            return Err(Error::new(ErrorKind::Denied, "describe groups, as scripted"));
        }
        self.inner.groups().await
    }

    async fn topic_ids(&self, topics: &[TopicName]) -> Result<Vec<Option<TopicId>>> {
        self.inner.topic_ids(topics).await
    }

    async fn committed(&self, group: &GroupName, partitions: &[TopicPartition]) -> Result<Vec<GroupCommit>> {
        self.inner.committed(group, partitions).await
    }

    async fn progress(&self, group: &GroupName, topics: &[TopicName]) -> Result<Vec<PartitionProgress>> {
        let progress = self.inner.progress(group, topics).await?.into_iter();
        let masked = progress.map(|one| {
            let span = self.visible(&one.at, one.span);
            let hidden = if self.tells { u64::try_from(one.span.high - span.high).unwrap() } else { 0 };
            PartitionProgress { span, hidden, ..one }
        });
        Ok(masked.collect())
    }

    async fn delete_group(&self, group: &GroupName) -> Result<()> {
        self.inner.delete_group(group).await
    }

    async fn transactional_producer(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>> {
        self.inner.transactional_producer(transactional_id).await
    }

    async fn run_retention(&self, now: Timestamp) -> Result<RetentionReport> {
        self.inner.run_retention(now).await
    }
}

pub struct NoProgress;

impl AuditProgress for NoProgress {
    fn step(&self, _: &str) {}
    fn done(&self, _: u64) {}
}

/// Audits a platform through these ports.
pub async fn audit_of(platform: &Platform, ports: Ports) -> Result<AuditReport> {
    let options = AuditOptions { hash_objects: true, second_look_after: Duration::ZERO };
    audit::run(&ports, &platform.env, &Tenant::default(), Path::new("/none"), options, &NoProgress).await
}

async fn audited(platform: &Platform, log: Arc<dyn EventLog>) -> AuditReport {
    audit_of(platform, Ports { log, ..platform.ports.clone() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_behind_an_open_transaction_are_waiting_and_not_lost() {
    let platform = Platform::new().await;
    let log = LogWithOpenTransaction::on(&platform.ports.log, &topics::INGEST_RAW).await;
    let assets = platform.ingest(4).await;
    let published: Vec<_> = assets.iter().map(|asset| (*asset, Revision::FIRST)).collect();
    platform.ports.catalog.mark_published(&published, platform.ports.clock.now()).await.unwrap();
    let owed = owed::read(&log, &platform.env).await;
    assert_eq!((owed.stages[0].waiting, owed.stages[0].behind_open_transactions), (4, 4), "{owed:?}");
    assert_eq!(owed.state, OwedState::Unattended);
    assert!(owed.summary.contains("4 of them behind an open transaction"), "{owed:?}");
    let report = audited(&platform, Arc::new(log)).await;
    assert_eq!(report.violations, [], "{report:?}");
    let hidden: u64 = report.behind_open_transactions.iter().map(HiddenRecords::count).sum();
    assert_eq!(hidden, 4, "{report:?}");

    let mut silent = LogWithOpenTransaction::on(&platform.ports.log, &topics::INGEST_RAW).await;
    silent.stable.values_mut().for_each(|stable| *stable = 0);
    silent.tells = false;
    let report = audited(&platform, Arc::new(silent)).await;
    let kinds: Vec<_> = report.violations.iter().map(|violation| violation.kind).collect();
    assert_eq!(kinds, [ViolationKind::Lost; 4], "records that do not exist are lost: {report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_behind_an_open_transaction_are_not_missing() {
    let platform = Platform::new().await;
    let log = LogWithOpenTransaction::on(&platform.ports.log, &topics::MEDIA_INGESTED).await;
    platform.ingest(4).await;
    platform.drain(platform.persist()).await;
    let report = audited(&platform, Arc::new(log)).await;
    assert_eq!(report.violations, [], "{report:?}");
    assert_eq!(report.events, 0, "no reader sees them yet: {report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_cannot_be_counted_is_not_checked_rather_than_none() {
    let platform = Platform::new().await;
    let mut log = LogWithOpenTransaction::on(&platform.ports.log, &topics::INGEST_RAW).await;
    log.describes_groups = false;
    let report = audited(&platform, Arc::new(log)).await;
    assert_eq!(report.violations, [], "{report:?}");
    assert!(!report.is_complete(), "{report:?}");
    let unchecked: Vec<_> = report.unchecked.iter().map(|part| (part.part.as_str(), part.failed)).collect();
    assert_eq!(unchecked, [("what the pipeline still has to do", true); 2], "{report:?}");
    assert!(report.unchecked[0].reason.contains("what waits for enrich: describe groups"), "{report:?}");
}

/// A stub whose topic is not that of a stage, such as one that an operator's tool has copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dead_letter_topic_of_the_platform_is_read() {
    let platform = Platform::new().await;
    let topic = topics::MEDIA_ENRICHED.dead_letters();
    let log = LogWithOpenTransaction::on(&platform.ports.log, &topic).await;
    let letter = NewRecord { topic: topic.clone(), ..platform.stage(&["a".to_owned()]).await.remove(0).1 };
    platform.ports.log.publish(vec![letter]).await.unwrap();
    let report = audited(&platform, Arc::new(log)).await;
    let hidden: Vec<_> = report.behind_open_transactions.iter().map(|hidden| &hidden.at.topic).collect();
    assert_eq!(hidden, [&topic], "{report:?}");
}
