//! Carries out a run over the dead letters of one topic: exclusive, each decision in one transaction with its effect.

use std::time::{Duration, Instant};

use super::decide::{SkipReason, SkippedDeadLetter};
use super::kept::KeptRecords;
use super::report::{RunTally, TopicTally};
use super::run::{DlqRun, PlannedAction, PlannedItem, ResolvedStub, transactional_id};
use super::selection::SelectionSnapshot;
use mfctl_core::domain::TopicName;
use mfctl_core::events::ledger::{self, Ledger};
use mfctl_core::ports::{Clock, ErrorKind, EventLog, Result, TransactionalProducer};
use mfctl_core::stop::{Stop, StopReason};

/// Upper bound of the dead letters in one transaction.
const MAX_CHUNK: usize = 200;
/// Resolved stubs whose objects are deleted together.
const MAX_RESOLVED_STUBS: usize = 1000;

/// Executes a run, one dead-letter topic after another.
pub(super) struct TopicExecutor<'a> {
    run: &'a DlqRun,
    ports: ExecutorPorts<'a>,
    stop: &'a Stop,
    pacer: &'a mut TransactionPacer,
    tally: &'a mut RunTally,
    /// Resolved stubs whose objects are still to be deleted.
    resolved_stubs: Vec<ResolvedStub>,
}

/// What a run reads and writes.
#[derive(Clone, Copy)]
pub(super) struct ExecutorPorts<'a> {
    pub(super) log: &'a dyn EventLog,
    pub(super) kept: &'a KeptRecords,
    pub(super) clock: &'a dyn Clock,
}

/// The exclusive producer of a dead-letter topic, and the ledger as it was when the producer was created or later.
struct TopicSession<'a> {
    id: String,
    producer: Box<dyn TransactionalProducer>,
    ledger: &'a mut Ledger,
}

impl<'a> TopicSession<'a> {
    async fn open(id: String, ledger: &'a mut Ledger, log: &dyn EventLog) -> Result<Self> {
        let producer = log.transactional_producer(&id).await?;
        let session = Self { id, producer, ledger };
        // Only after the producer exists: it fences an earlier run, which can add nothing to the ledger from then on.
        session.ledger.refresh(log).await?;
        Ok(session)
    }

    /// Replaces the producer, which the log may not let go on after it refused a record. Another run may have begun.
    async fn reopen(&mut self, log: &dyn EventLog) -> Result<()> {
        self.producer = log.transactional_producer(&self.id).await?;
        self.ledger.refresh(log).await
    }
}

impl<'a> TopicExecutor<'a> {
    pub(super) fn new(
        ports: ExecutorPorts<'a>,
        run: &'a DlqRun,
        stop: &'a Stop,
        pacer: &'a mut TransactionPacer,
        tally: &'a mut RunTally,
    ) -> Self {
        Self { run, ports, stop, pacer, tally, resolved_stubs: Vec::new() }
    }

    /// Sends or discards the selected dead letters of a topic. Returns the signal that ended it early.
    pub(super) async fn execute(
        &mut self,
        topic: &TopicName,
        snapshot: &SelectionSnapshot,
        ledger: &mut Ledger,
        progress: &mut impl FnMut(&RunTally),
    ) -> Result<Option<StopReason>> {
        let mut topic_tally = TopicTally::new(topic);
        let ended = self.send_all(topic, snapshot, ledger, &mut topic_tally, progress).await;
        self.tally.end_topic(topic_tally);
        self.delete_resolved(ledger).await;
        ended
    }

    async fn send_all(
        &mut self,
        topic: &TopicName,
        snapshot: &SelectionSnapshot,
        ledger: &mut Ledger,
        topic_tally: &mut TopicTally,
        progress: &mut impl FnMut(&RunTally),
    ) -> Result<Option<StopReason>> {
        let id = transactional_id(&self.run.env, topic);
        let mut session = TopicSession::open(id, ledger, self.ports.log).await?;
        let mut walk = snapshot.walk(topic);
        while let Some(page) = walk.next_page(self.ports.log).await? {
            let mut chunk = Vec::new();
            for item in page {
                if self.run.would_reach_limit(self.tally, topic_tally, chunk.len()) {
                    break;
                }
                let action = match self.run.plan(item, session.ledger, self.ports.kept).await? {
                    PlannedItem::Resolved(stub) => {
                        topic_tally.skipped_resolved += 1;
                        self.resolved_stubs.extend(stub);
                        continue;
                    }
                    PlannedItem::Skip(skipped) => {
                        self.tally.skip(topic_tally, skipped);
                        continue;
                    }
                    PlannedItem::Act(action) => action,
                };
                let is_alone = self.run.is_sent_alone(&action, self.ports.clock.now());
                if is_alone
                    && !chunk.is_empty()
                    && let Some(reason) = self.send(&mut session, &mut chunk, topic_tally, progress).await?
                {
                    return Ok(Some(reason));
                }
                chunk.push(*action);
                if (is_alone || chunk.len() >= self.pacer.chunk)
                    && let Some(reason) = self.send(&mut session, &mut chunk, topic_tally, progress).await?
                {
                    return Ok(Some(reason));
                }
            }
            if let Some(reason) = self.send(&mut session, &mut chunk, topic_tally, progress).await? {
                return Ok(Some(reason));
            }
            if self.resolved_stubs.len() >= MAX_RESOLVED_STUBS {
                self.delete_resolved(session.ledger).await;
            }
            if self.run.is_at_limit(self.tally, topic_tally) {
                break;
            }
        }
        Ok(None)
    }

