//! Publishing outside transactions, through the one producer that all callers share.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka_sys::RDKafkaErrorCode as Code;

use super::clients::KafkaClients;
use super::config::MESSAGE_TIMEOUT;
use super::context::RawProducer;
use super::delivery::DeliveryBatch;
use super::enqueue::{address_of, check_size, enqueue};
use super::error::LibrdkafkaError;
use super::topics::TopicDirectory;
use mfctl_core::domain::{NewRecord, RecordAddress};
use mfctl_core::ports::Result;
use mfctl_core::wait::{Backoff, wait_until};

/// How long a record may wait for room: twice the time within which the records in the queue are delivered or expire.
const QUEUE_FULL_TIMEOUT: Duration = MESSAGE_TIMEOUT.saturating_mul(2);
const QUEUE_FULL_BACKOFF: Backoff = Backoff::constant(Duration::from_millis(5));

/// Publishes records.
pub(super) struct RecordPublisher {
    clients: Arc<KafkaClients>,
    topics: Arc<TopicDirectory>,
}

impl RecordPublisher {
    pub(super) fn new(clients: Arc<KafkaClients>, topics: Arc<TopicDirectory>) -> Self {
        Self { clients, topics }
    }

    /// Publishes, and waits until every record is acknowledged.
    pub(super) async fn publish(&self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.clients.reach().await?;
        records.iter().try_for_each(check_size)?;
        self.topics.check_destinations(&records).await?;
        let producer = self.clients.producer()?;
        let batch = DeliveryBatch::new(records.len());
        for (index, record) in records.iter().enumerate() {
            self.enqueue_when_room(&producer, record, &batch, index).await?;
        }
        batch.wait().await;
        let delivered = batch
            .outcome()
            .map_err(|(index, error)| self.clients.error(format!("publish to {}", records[index].topic), error))?;
        Ok(records.into_iter().map(|record| record.topic).zip(delivered).map(address_of).collect())
    }

    async fn enqueue_when_room(
        &self,
        producer: &RawProducer,
        record: &NewRecord,
        batch: &Arc<DeliveryBatch>,
        index: usize,
    ) -> Result<()> {
        let topic = self.clients.names.wire(record.topic.as_str());
        let deadline = Instant::now() + QUEUE_FULL_TIMEOUT;
        let enqueued = wait_until(deadline, QUEUE_FULL_BACKOFF, || async {
            match enqueue(producer, &topic, record, batch.ticket(index)) {
                Err(error) if error.code == Code::QueueFull => ControlFlow::Continue(error),
                answer => ControlFlow::Break(answer),
            }
        });
        // Room goes to whichever publisher polls first: without any for this long, publishing timed out. The disk is not full.
        let enqueued =
            enqueued.await.unwrap_or_else(|error| Err(LibrdkafkaError::new(Code::MessageTimedOut, error.text)));
        enqueued.map_err(|error| self.clients.error(format!("publish to {}", record.topic), error))
    }
}
