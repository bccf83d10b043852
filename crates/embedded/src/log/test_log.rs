//! A log in a temporary folder and members of one group, for the tests of commits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::EmbeddedLog;
use crate::locks::{self, FileLock};
use crate::{DataFolder, Db, OpenMode};
use mfctl_core::domain::record::Headers;
use mfctl_core::domain::{GroupName, NewRecord, Record, TopicName, TopicPartition};
use mfctl_core::ports::{
    Clock, CommitRequest, EventLog, FetchLimits, GroupConsumer, Poll, Result, Subscription, TopicSpec,
};

/// How long one poll waits for records.
pub(super) const POLL_WAIT: Duration = Duration::from_millis(100);
/// Long enough that no member is evicted for its silence, and that no heartbeat is due.
const SESSION_TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

/// A process on a data folder: its log, and the database under it.
pub(super) struct TestProcess {
    pub(super) log: EmbeddedLog,
    pub(super) db: Db,
}

impl TestProcess {
    /// Opens the folder as another process does, with a writer of its own.
    pub(super) fn open(data: &Path) -> Self {
        let folder = DataFolder::open(data, OpenMode::MayCreate).unwrap();
        Self { log: EmbeddedLog::new(&folder, Arc::new(StoppedClock)), db: folder.db().clone() }
    }

    /// Joins the group; subscribes to the topic `in`.
    pub(super) async fn join(&self, instance: &str) -> Box<dyn GroupConsumer> {
        self.try_join(instance).await.unwrap()
    }

    /// As [`TestProcess::join`], where a write may fail.
    pub(super) async fn try_join(&self, instance: &str) -> Result<Box<dyn GroupConsumer>> {
        let subscription = Subscription {
            group: group(),
            topics: vec![TopicName::new("in").unwrap()],
            instance: instance.to_owned(),
            session_timeout: SESSION_TIMEOUT,
            prefetch_bytes: 1 << 20,
        };
        self.log.subscribe(subscription).await
    }
}

/// A data folder with the topics `in` and `out`, of one partition each, and a process on it.
pub(super) struct TestLog {
    pub(super) data: tempfile::TempDir,
    pub(super) process: TestProcess,
}

impl TestLog {
    /// With this number of records in the topic `in`; the value of each is its offset.
    pub(super) async fn with_records(count: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let process = TestProcess::open(data.path());
        let spec =
            |name| TopicSpec { name: TopicName::new(name).unwrap(), partitions: 1, retention: None, compacted: false };
        process.log.create_topics(&[spec("in"), spec("out")]).await.unwrap();
        process.log.publish((0..count).map(|offset| record("in", &offset.to_string())).collect()).await.unwrap();
        Self { data, process }
    }

    /// Holds the writer's lock, as a process does that was stopped in a write.
    pub(super) fn hold_writer_lock(&self) -> FileLock {
        locks::lock_exclusive(&self.writer_lock()).unwrap()
    }

    /// As [`TestLog::hold_writer_lock`], if no transaction has the lock.
    pub(super) fn try_hold_writer_lock(&self) -> Option<FileLock> {
        locks::try_lock_exclusive(&self.writer_lock()).unwrap()
    }

    fn writer_lock(&self) -> PathBuf {
        self.data.path().join("locks/writer.lock")
    }

    /// The values of the records in the topic `out`.
    pub(super) async fn outputs(&self) -> Vec<String> {
        let limits = FetchLimits { max_records: usize::MAX, max_bytes: usize::MAX };
        let fetched = self.process.log.fetch(&partition("out"), 0, limits).await.unwrap();
        fetched.records.iter().map(text).collect()
    }

    /// The group's commit of the topic `in`.
    pub(super) async fn committed(&self) -> Option<i64> {
        let topic = TopicName::new("in").unwrap();
        self.process.log.progress(&group(), &[topic]).await.unwrap()[0].committed
    }
}

pub(super) fn group() -> GroupName {
    GroupName::new("group").unwrap()
}

/// The only partition of a topic.
pub(super) fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), 0)
}

fn record(topic: &str, value: &str) -> NewRecord {
    NewRecord {
        topic: TopicName::new(topic).unwrap(),
        partition: None,
        key: None,
        value: Some(value.to_owned().into()),
        headers: Headers::default(),
        timestamp: Timestamp::UNIX_EPOCH,
    }
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap()
}

/// Commits these records, each copied to the topic `out`.
pub(super) fn copies(records: &[Record]) -> CommitRequest {
    let outputs = records.iter().map(|one| record("out", &text(one))).collect();
    let offsets: BTreeMap<_, _> =
        records.iter().map(|record| (record.topic_partition(), record.address.offset + 1)).collect();
    CommitRequest { outputs, offsets, ..CommitRequest::default() }
}

/// Polls until there are records, at most this number.
pub(super) async fn next_records(member: &mut Box<dyn GroupConsumer>, max_records: usize) -> Result<Vec<Record>> {
    let limits = FetchLimits { max_records, ..FetchLimits::default() };
    loop {
        if let Poll::Records(records) = member.poll(limits, POLL_WAIT).await? {
            return Ok(records);
        }
    }
}
