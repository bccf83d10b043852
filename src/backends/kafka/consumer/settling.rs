//! Settling: one transaction with the outputs, the dead letters and the offsets.

use std::sync::Arc;

use rdkafka::{Offset, TopicPartitionList};

use super::{Member, ROUND};
use crate::backends::kafka::delivery::check_size;
use crate::backends::kafka::transaction::{Commit, Transactions, Undone};
use crate::domain::TopicPartition;
use crate::ports::{Error, ErrorKind, Result, Settlement};

type Outcome = std::result::Result<(), Undone>;

impl Member {
    /// Waits for a settlement that runs, and stays in the group meanwhile. `None`: there was none.
    pub(super) async fn finish_settling(&mut self) -> Option<Outcome> {
        loop {
            let settling = self.settling.as_mut()?;
            if let Ok(done) = tokio::time::timeout(ROUND, settling).await {
                self.settling = None;
                let defect = |error| Error::new(ErrorKind::Internal, "settle").because(error);
                return Some(match done {
                    Ok((transactions, outcome)) => {
                        self.transactions = Some(transactions);
                        outcome
                    }
                    Err(error) => Err(Undone::Failed(defect(error))),
                });
            }
            self.serve();
        }
    }

    /// Runs something that blocks on the transactions, to its end whoever waits for it.
    async fn transact(&mut self, work: impl FnOnce(&mut Transactions) -> Outcome + Send + 'static) -> Result<()> {
        let defect = || Error::new(ErrorKind::Internal, "settle: the producer is lost");
        let mut transactions = self.transactions.take().ok_or_else(defect)?;
        self.settling = Some(tokio::task::spawn_blocking(move || {
            let outcome = work(&mut transactions);
            (transactions, outcome)
        }));
        match self.finish_settling().await {
            None | Some(Ok(())) => Ok(()),
            Some(Err(undone)) => Err(self.undone(undone)),
        }
    }

    pub(super) async fn settle(&mut self, settlement: Settlement) -> Result<()> {
        self.finish_settling().await;
        self.serve();
        let commit = self.commit_of(&settlement)?;
        if settlement.is_empty() {
            return Ok(());
        }
        let mut records = settlement.outputs;
        records.extend(settlement.dead_letters);
        records.iter().try_for_each(check_size)?;
        self.cluster.check_route(&records).await?;
        self.transact(move |transactions| transactions.run(&records, commit.as_ref()).map(drop)).await
    }

    /// Learns what became of the last settlement, if that is not known: nothing is to be read before.
    pub(super) async fn know_the_last_settlement(&mut self) -> Result<()> {
        match &self.transactions {
            Some(transactions) if !transactions.is_resolved() => self.transact(Transactions::resolve).await,
            _ => Ok(()),
        }
    }

    /// The offsets to commit, each of a partition that this member has and has read so far.
    fn commit_of(&self, settlement: &Settlement) -> Result<Option<Commit>> {
        let Some(member_id) = &self.member_id else {
            return Err(fenced("settle: this member is not in its group"));
        };
        let mut offsets = TopicPartitionList::with_capacity(settlement.offsets.len());
        for (at, offset) in &settlement.offsets {
            self.check_offset(at, *offset)?;
            let (topic, partition) = self.wire(at);
            let added = offsets.add_partition_offset(&topic, partition, Offset::Offset(*offset));
            added.map_err(|error| self.cluster.error(format!("settle {at}"), error))?;
        }
        let (consumer, member_id) = (Arc::clone(&self.consumer), member_id.clone());
        Ok((!settlement.offsets.is_empty()).then_some(Commit { consumer, member_id, offsets }))
    }

    fn check_offset(&self, at: &TopicPartition, offset: i64) -> Result<()> {
        let owned = self.owned.get(at).ok_or_else(|| fenced(&format!("settle {at}: this member does not have it")))?;
        match owned.delivered {
            Some(delivered) if offset <= delivered => Ok(()),
            None => Err(fenced(&format!("settle {at}: nothing of it was read since it was assigned or rewound"))),
            // A broker would take it, and what lies between would never be read.
            Some(_) => {
                Err(Error::new(ErrorKind::Invalid, format!("settle {at} up to {offset}: it was not read so far")))
            }
        }
    }

    fn undone(&self, undone: Undone) -> Error {
        match undone {
            Undone::Failed(error) => error,
            Undone::Expired => fenced("settle: the transaction took too long and is void"),
            Undone::Replaced => {
                let (group, instance) = (&self.subscription.group, &self.subscription.instance);
                Error::new(ErrorKind::Locked, format!("another worker of {group} took the name {instance}"))
                    .hint("give each worker a name of its own with `--instance`")
            }
        }
    }
}

fn fenced(what: &str) -> Error {
    Error::new(ErrorKind::Fenced, what)
}
