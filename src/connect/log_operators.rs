//! Who did what, on the topic `mfctl.audit`: the operator journal of a cluster, over any event log.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use mfctl_core::domain::names::topics;
use mfctl_core::domain::{Headers, NewRecord, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, EventLog, FetchLimits, OperatorJournal, OperatorRecord, Result};

/// The journal on the log's audit topic.
#[derive(Clone)]
pub struct LogOperators {
    log: Arc<dyn EventLog>,
}

impl LogOperators {
    /// The journal on this log.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log }
    }

    /// The last records of one partition, oldest first.
    async fn tail(&self, at: &TopicPartition, from: i64, end: i64) -> Result<Vec<OperatorRecord>> {
        let (mut next, mut found) = (from, Vec::new());
        while next < end {
            let page = self.log.fetch(at, next, FetchLimits::default()).await?;
            if page.records.is_empty() && page.next_offset <= next {
                break;
            }
            next = page.next_offset;
            for record in page.records {
                let value = record.value.unwrap_or_default();
                // Whoever else writes there is no reason to show nothing.
                match serde_json::from_slice(&value) {
                    Ok(operator) => found.push(operator),
                    Err(error) => tracing::warn!(record = %record.address, %error, "no operator's record"),
                }
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl OperatorJournal for LogOperators {
    async fn append(&self, record: &OperatorRecord) -> Result<()> {
        let value = serde_json::to_vec(record)
            .map_err(|error| Error::new(ErrorKind::Internal, "write what an operator did").because(error))?;
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
        let mut found = Vec::new();
        let partitions = self.log.offsets(&[topics::AUDIT]).await?;
        for partition in &partitions {
            let (low, end) = (partition.span.low, partition.span.high);
            let back = i64::try_from(limit).unwrap_or(i64::MAX);
            found.extend(self.tail(&partition.at, end.saturating_sub(back).max(low), end).await?);
        }
        // The contract's topic has one partition, whose order is that of writing; between several only times can tell.
        if partitions.len() > 1 {
            found.sort_by_key(|record| record.at);
        }
        found.reverse();
        found.truncate(limit);
        Ok(found)
    }
}
