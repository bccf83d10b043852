//! Carries out a redrive or a discard: exclusive per dead-letter topic, each decision in one transaction with its effect.

use std::time::{Duration, Instant};

use super::decide::{self, RedriveDecision, RedriveRules, SkipReason, SkippedDeadLetter};
use super::report::{RunTally, TopicTally};
use super::selection::{SelectionSnapshot, WalkItem};
use mfctl_core::domain::dead_letter::{DeadLetterInfo, LedgerEntry, Resolution};
use mfctl_core::domain::{EnvName, NewRecord, Record, Timestamp, TopicName};
use mfctl_core::events::ledger::{self, Ledger};
use mfctl_core::ports::{Clock, Error, EventLog, Result, TransactionalProducer};
use mfctl_core::stop::{Stop, StopReason};

/// Upper bound of the dead letters in one transaction.
const MAX_CHUNK: usize = 200;

/// What a run does with each dead letter.
#[derive(Debug, Clone)]
pub enum DlqAction {
    /// Send it to its source topic, or park it.
    Redrive(RedriveRules),
    /// Give it up: it is resolved without being sent.
    Discard {
        /// Why; kept in the ledger.
        reason: String,
    },
}

/// A run over a selection.
#[derive(Debug, Clone)]
pub struct DlqRun {
    /// The id in every redrive mark and ledger entry of this run.
    pub id: String,
    /// Who started it, for the ledger.
    pub actor: String,
    /// The environment, for the `transactional.id` and the ledger's records.
    pub env: EnvName,
    /// What to do with each dead letter.
    pub action: DlqAction,
    /// Ends after this many dead letters; `None` for no limit.
    pub limit: Option<u64>,
    /// Dead letters a second at most; `None` for no limit.
    pub rate: Option<u32>,
}

/// How a run ended.
#[derive(Debug)]
pub struct DlqRunResult {
    /// What was done, and what was skipped.
    pub tally: RunTally,
    /// The signal that ended it early.
    pub stopped: Option<StopReason>,
    /// The error that ended it early.
    pub failed: Option<Error>,
}

/// What the run does with one item of a walk.
enum PlannedItem {
    Resolved,
    Skip(SkippedDeadLetter),
    Redrive(Record, RedriveDecision),
    Discard(Record),
}

impl DlqRun {
    /// What the run would do, as the ledger is now. Sends nothing.
    ///
    /// # Errors
    /// Errors of the log.
    pub async fn dry_run(&self, snapshot: &SelectionSnapshot, log: &dyn EventLog) -> Result<RunTally> {
        let ledger = Ledger::load(log).await?;
        let mut tally = RunTally::begin(snapshot);
        for topic in snapshot.topics() {
            let mut walk = snapshot.walk(topic);
            let mut topic_tally = TopicTally::new(topic);
            while let Some(page) = walk.next_page(log).await?
                && !self.is_at_limit(&tally, &topic_tally)
            {
                for item in page {
                    if self.is_at_limit(&tally, &topic_tally) {
                        break;
                    }
                    match self.plan(item, &ledger) {
                        PlannedItem::Resolved => topic_tally.skipped_resolved += 1,
                        PlannedItem::Skip(skipped) => tally.skip(&mut topic_tally, skipped),
                        PlannedItem::Redrive(_, decision) => topic_tally.count(resolution_of(decision)),
                        PlannedItem::Discard(_) => topic_tally.count(Some(Resolution::Discarded)),
                    }
                }
            }
            tally.end_topic(topic_tally);
        }
        Ok(tally)
    }

    /// Does it. However the run ends, each dead letter that the tally counts as done is done, exactly once.
    pub async fn execute(
        &self,
        snapshot: &SelectionSnapshot,
        log: &dyn EventLog,
        clock: &dyn Clock,
        stop: &Stop,
        mut progress: impl FnMut(&RunTally),
    ) -> DlqRunResult {
        let mut tally = RunTally::begin(snapshot);
        let mut ledger = Ledger::default();
        let mut pacer = TransactionPacer::new(self.rate);
        for topic in snapshot.topics() {
            let mut executor = TopicExecutor { run: self, log, clock, stop, pacer: &mut pacer, tally: &mut tally };
            let ended = executor.execute(topic, snapshot, &mut ledger, &mut progress).await;
            match ended {
                Ok(None) => {}
                Ok(stopped) => return DlqRunResult { tally, stopped, failed: None },
                Err(error) => return DlqRunResult { tally, stopped: None, failed: Some(error) },
            }
        }
        DlqRunResult { tally, stopped: None, failed: None }
    }

    fn is_at_limit(&self, tally: &RunTally, topic: &TopicTally) -> bool {
        self.would_reach_limit(tally, topic, 0)
    }

    fn would_reach_limit(&self, tally: &RunTally, topic: &TopicTally, pending: usize) -> bool {
        self.limit.is_some_and(|limit| tally.done() + topic.done() + pending as u64 >= limit)
    }