    /// Sends a chunk in one transaction, unless a stop was requested.
    async fn send(
        &mut self,
        session: &mut TopicSession<'_>,
        chunk: &mut Vec<PlannedAction>,
        topic_tally: &mut TopicTally,
        progress: &mut impl FnMut(&RunTally),
    ) -> Result<Option<StopReason>> {
        if chunk.is_empty() {
            return Ok(self.stop.requested());
        }
        self.pacer.wait(self.stop).await;
        if let Some(reason) = self.stop.requested() {
            return Ok(Some(reason));
        }
        let chunk = std::mem::take(chunk);
        match self.commit(session, &chunk, topic_tally).await {
            Err(error) if error.kind() == ErrorKind::Invalid => {
                tracing::info!(error = error.full(), "refused: the log does not take a record; sending one at a time");
                self.send_one_by_one(session, chunk, topic_tally).await?;
            }
            committed => committed?,
        }
        progress(&self.tally.with_topic(topic_tally));
        Ok(None)
    }

    /// Sends each dead letter of a refused chunk alone, and skips those that the log refuses.
    async fn send_one_by_one(
        &mut self,
        session: &mut TopicSession<'_>,
        chunk: Vec<PlannedAction>,
        topic_tally: &mut TopicTally,
    ) -> Result<()> {
        let is_refused_alone = chunk.len() == 1;
        session.reopen(self.ports.log).await?;
        for action in chunk {
            if session.ledger.get(&action.dead).is_some() {
                topic_tally.skipped_resolved += 1;
                continue;
            }
            if !is_refused_alone {
                match self.commit(session, std::slice::from_ref(&action), topic_tally).await {
                    Err(error) if error.kind() == ErrorKind::Invalid => session.reopen(self.ports.log).await?,
                    sent => {
                        sent?;
                        continue;
                    }
                }
            }
            let id = action.dead.address;
            self.tally.skip(topic_tally, SkippedDeadLetter { id, reason: SkipReason::Refused });
        }
        Ok(())
    }

    /// Commits a chunk in one transaction, and counts it.
    async fn commit(
        &mut self,
        session: &mut TopicSession<'_>,
        chunk: &[PlannedAction],
        topic_tally: &mut TopicTally,
    ) -> Result<()> {
        let now = self.ports.clock.now();
        let effects: Vec<_> = chunk.iter().filter_map(|action| self.run.effect(action, session.ledger, now)).collect();
        let mut records = Vec::with_capacity(effects.len() * 2);
        let mut resolutions = Vec::with_capacity(effects.len());
        for (entry, sent) in effects {
            resolutions.push(entry.resolution);
            records.extend(sent);
            records.push(ledger::record(&entry, &self.run.env)?);
        }
        session.producer.send(records).await?;
        self.pacer.sent(resolutions.len());
        resolutions.into_iter().for_each(|resolution| topic_tally.count(Some(resolution)));
        self.resolved_stubs.extend(chunk.iter().filter_map(PlannedAction::resolved_stub));
        Ok(())
    }

    /// Deletes the objects of resolved stubs. A failure changes nothing about what is resolved: the objects are left.
    async fn delete_resolved(&mut self, ledger: &Ledger) {
        let stubs = std::mem::take(&mut self.resolved_stubs);
        if stubs.is_empty() {
            return;
        }
        if let Err(error) = self.ports.kept.delete_resolved(&stubs, ledger, self.ports.log).await {
            tracing::warn!(
                objects = stubs.len(),
                error = error.full(),
                "could not delete the kept records of resolved dead letters; the next run over them deletes them"
            );
        }
    }
}

/// Spaces the transactions of a run to keep to its rate.
pub(super) struct TransactionPacer {
    rate: Option<u32>,
    /// Dead letters to a transaction: at most those of one second, so that a slow rate sends few at a time, often.
    chunk: usize,
    next: Instant,
}

impl TransactionPacer {
    pub(super) fn new(rate: Option<u32>) -> Self {
        let chunk = rate.map_or(MAX_CHUNK, |rate| (rate as usize).clamp(1, MAX_CHUNK));
        Self { rate, chunk, next: Instant::now() }
    }

    /// Waits until the next transaction is due, or a stop is requested.
    async fn wait(&self, stop: &Stop) {
        if self.rate.is_none() {
            return;
        }
        tokio::select! {
            // 1. The transaction is due.
            () = tokio::time::sleep_until(self.next.into()) => {}
            // 2. A stop was requested; the caller handles it.
            _ = stop.wait() => {}
        }
    }

    fn sent(&mut self, records: usize) {
        if let Some(rate) = self.rate {
            let interval = Duration::from_secs_f64(records as f64 / f64::from(rate.max(1)));
            self.next = self.next.max(Instant::now()) + interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_holds_at_most_one_second_of_the_rate() {
        let chunks = [None, Some(1), Some(50), Some(5000)].map(|rate| TransactionPacer::new(rate).chunk);
        assert_eq!(chunks, [200, 1, 50, 200]);
    }
}
