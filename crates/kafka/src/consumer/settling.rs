//! Settling: one transaction with the outputs, the dead letters and the offsets.

use std::sync::Arc;

use rdkafka::{Offset, TopicPartitionList};

use super::{Member, ROUND};
use crate::delivery::check_size;
use crate::transaction::{Commit, Undone};
use crate::transactor::Waited;
use mfctl_core::domain::TopicPartition;
use mfctl_core::ports::{Error, ErrorKind, Result, Settlement};

impl Member {
    /// Waits for what runs, and stays in the group meanwhile. What became of it is kept.
    pub(super) async fn finish_settling(&mut self) {
        loop {
            match self.transactor.wait(ROUND).await {
                Waited::Idle => return,
                Waited::Running => self.serve(),
                Waited::Done(outcome) => self.outcome = Some(outcome.map(drop).map_err(|undone| self.undone(undone))),
            }
        }
    }

    pub(super) async fn settled(&mut self) -> Result<()> {
        self.finish_settling().await;
        self.outcome.take().unwrap_or(Ok(()))
    }

    pub(super) async fn begin_settling(&mut self, settlement: Settlement) -> Result<()> {
        self.finish_settling().await;
        self.outcome = None;
        self.serve();
        let commit = self.commit_of(&settlement)?;
        if settlement.is_empty() {
            return Ok(());
        }
        let mut records = settlement.outputs;
        records.extend(settlement.dead_letters);
        records.iter().try_for_each(check_size)?;
        self.cluster.check_route(&records).await?;
        self.transactor.start(move |transactions| transactions.run(&records, commit.as_ref()));
        Ok(())
    }

    /// Learns what became of the last settlement, if that is not known: nothing is to be read before.
    pub(super) async fn know_the_last_settlement(&mut self) -> Result<()> {
        if self.transactor.is_resolved() {
            return Ok(());
        }
        self.transactor.start(|transactions| transactions.resolve().map(|()| Vec::new()));
        self.settled().await
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
