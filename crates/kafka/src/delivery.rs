//! Delivery reports of records that were enqueued together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::Message as _;
use rdkafka::producer::DeliveryResult;
use rdkafka_sys::RDKafkaErrorCode as Code;
use tokio::sync::Notify;

use super::blocking::lock;
use super::error::LibrdkafkaError;

/// The partition and offset of a delivered record.
pub(super) type DeliveredAt = (i32, i64);

type DeliveryReport = Result<DeliveredAt, Code>;

/// Collects the delivery reports of a number of records.
#[derive(Debug)]
pub(super) struct DeliveryBatch {
    reports: Mutex<Vec<Option<DeliveryReport>>>,
    pending: AtomicUsize,
    all_reported: Notify,
}

/// Reports one record of a batch; librdkafka keeps it with the record.
#[derive(Debug)]
pub(super) struct DeliveryTicket {
    batch: Arc<DeliveryBatch>,
    index: usize,
}

impl DeliveryTicket {
    pub(super) fn complete(&self, report: &DeliveryResult<'_>) {
        let report = match report {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Fail)),
        };
        self.batch.report(self.index, report);
    }
}

impl DeliveryBatch {
    pub(super) fn new(records: usize) -> Arc<Self> {
        let reports = Mutex::new(vec![None; records]);
        Arc::new(Self { reports, pending: AtomicUsize::new(records), all_reported: Notify::new() })
    }

    /// The ticket of the record with this index.
    pub(super) fn ticket(self: &Arc<Self>, index: usize) -> DeliveryTicket {
        DeliveryTicket { batch: Arc::clone(self), index }
    }

    fn report(&self, index: usize, report: DeliveryReport) {
        let mut reports = lock(&self.reports);
        if let Some(slot @ None) = reports.get_mut(index) {
            *slot = Some(report);
            drop(reports);
            if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.all_reported.notify_one();
            }
        }
    }

    /// Reports every record from this index on as failed: they were not enqueued.
    pub(super) fn fail_from(&self, first: usize, code: Code) {
        let count = lock(&self.reports).len();
        (first..count).for_each(|index| self.report(index, Err(code)));
    }

    /// How many records have no report yet.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Waits until every record has a report. For one waiter.
    pub(super) async fn wait(&self) {
        while self.pending() > 0 {
            self.all_reported.notified().await;
        }
    }

    /// Where each record was delivered.
    ///
    /// # Errors
    /// The index and the error of the first record that was not delivered.
    pub(super) fn outcome(&self) -> Result<Vec<DeliveredAt>, (usize, LibrdkafkaError)> {
        let reports = lock(&self.reports);
        let outcome_of = |(index, report): (usize, &Option<DeliveryReport>)| match report {
            Some(Ok(delivered)) => Ok(*delivered),
            Some(Err(code)) => Err((index, LibrdkafkaError::of(*code))),
            None => Err((index, LibrdkafkaError::of(Code::InProgress))),
        };
        reports.iter().enumerate().map(outcome_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_is_complete_when_every_record_has_a_report() {
        let batch = DeliveryBatch::new(3);
        batch.report(1, Ok((0, 7)));
        batch.report(1, Err(Code::Fail));
        assert_eq!(batch.pending(), 2, "the first report stays");
        batch.report(0, Ok((0, 6)));
        batch.fail_from(2, Code::QueueFull);
        batch.wait().await;
        let (index, error) = batch.outcome().unwrap_err();
        assert_eq!((index, error.code), (2, Code::QueueFull));
    }
}
