//! The transactional producer without a group.

use std::sync::Arc;
use std::time::Duration;

use super::cluster::{Cluster, off_thread};
use super::delivery::check_size;
use super::publish::address;
use super::transaction::Undone;
use super::transactor::{Outcome, Transactor, Waited};
use async_trait::async_trait;
use mfctl_core::domain::{NewRecord, RecordAddress};
use mfctl_core::ports::{Error, ErrorKind, ExclusiveProducer, Result};

/// How often a caller that waits looks whether the producer still answers.
const ROUND: Duration = Duration::from_secs(1);

/// The only one of its id, until a later one is made.
pub(super) struct Exclusive {
    cluster: Arc<Cluster>,
    id: String,
    transactor: Transactor,
}

impl Exclusive {
    /// Fences the one before.
    pub(super) async fn make(cluster: Arc<Cluster>, id: &str) -> Result<Self> {
        cluster.reach().await?;
        let (shared, wire) = (Arc::clone(&cluster), cluster.names.wire(id));
        let transactor = off_thread(move || Transactor::open(shared, wire)).await?;
        Ok(Self { cluster, id: id.to_owned(), transactor })
    }

    /// Waits for a call that goes on, should its caller not have waited for it.
    async fn finish(&mut self) -> Option<Outcome> {
        loop {
            match self.transactor.wait(ROUND).await {
                Waited::Idle => return None,
                Waited::Running => {}
                Waited::Done(outcome) => return Some(outcome),
            }
        }
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
        let topics: Vec<_> = records.iter().map(|record| record.topic.clone()).collect();
        self.transactor.start(move |transactions| transactions.run(&records, None));
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
