//! Carries out a redrive or a discard: exclusive per dead-letter topic, each decision in one transaction with its effect.

use std::time::{Duration, Instant};

use super::decide::{self, Decision, Rules, SkipReason, Skipped};
use super::report::{Tally, TopicTally};
use super::selection::{Frozen, Met};
use mfctl_core::domain::dead_letter::{DeadLetterInfo, LedgerEntry, Resolution};
use mfctl_core::domain::{EnvName, NewRecord, Record, RecordAddress, Timestamp, TopicName};
use mfctl_core::events::ledger::{self, Ledger};
use mfctl_core::ports::{Clock, Error, EventLog, Result, TransactionalProducer};
use mfctl_core::stop::{Stop, StopReason};

/// Dead letters in one transaction at most.
const CHUNK: usize = 200;

/// What to do with each dead letter.
#[derive(Debug, Clone)]
pub enum Act {
    /// Send it back, or park it.
    Redrive(Rules),
    /// Give it up.
    Discard {
        /// Why; kept in the ledger.
        reason: String,
    },
}

/// A run over a selection.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id, in every mark and ledger entry it makes.
    pub id: String,
    /// Who started it.
    pub actor: String,
    /// The environment.
    pub env: EnvName,
    /// What to do.
    pub act: Act,
    /// Stop after this many.
    pub limit: Option<u64>,
    /// At most this many a second.
    pub rate: Option<u32>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// What it did.
    pub tally: Tally,
    /// The signal that ended it before its end.
    pub stopped: Option<StopReason>,
    /// The error that did.
    pub failed: Option<Error>,
}

/// What is to happen to one thing a walk met.
enum Sorted {
    Resolved,
    Skip(Skipped),
    Do(Record, Decision),
    Discard(Record),
}

impl Run {
    /// What the run would do, as the ledger stands now. Sends nothing.
    ///
    /// # Errors
    /// Those of the log.
    pub async fn rehearse(&self, frozen: &Frozen, log: &dyn EventLog) -> Result<Tally> {
        let ledger = Ledger::load(log).await?;
        let mut tally = Tally::begin(frozen);
        for topic in frozen.topics() {
            let mut walk = frozen.walk(topic);
            let mut topic_tally = TopicTally::of(topic);
            while let Some(page) = walk.next_page(log).await?
                && !self.is_full(&tally, &topic_tally)
            {
                for met in page {
                    if self.is_full(&tally, &topic_tally) {
                        break;
                    }
                    match self.sort(met, &ledger) {
                        Sorted::Resolved => topic_tally.skipped_resolved += 1,
                        Sorted::Skip(skipped) => tally.skip(&mut topic_tally, skipped),
                        Sorted::Do(_, decision) => topic_tally.count(resolution_of(decision)),
                        Sorted::Discard(_) => topic_tally.count(Some(Resolution::Discarded)),
                    }
                }
            }
            tally.end_topic(topic_tally);
        }
        Ok(tally)
    }

    /// Does it. Whatever happens, what the tally says was done is done, whole and once.
    pub async fn carry_out(
        &self,
        frozen: &Frozen,
        log: &dyn EventLog,
        clock: &dyn Clock,
        stop: &Stop,
        mut progress: impl FnMut(&Tally),
    ) -> Finished {
        let mut tally = Tally::begin(frozen);
        let mut ledger = Ledger::default();
        let mut pace = Pace::new(self.rate);
        for topic in frozen.topics() {
            let mut working = Working { run: self, log, clock, stop, pace: &mut pace, tally: &mut tally };
            let ended = working.topic(topic, frozen, &mut ledger, &mut progress).await;
            match ended {
                Ok(None) => {}
                Ok(stopped) => return Finished { tally, stopped, failed: None },
                Err(error) => return Finished { tally, stopped: None, failed: Some(error) },
            }
        }
        Finished { tally, stopped: None, failed: None }
    }

    fn is_full(&self, tally: &Tally, topic: &TopicTally) -> bool {
        self.limit.is_some_and(|limit| tally.done() + topic.done() >= limit)
    }

    fn sort(&self, met: Met, ledger: &Ledger) -> Sorted {
        let record = match met {
            Met::Record(record) => record,
            Met::Missing(id) => return Sorted::Skip(Skipped { id, reason: SkipReason::NotFound }),
        };
        if ledger.get(&record.address).is_some() {
            return Sorted::Resolved;
        }
        let Act::Redrive(rules) = &self.act else { return Sorted::Discard(record) };
        match decide::decide(&record, &DeadLetterInfo::from_record(&record), rules) {
            Decision::Skip(reason) => Sorted::Skip(Skipped { id: record.address, reason }),
            decision => Sorted::Do(record, decision),
        }
    }

    /// The ledger's entry of what is done to a dead letter, and the record that does it, if one does.
    fn effect(&self, sorted: &Sorted, now: Timestamp) -> Option<(LedgerEntry, Option<NewRecord>)> {
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
        match (sorted, &self.act) {
            (Sorted::Do(record, decision), _) => {
                let resolution = resolution_of(*decision)?;
                let sent = decide::to_send(record, *decision, &self.id, now)?;
                Some((entry(record, resolution, Some(sent.topic.clone())), Some(sent)))
            }
            (Sorted::Discard(record), Act::Discard { reason }) => {
                let reason = Some(reason.clone());
                Some((LedgerEntry { reason, ..entry(record, Resolution::Discarded, None) }, None))
            }
            _ => None,
        }
    }
}