    fn plan(&self, item: WalkItem, ledger: &Ledger) -> PlannedItem {
        let record = match item {
            WalkItem::Record(record) => record,
            WalkItem::Missing(id) => return PlannedItem::Skip(SkippedDeadLetter { id, reason: SkipReason::NotFound }),
        };
        if ledger.get(&record.address).is_some() {
            return PlannedItem::Resolved;
        }
        let DlqAction::Redrive(rules) = &self.action else { return PlannedItem::Discard(record) };
        match decide::decide_redrive(&record, &DeadLetterInfo::from_record(&record), rules) {
            RedriveDecision::Skip(reason) => PlannedItem::Skip(SkippedDeadLetter { id: record.address, reason }),
            decision => PlannedItem::Redrive(record, decision),
        }
    }

    /// The ledger entry for a dead letter, and the record to send, if any.
    fn effect(&self, item: &PlannedItem, now: Timestamp) -> Option<(LedgerEntry, Option<NewRecord>)> {
        let entry = |record: &Record, resolution, sent_to| LedgerEntry {
            dead_letter: record.address.clone(),
            resolution,
            run: self.id.clone(),
            actor: self.actor.clone(),
            at: now,
            reason: None,
            sent_to,
            asset_id: decide::asset_of(record),
        };
        match (item, &self.action) {
            (PlannedItem::Redrive(record, decision), _) => {
                let resolution = resolution_of(*decision)?;
                let sent = decide::record_to_send(record, *decision, &self.id, now)?;
                Some((entry(record, resolution, Some(sent.topic.clone())), Some(sent)))
            }
            (PlannedItem::Discard(record), DlqAction::Discard { reason }) => {
                let reason = Some(reason.clone());
                Some((LedgerEntry { reason, ..entry(record, Resolution::Discarded, None) }, None))
            }
            _ => None,
        }
    }
}

fn resolution_of(decision: RedriveDecision) -> Option<Resolution> {
    match decision {
        RedriveDecision::Redrive { .. } => Some(Resolution::Redriven),
        RedriveDecision::Park { .. } => Some(Resolution::Parked),
        RedriveDecision::Skip(_) => None,
    }
}

/// The `transactional.id` of every run over a dead-letter topic: a later run fences an earlier one.
#[must_use]
pub fn transactional_id(env: &EnvName, topic: &TopicName) -> String {
    format!("mfctl.{env}.redrive.{topic}")
}

/// Executes a run, one dead-letter topic after another.
struct TopicExecutor<'a> {
    run: &'a DlqRun,
    log: &'a dyn EventLog,
    clock: &'a dyn Clock,
    stop: &'a Stop,
    pacer: &'a mut TransactionPacer,
    tally: &'a mut RunTally,
}

impl TopicExecutor<'_> {
    async fn execute(
        &mut self,
        topic: &TopicName,
        snapshot: &SelectionSnapshot,
        ledger: &mut Ledger,
        progress: &mut impl FnMut(&RunTally),
    ) -> Result<Option<StopReason>> {
        let mut topic_tally = TopicTally::new(topic);
        let ended = self.send_all(topic, snapshot, ledger, &mut topic_tally, progress).await;
        self.tally.end_topic(topic_tally);
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
        let mut producer = self.log.transactional_producer(&transactional_id(&self.run.env, topic)).await?;
        // Only after the producer exists: it fences an earlier run, which can add nothing to the ledger from then on.
        ledger.refresh(self.log).await?;
        let mut walk = snapshot.walk(topic);
        while let Some(page) = walk.next_page(self.log).await? {
            let mut chunk = Vec::new();
            for item in page {
                if self.run.would_reach_limit(self.tally, topic_tally, chunk.len()) {
                    break;
                }
                match self.run.plan(item, ledger) {
                    PlannedItem::Resolved => topic_tally.skipped_resolved += 1,
                    PlannedItem::Skip(skipped) => self.tally.skip(topic_tally, skipped),
                    to_do => chunk.push(to_do),
                }
                if chunk.len() >= self.pacer.chunk
                    && let Some(reason) = self.send(&mut *producer, &mut chunk, topic_tally, progress).await?
                {
                    return Ok(Some(reason));
                }
            }
            if let Some(reason) = self.send(&mut *producer, &mut chunk, topic_tally, progress).await? {
                return Ok(Some(reason));
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
        producer: &mut dyn TransactionalProducer,
        chunk: &mut Vec<PlannedItem>,
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
        let now = self.clock.now();
        let effects: Vec<_> = chunk.drain(..).filter_map(|item| self.run.effect(&item, now)).collect();
        let mut records = Vec::with_capacity(effects.len() * 2);
        let mut resolutions = Vec::with_capacity(effects.len());
        for (entry, sent) in effects {
            resolutions.push(entry.resolution);
            records.extend(sent);
            records.push(ledger::record(&entry, &self.run.env)?);
        }
        producer.send(records).await?;
        self.pacer.sent(resolutions.len());
        resolutions.into_iter().for_each(|resolution| topic_tally.count(Some(resolution)));
        progress(&self.tally.with_topic(topic_tally));
        Ok(None)
    }
}

/// Spaces the transactions of a run to keep to its rate.
struct TransactionPacer {
    rate: Option<u32>,
    /// Dead letters to a transaction: at most those of one second, so that a slow rate sends few at a time, often.
    chunk: usize,
    next: Instant,
}

impl TransactionPacer {
    fn new(rate: Option<u32>) -> Self {
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
