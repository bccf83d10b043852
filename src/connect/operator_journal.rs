//! Operator journal of a cluster: who did what, on the topic `mfctl.audit` of any event log.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use mfctl_core::domain::names::topics;
use mfctl_core::domain::{Headers, NewRecord, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, EventLog, FetchLimits, OperatorJournal, OperatorRecord, Result};

/// Operator journal on the audit topic of an event log.
#[derive(Clone)]
pub struct LogOperatorJournal {
    log: Arc<dyn EventLog>,
}

impl LogOperatorJournal {
    /// A journal whose records are on this log.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log }
    }

    /// Records of one partition from `from` to `end`, oldest first.
    async fn records_between(&self, at: &TopicPartition, from: i64, end: i64) -> Result<Vec<OperatorRecord>> {
        let mut next = from;
        let mut records = Vec::new();
        while next < end {
            let page = self.log.fetch(at, next, FetchLimits::default()).await?;
            if page.records.is_empty() && page.next_offset <= next {
                break;
            }
            next = page.next_offset;
            for record in page.records {
                let value = record.value.unwrap_or_default();
                // A record that another program wrote must not hide the others.
                match serde_json::from_slice(&value) {
                    Ok(record) => records.push(record),
                    Err(error) => tracing::warn!(record = %record.address, %error, "skipped an unreadable record"),
                }
            }
        }
        Ok(records)
    }
}

#[async_trait]
impl OperatorJournal for LogOperatorJournal {
    async fn append(&self, record: &OperatorRecord) -> Result<()> {
        let value = serde_json::to_vec(record)
            .map_err(|error| Error::new(ErrorKind::Internal, "write an operator record").because(error))?;
        let record = NewRecord {
            topic: topics::AUDIT,
            partition: None,
            key: Some(Bytes::from(record.actor.clone())),
            value: Some(Bytes::from(value)),
            headers: Headers::default(),
            timestamp: record.at,
        };
        self.log.publish(vec![record]).await.map(drop)
    }

    async fn latest(&self, limit: usize) -> Result<Vec<OperatorRecord>> {
        let mut records = Vec::new();
        let partitions = self.log.offsets(&[topics::AUDIT]).await?;
        for partition in &partitions {
            let end = partition.span.high;
            let count = i64::try_from(limit).unwrap_or(i64::MAX);
            let from = end.saturating_sub(count).max(partition.span.low);
            records.extend(self.records_between(&partition.at, from, end).await?);
        }
        // mfctl creates the topic with one partition, whose offsets are the order of writing. Across several partitions
        // only the times give an order.
        if partitions.len() > 1 {
            records.sort_by_key(|record| record.at);
        }
        records.reverse();
        records.truncate(limit);
        Ok(records)
    }
}
