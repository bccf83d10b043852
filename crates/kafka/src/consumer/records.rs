//! Records out of the partitions' queues, and going back to the commits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use rdkafka_sys::RDKafkaErrorCode as Code;

use super::{Member, NOT_BEGUN, Owned, ROUND, rebalance};
use crate::cluster::CALL;
use crate::context::Context;
use crate::error::Failure;
use crate::ffi::{Item, PartitionQueue};
use crate::reader::record;
use mfctl_core::domain::{Record, TopicPartition};
use mfctl_core::ports::{Error, ErrorKind, FetchLimits, Result};

impl Owned {
    pub(super) fn new(queue: PartitionQueue) -> Self {
        Self { queue, kept: VecDeque::new(), delivered: None, taken: false, revoking: false }
    }

    /// Forgets what was taken and not given out, and what was given out.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
        if !self.revoking {
            self.delivered = None;
        }
    }

    /// Takes what the queue has, a little of it. Answers why the partition cannot be read.
    fn refill(&mut self, at: &TopicPartition, max: usize) -> Option<Code> {
        let mut failed = None;
        let kept = &mut self.kept;
        let got = self.queue.take(max, |item| match item {
            Item::Record(raw) => kept.push_back(record(at, raw)),
            Item::End(_) => {}
            Item::Failed(code) => failed = Some(code),
        });
        self.taken |= got > 0;
        failed
    }
}

/// Records for one answer.
struct Batch {
    limits: FetchLimits,
    records: Vec<Record>,
    bytes: usize,
    full: bool,
}

impl Batch {
    /// Takes from a partition until there is no room or nothing left.
    fn take(&mut self, owned: &mut Owned) {
        while let Some(record) = owned.kept.pop_front() {
            let bytes = self.bytes + record.size_bytes();
            let fits = self.records.len() < self.limits.max_records && bytes <= self.limits.max_bytes;
            if !fits && !self.records.is_empty() {
                self.full = true;
                owned.kept.push_front(record);
                return;
            }
            owned.delivered = Some(record.address.offset + 1);
            self.bytes = bytes;
            self.records.push(record);
        }
        self.full |= self.room() == 0;
    }

    fn room(&self) -> usize {
        match self.bytes >= self.limits.max_bytes {
            true => 0,
            false => self.limits.max_records.saturating_sub(self.records.len()),
        }
    }
}

impl Member {
    /// What there is, within the limits, without waiting. Each time another partition comes first.
    pub(super) fn collect(&mut self, limits: FetchLimits) -> Vec<Record> {
        let mut batch = Batch { limits, records: Vec::new(), bytes: 0, full: false };
        let mut open: Vec<(&TopicPartition, &mut Owned)> =
            self.owned.iter_mut().filter(|(at, owned)| !owned.revoking && !self.paused.contains(at)).collect();
        if open.is_empty() {
            return batch.records;
        }
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % open.len();
        open.rotate_left(first);
        let mut failed = None;
        let mut more = true;
        while more && !batch.full {
            more = false;
            for (at, owned) in &mut open {
                if owned.kept.is_empty() {
                    failed = owned.refill(at, batch.room().max(1)).map(|code| ((*at).clone(), code)).or(failed);
                }
                more |= !owned.kept.is_empty();
                batch.take(owned);
                if batch.full {
                    break;
                }
            }
        }
        let records = batch.records;
        if let Some((at, code)) = failed {
            self.partition_failed(&at, code);
        }
        self.take_anew_what_is_not_begun();
        records
    }

    /// librdkafka asks for the commit where a new partition begins. If the coordinator has moved meanwhile it does not ask
    /// again, and does not say so (confluentinc/librdkafka#5586): then the partition is given to it anew.
    fn take_anew_what_is_not_begun(&mut self) {
        if !self.asked.is_empty() || self.rewinding.is_some() {
            return;
        }
        let context = self.consumer.context();
        let not_begun = |(at, owned): &(&TopicPartition, &Owned)| {
            !owned.taken && !owned.revoking && context.is_not_fetched_for(&self.wire(at), NOT_BEGUN)
        };
        let found: Vec<TopicPartition> = self.owned.iter().filter(not_begun).map(|(at, _)| at.clone()).collect();
        if !found.is_empty() {
            let partitions = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            tracing::warn!(target: "kafka", group = %self.subscription.group, partitions,
                "partitions are not being fetched, and are taken anew");
            self.take_anew(&found);
        }
    }

    fn partition_failed(&mut self, at: &TopicPartition, code: Code) {
        match super::super::error::kind(code) {
            ErrorKind::NotFound => self.doubt = true,
            ErrorKind::Denied => self.fail(Failure::of(code)),
            // It is tried again by librdkafka.
            _ => tracing::debug!(target: "kafka", %at, %code, "could not read a partition"),
        }
    }

    /// Waits for a rewind that was cut off.
    pub(super) async fn finish_rewinding(&mut self) -> Option<Result<()>> {
        loop {
            let rewinding = self.rewinding.as_mut()?;
            if let Ok(done) = tokio::time::timeout(ROUND, rewinding).await {
                self.rewinding = None;
                let defect = |error| Error::new(ErrorKind::Internal, "read from the commits again").because(error);
                return Some(done.unwrap_or_else(|error| Err(defect(error))));
            }
            self.serve();
        }
    }

    /// Goes back to the commits with every partition that anything was taken of.
    pub(super) async fn rewind_now(&mut self) -> Result<()> {
        // One that was cut off may have gone to commits that are old by now.
        self.finish_rewinding().await;
        self.finish_settling().await;
        self.know_the_last_settlement().await?;
        self.owned.values_mut().for_each(Owned::forget);
        let taken = self.owned.iter().filter(|(_, owned)| owned.taken && !owned.revoking);
        let wire: Vec<(String, i32)> = taken.map(|(at, _)| self.wire(at)).collect();
        if !wire.is_empty() {
            let (consumer, cluster) = (Arc::clone(&self.consumer), Arc::clone(&self.cluster));
            self.rewinding = Some(tokio::task::spawn_blocking(move || {
                go_back(&consumer, &wire).map_err(|failure| cluster.error("read from the commits again", failure))
            }));
            if let Some(Err(error)) = self.finish_rewinding().await {
                return Err(error);
            }
        }
        // A partition that came meanwhile begins at its commit.
        for owned in self.owned.values_mut() {
            owned.forget();
            owned.taken = false;
        }
        self.rewind_due = false;
        Ok(())
    }
}

/// Seeks to the commits of these partitions, or to their beginnings. Blocks.
fn go_back(consumer: &BaseConsumer<Context>, partitions: &Vec<(String, i32)>) -> std::result::Result<(), Failure> {
    let committed = consumer.committed_offsets(rebalance::list(partitions), CALL)?;
    let mut wanted = TopicPartitionList::with_capacity(partitions.len());
    for at in committed.elements() {
        at.error()?;
        let offset = match at.offset() {
            Offset::Offset(offset) => Offset::Offset(offset),
            _ => Offset::Beginning,
        };
        wanted.add_partition_offset(at.topic(), at.partition(), offset)?;
    }
    let sought = consumer.seek_partitions(wanted, Duration::from_secs(5))?;
    for at in sought.elements() {
        // Such as: it is being taken away at this moment.
        at.error().map_err(|error| Failure::new(Code::Retry, error.to_string()))?;
    }
    Ok(())
}
