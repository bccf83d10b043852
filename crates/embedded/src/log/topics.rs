//! Topics and their partitions. A topic is never deleted, and neither its partitions nor its cleanup policy ever
//! change, so they may be cached for good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension};

use crate::db::{Db, SqlContext};
use mfctl_core::domain::lag::PartitionSpan;
use mfctl_core::domain::{TopicName, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, PartitionOffsets, Result, TopicDescription, TopicSpec, TopicState};

/// A topic with its rows.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) id: i64,
    /// The row of each partition, indexed by partition number.
    pub(super) part_ids: Vec<i64>,
    pub(super) compacted: bool,
}

impl Topic {
    /// The row of a partition; `NotFound` if the topic has no such partition.
    pub(super) fn part_id(&self, partition: u32) -> Result<i64> {
        self.part_ids.get(partition as usize).copied().ok_or_else(|| {
            let count = self.part_ids.len();
            Error::new(ErrorKind::NotFound, format!("topic {} has {count} partitions, no {partition}", self.name))
        })
    }

    /// Each partition with its row.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (i64, TopicPartition)> {
        let at = |(n, id): (usize, &i64)| (*id, TopicPartition::new(self.name.clone(), n as u32));
        self.part_ids.iter().enumerate().map(at)
    }
}

/// The topics that were looked up before.
#[derive(Debug, Default)]
pub(super) struct TopicRowCache {
    topics: Mutex<HashMap<TopicName, Arc<Topic>>>,
}

impl TopicRowCache {
    /// A topic by name. `NotFound`, naming it, if it does not exist.
    pub(super) async fn get(&self, db: &Db, name: &TopicName) -> Result<Arc<Topic>> {
        let cached = self.topics.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(topic) = cached {
            return Ok(topic);
        }
        let wanted = name.clone();
        let topic = Arc::new(db.read("look up a topic", move |c| load(c, &wanted)).await?);
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Arc::clone(&topic));
        Ok(topic)
    }

    /// Topics by name, in the order of `names`.
    pub(super) async fn get_all(&self, db: &Db, names: &[TopicName]) -> Result<Vec<Arc<Topic>>> {
        let mut topics = Vec::with_capacity(names.len());
        for name in names {
            topics.push(self.get(db, name).await?);
        }
        Ok(topics)
    }
}

fn load(c: &Connection, name: &TopicName) -> Result<Topic> {
    let what = "look up a topic";
    let row = c
        .prepare_cached("SELECT topic_id, compacted FROM topics WHERE name = ?1")
        .during(what)?
        .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .during(what)?;
    let (id, compacted) = row.ok_or_else(|| no_such_topic(name))?;
    let mut statement =
        c.prepare_cached("SELECT part_id FROM partitions WHERE topic_id = ?1 ORDER BY partition").during(what)?;
    let part_ids = statement.query_map([id], |row| row.get(0)).during(what)?.collect::<Result<_, _>>().during(what)?;
    Ok(Topic { name: name.clone(), id, part_ids, compacted })
}

fn no_such_topic(name: &TopicName) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no topic {name}")).hint("create the topics with `mfctl init`")
}

/// See [`mfctl_core::ports::EventLog::create_topics`].
pub(super) fn create_topics(tx: &Connection, specs: &[TopicSpec]) -> Result<Vec<TopicName>> {
    let what = "create topics";
    let mut created = Vec::new();
    for spec in specs {
        if spec.partitions == 0 {
            return Err(Error::new(ErrorKind::Invalid, format!("topic {} needs at least one partition", spec.name)));
        }
        let retention = spec.retention.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let sql = "INSERT INTO topics (name, partitions, retention_ms, compacted) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (name) DO NOTHING";
        let values = (spec.name.as_str(), spec.partitions, retention, spec.compacted);
        if tx.execute(sql, values).during(what)? == 0 {
            continue;
        }
        let id = tx.last_insert_rowid();
        for partition in 0..spec.partitions {
            let sql = "INSERT INTO partitions (topic_id, partition) VALUES (?1, ?2)";
            tx.execute(sql, (id, partition)).during(what)?;
        }
        created.push(spec.name.clone());
    }
    Ok(created)
}

/// A topic without its partitions' rows.
struct TopicRow {
    name: TopicName,
    partitions: u32,
    retention_ms: Option<i64>,
    compacted: bool,
}

fn topic_rows(c: &Connection) -> Result<Vec<TopicRow>> {
    let what = "list topics";
    let sql = "SELECT name, partitions, retention_ms, compacted FROM topics ORDER BY name";
    let mut statement = c.prepare_cached(sql).during(what)?;
    let mut rows = statement.query([]).during(what)?;
    let mut topics = Vec::new();
    while let Some(row) = rows.next().during(what)? {
        let name: String = row.get(0).during(what)?;
        topics.push(TopicRow {
            name: TopicName::new(name).map_err(|error| Error::new(ErrorKind::Corrupt, what).because(error))?,
            partitions: row.get(1).during(what)?,
            retention_ms: row.get(2).during(what)?,
            compacted: row.get(3).during(what)?,
        });
    }
    Ok(topics)
}

/// See [`mfctl_core::ports::EventLog::topics`].
pub(super) fn topics(c: &Connection) -> Result<Vec<TopicDescription>> {
    let description = |TopicRow { name, partitions, retention_ms, compacted }| {
        let retention_seconds = retention_ms.map(|ms: i64| ms.unsigned_abs() / 1000);
        TopicDescription { name, partitions, retention_seconds, compacted }
    };
    Ok(topic_rows(c)?.into_iter().map(description).collect())
}

/// See [`mfctl_core::ports::TopicAdmin::describe_topics`].
pub(super) fn describe_topics(c: &Connection) -> Result<Vec<TopicState>> {
    let state = |topic: TopicRow| {
        let retention_ms = topic.retention_ms.unwrap_or(-1).to_string();
        let policy = if topic.compacted { "compact" } else { "delete" };
        let settings = [("retention.ms", retention_ms), ("cleanup.policy", policy.to_owned())];
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        TopicState { name: topic.name, partitions: topic.partitions, replication: 1, settings }
    };
    Ok(topic_rows(c)?.into_iter().map(state).collect())
}

/// Sets a topic's retention in milliseconds. Its cleanup policy cannot change: compaction needs an index that is
/// written with each record.
pub(super) fn set_retention(tx: &Connection, name: &TopicName, retention_ms: Option<i64>) -> Result<()> {
    let sql = "UPDATE topics SET retention_ms = ?2 WHERE name = ?1";
    match tx.execute(sql, (name.as_str(), retention_ms)).during("change a topic")? {
        0 => Err(no_such_topic(name)),
        _ => Ok(()),
    }
}

/// The first and the end offset of one partition.
pub(super) fn span(c: &Connection, part_id: i64) -> Result<PartitionSpan> {
    c.prepare_cached("SELECT low, next_offset FROM partitions WHERE part_id = ?1")
        .and_then(|mut statement| {
            statement.query_row([part_id], |row| Ok(PartitionSpan { low: row.get(0)?, high: row.get(1)? }))
        })
        .during("read a partition's offsets")
}

/// See [`mfctl_core::ports::EventLog::offsets`].
pub(super) fn offsets(c: &Connection, topics: &[Arc<Topic>]) -> Result<Vec<PartitionOffsets>> {
    let partitions = topics.iter().flat_map(|topic| topic.partitions());
    partitions.map(|(id, at)| Ok(PartitionOffsets { at, span: span(c, id)? })).collect()
}
