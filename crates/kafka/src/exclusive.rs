//! The transactional producer without a group.

use std::sync::Arc;
use std::time::Duration;

use super::blocking::run_blocking;
use super::clients::KafkaClients;
use super::enqueue::{address_of, check_compressible_size};
use super::topics::TopicDirectory;
use super::transaction::{NotCommitted, TransactionOutcome};
use super::transaction_runner::{RunProgress, TransactionRunner};
use async_trait::async_trait;
use mfctl_core::domain::{NewRecord, RecordAddress};
use mfctl_core::ports::{Error, ErrorKind, Result, TransactionalProducer};

/// How often a caller that waits checks whether the producer hangs.
const HANG_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The only producer of its transactional id, until a later one fences it.
pub(super) struct KafkaExclusiveProducer {
    topics: Arc<TopicDirectory>,
    id: String,
    runner: TransactionRunner,
}

impl KafkaExclusiveProducer {
    /// Creates the producer, which fences its predecessor.
    pub(super) async fn open(clients: Arc<KafkaClients>, topics: Arc<TopicDirectory>, id: &str) -> Result<Self> {
        clients.reach().await?;
        let wire = clients.names.wire(id);
        let runner = run_blocking(move || TransactionRunner::open(clients, wire)).await?;
        Ok(Self { topics, id: id.to_owned(), runner })
    }

    /// Waits for the end of the running transaction, which may be that of a cancelled call.
    async fn finish(&mut self) -> Option<TransactionOutcome> {
        loop {
            match self.runner.wait(HANG_CHECK_INTERVAL).await {
                RunProgress::Idle => return None,
                RunProgress::Running => {}
                RunProgress::Done(outcome) => return Some(outcome),
            }
        }
    }
}

#[async_trait]
impl TransactionalProducer for KafkaExclusiveProducer {
    async fn send(&mut self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.finish().await;
        records.iter().try_for_each(check_compressible_size)?;
        self.topics.check_destinations(&records).await?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let topics: Vec<_> = records.iter().map(|record| record.topic.clone()).collect();
        self.runner.start(move |producer| producer.run(&records, None));
        match self.finish().await {
            Some(Ok(delivered)) => Ok(topics.into_iter().zip(delivered).map(address_of).collect()),
            Some(Err(NotCommitted::Fenced)) => {
                Err(Error::new(ErrorKind::Fenced, format!("a later producer took over {}", self.id)))
            }
            Some(Err(NotCommitted::TimedOut)) => {
                Err(Error::new(ErrorKind::Timeout, format!("a transaction of {} timed out and was aborted", self.id)))
            }
            Some(Err(NotCommitted::Failed(error))) => Err(error),
            None => Err(Error::new(ErrorKind::Internal, format!("produce as {}", self.id))),
        }
    }
}
