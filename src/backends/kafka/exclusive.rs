//! The transactional producer without a group.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::cluster::{Cluster, off_thread};
use super::delivery::check_size;
use super::publish::address;
use super::transaction::{Transactions, Undone};
use crate::domain::{NewRecord, RecordAddress};
use crate::ports::{Error, ErrorKind, ExclusiveProducer, Result};

type Outcome = std::result::Result<Vec<(i32, i64)>, Undone>;

/// The only one of its id, until a later one is made.
pub(super) struct Exclusive {
    cluster: Arc<Cluster>,
    id: String,
    transactions: Option<Transactions>,
    /// A call that goes on, should the caller not have waited for it.
    sending: Option<JoinHandle<(Transactions, Outcome)>>,
}

impl Exclusive {
    /// Fences the one before.
    pub(super) async fn make(cluster: Arc<Cluster>, id: &str) -> Result<Self> {
        cluster.reach().await?;
        let (shared, wire) = (Arc::clone(&cluster), cluster.names.wire(id));
        let transactions = Some(off_thread(move || Transactions::open(shared, wire)).await?);
        Ok(Self { cluster, id: id.to_owned(), transactions, sending: None })
    }

    async fn finish(&mut self) -> Option<Outcome> {
        let done = self.sending.as_mut()?.await;
        self.sending = None;
        let (transactions, outcome) = done.ok()?;
        self.transactions = Some(transactions);
        Some(outcome)
    }
}

#[async_trait]
impl ExclusiveProducer for Exclusive {
    async fn send(&mut self, records: Vec<NewRecord>) -> Result<Vec<RecordAddress>> {
        self.finish().await;
        records.iter().try_for_each(check_size)?;
        self.cluster.check_route(&records).await?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let defect = || Error::new(ErrorKind::Internal, format!("produce as {}", self.id));
        let mut transactions = self.transactions.take().ok_or_else(defect)?;
        let topics: Vec<_> = records.iter().map(|record| record.topic.clone()).collect();
        self.sending = Some(tokio::task::spawn_blocking(move || {
            let outcome = transactions.run(&records, None);
            (transactions, outcome)
        }));
        match self.finish().await {
            Some(Ok(stand)) => Ok(topics.into_iter().zip(stand).map(address).collect()),
            Some(Err(Undone::Replaced)) => {
                Err(Error::new(ErrorKind::Fenced, format!("a later producer took over {}", self.id)))
            }
            Some(Err(Undone::Expired)) => {
                Err(Error::new(ErrorKind::Timeout, format!("a transaction of {} took too long and is void", self.id)))
            }
            Some(Err(Undone::Failed(error))) => Err(error),
            None => Err(Error::new(ErrorKind::Internal, format!("produce as {}", self.id))),
        }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        if let Some(transactions) = self.transactions.take() {
            super::consumer::off_to_close(move || drop(transactions));
        }
    }
}
