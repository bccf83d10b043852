//! Publishing outside transactions, by the one producer that all callers share.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::producer::BaseProducer;
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::cluster::Cluster;
use super::context::Context;
use super::delivery::{Batch, check_size, hand_over};
use mfctl_core::domain::{NewRecord, RecordAddress};
use mfctl_core::ports::Result;

/// How long to wait for room in the producer.
const ROOM: Duration = Duration::from_millis(5);

impl Cluster {
    /// Publishes, and waits until every record is acknowledged.
    pub(super) async fn publish(self: &Arc<Self>, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.reach().await?;
        records.iter().try_for_each(check_size)?;
        self.check_route(&records).await?;
        let producer = self.producer()?;
        let batch = Batch::new(records.len());
        for (index, record) in records.iter().enumerate() {
            self.hand_over_with_room(&producer, record, (&batch, index)).await?;
        }
        batch.wait().await;
        let stand = batch
            .outcome()
            .map_err(|(index, failure)| self.error(format!("publish to {}", records[index].topic), failure))?;
        Ok(records.into_iter().map(|record| record.topic).zip(stand).map(address).collect())
    }

    /// Hands a record over, once the producer has room for it.
    async fn hand_over_with_room(
        &self,
        producer: &BaseProducer<Context>,
        record: &NewRecord,
        place: (&Arc<Batch>, usize),
    ) -> Result<()> {
        let topic = self.names.wire(record.topic.as_str());
        loop {
            match hand_over(producer, &topic, record, place) {
                Ok(()) => return Ok(()),
                Err(failure) if failure.code == Code::QueueFull => tokio::time::sleep(ROOM).await,
                Err(failure) => return Err(self.error(format!("publish to {}", record.topic), failure)),
            }
        }
    }
}

/// Where a record of this topic stands.
pub(super) fn address((topic, (partition, offset)): (mfctl_core::domain::TopicName, (i32, i64))) -> RecordAddress {
    RecordAddress { topic, partition: u32::try_from(partition).unwrap_or(0), offset }
}