fn resolution_of(decision: Decision) -> Option<Resolution> {
    match decision {
        Decision::Redrive { .. } => Some(Resolution::Redriven),
        Decision::Park { .. } => Some(Resolution::Parked),
        Decision::Skip(_) => None,
    }
}

/// The `transactional.id` of every run over a dead-letter topic: the later run fences the earlier.
#[must_use]
pub fn transactional_id(env: &EnvName, topic: &TopicName) -> String {
    format!("mfctl.{env}.redrive.{topic}")
}

/// A run at work.
struct Working<'a> {
    run: &'a Run,
    log: &'a dyn EventLog,
    clock: &'a dyn Clock,
    stop: &'a Stop,
    pace: &'a mut Pace,
    tally: &'a mut Tally,
}

impl Working<'_> {
    async fn topic(
        &mut self,
        topic: &TopicName,
        frozen: &Frozen,
        ledger: &mut Ledger,
        progress: &mut impl FnMut(&Tally),
    ) -> Result<Option<StopReason>> {
        let mut of_topic = TopicTally::of(topic);
        let ended = self.work_off(topic, frozen, ledger, &mut of_topic, progress).await;
        self.tally.end_topic(of_topic);
        ended
    }

    async fn work_off(
        &mut self,
        topic: &TopicName,
        frozen: &Frozen,
        ledger: &mut Ledger,
        of_topic: &mut TopicTally,
        progress: &mut impl FnMut(&Tally),
    ) -> Result<Option<StopReason>> {
        let mut producer = self.log.transactional_producer(&transactional_id(&self.run.env, topic)).await?;
        // After the producer and not before: an earlier run is fenced now and cannot add to the ledger behind our back.
        ledger.refresh(self.log).await?;
        let mut walk = frozen.walk(topic);
        while let Some(page) = walk.next_page(self.log).await? {
            let mut chunk = Vec::new();
            for met in page {
                if self.run.limit.is_some_and(|limit| self.tally.done() + of_topic.done() + chunk.len() as u64 >= limit)
                {
                    break;
                }
                match self.run.sort(met, ledger) {
                    Sorted::Resolved => of_topic.skipped_resolved += 1,
                    Sorted::Skip(skipped) => self.tally.skip(of_topic, skipped),
                    work => chunk.push(work),
                }
                if chunk.len() >= self.pace.chunk
                    && let Some(reason) = self.send(&mut *producer, &mut chunk, of_topic, progress).await?
                {
                    return Ok(Some(reason));
                }
            }
            if let Some(reason) = self.send(&mut *producer, &mut chunk, of_topic, progress).await? {
                return Ok(Some(reason));
            }
            if self.run.is_full(self.tally, of_topic) {
                break;
            }
        }
        Ok(None)
    }

    /// Sends a chunk in one transaction, unless a stop was asked for.
    async fn send(
        &mut self,
        producer: &mut dyn TransactionalProducer,
        chunk: &mut Vec<Sorted>,
        of_topic: &mut TopicTally,
        progress: &mut impl FnMut(&Tally),
    ) -> Result<Option<StopReason>> {
        if chunk.is_empty() {
            return Ok(self.stop.requested());
        }
        self.pace.wait(self.stop).await;
        if let Some(reason) = self.stop.requested() {
            return Ok(Some(reason));
        }
        let now = self.clock.now();
        let effects: Vec<_> = chunk.drain(..).filter_map(|sorted| self.run.effect(&sorted, now)).collect();
        let mut records = Vec::with_capacity(effects.len() * 2);
        let mut resolutions = Vec::with_capacity(effects.len());
        for (entry, sent) in effects {
            resolutions.push(entry.resolution);
            records.extend(sent);
            records.push(ledger::record(&entry, &self.run.env)?);
        }
        producer.send(records).await?;
        self.pace.sent(resolutions.len());
        resolutions.into_iter().for_each(|resolution| of_topic.count(Some(resolution)));
        progress(&self.tally.with(of_topic));
        Ok(None)
    }
}

/// Keeps to a rate.
struct Pace {
    rate: Option<u32>,
    /// Dead letters to a transaction: a slow rate sends few at a time, often.
    chunk: usize,
    next: Instant,
}

impl Pace {
    fn new(rate: Option<u32>) -> Self {
        let chunk = rate.map_or(CHUNK, |rate| (rate as usize).clamp(1, CHUNK));
        Self { rate, chunk, next: Instant::now() }
    }

    /// Waits until the next chunk is due, or a stop is asked for.
    async fn wait(&self, stop: &Stop) {
        if self.rate.is_none() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep_until(self.next.into()) => {}
            _ = stop.wait() => {}
        }
    }

    fn sent(&mut self, records: usize) {
        if let Some(rate) = self.rate {
            let took = Duration::from_secs_f64(records as f64 / f64::from(rate.max(1)));
            self.next = self.next.max(Instant::now()) + took;
        }
    }
}

/// Names ids of partitions that do not exist as skipped.
pub(super) fn missing(frozen: &Frozen) -> impl Iterator<Item = Skipped> {
    let skipped = |id: &RecordAddress| Skipped { id: id.clone(), reason: SkipReason::NotFound };
    frozen.missing().iter().map(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_rate_sends_few_at_a_time() {
        assert_eq!([None, Some(1), Some(50), Some(5000)].map(|rate| Pace::new(rate).chunk), [200, 1, 50, 200]);
    }
}
