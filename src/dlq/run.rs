//! A redrive or a discard: what it does with each dead letter. `topic_executor` does it.

use super::decide::{self, RedriveDecision, RedriveRules, SkipReason, SkippedDeadLetter};
use super::kept::{self, KeptRecords, Restored};
use super::report::{RunTally, TopicTally};
use super::selection::{SelectionSnapshot, WalkItem};
use super::topic_executor::{ExecutorPorts, TopicExecutor, TransactionPacer};
use mfctl_core::domain::dead_letter::{DeadLetterInfo, LedgerEntry, Resolution};
use mfctl_core::domain::dead_letter_stub::DeadLetterStub;
use mfctl_core::domain::{EnvName, NewRecord, Record, RecordAddress, Timestamp, TopicName};
use mfctl_core::events::ledger::Ledger;
use mfctl_core::ports::{Clock, Error, EventLog, Result};
use mfctl_core::stop::{Stop, StopReason};

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
pub(super) enum PlannedItem {
    /// Nothing: it is resolved. With its stub, if its object is not needed any more.
    Resolved(Option<ResolvedStub>),
    Skip(SkippedDeadLetter),
    Act(Box<PlannedAction>),
}

/// A dead letter to resolve.
pub(super) struct PlannedAction {
    /// As it is on its topic.
    pub(super) dead: Record,
    /// Its stub's headers, if it is one.
    stub: Option<DeadLetterStub>,
    /// The whole dead letter of a stub that is redriven.
    whole: Option<Box<Record>>,
    /// `None` for a discard.
    redrive: Option<RedriveDecision>,
}

/// A stub that is resolved.
pub(super) type ResolvedStub = (RecordAddress, DeadLetterStub);

impl PlannedAction {
    fn resolution(&self) -> Option<Resolution> {
        self.redrive.map_or(Some(Resolution::Discarded), resolution_of)
    }

    /// The dead letter with its whole record.
    fn whole(&self) -> &Record {
        self.whole.as_deref().unwrap_or(&self.dead)
    }

    /// The stub, if its object is not needed once the dead letter is resolved.
    pub(super) fn resolved_stub(&self) -> Option<ResolvedStub> {
        let stub = self.stub.clone().filter(|_| self.resolution() != Some(Resolution::Parked))?;
        Some((self.dead.address.clone(), stub))
    }
}

impl DlqRun {
    /// What the run would do, as the ledger and the kept records are now. Sends nothing.
    ///
    /// # Errors
    /// Errors of the log and of the object store.
    pub async fn dry_run(
        &self,
        snapshot: &SelectionSnapshot,
        log: &dyn EventLog,
        kept: &KeptRecords,
    ) -> Result<RunTally> {
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
                    match self.plan(item, &ledger, kept).await? {
                        PlannedItem::Resolved(_) => topic_tally.skipped_resolved += 1,
                        PlannedItem::Skip(skipped) => tally.skip(&mut topic_tally, skipped),
                        PlannedItem::Act(action) => topic_tally.count(action.resolution()),
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
        kept: &KeptRecords,
        clock: &dyn Clock,
        stop: &Stop,
        mut progress: impl FnMut(&RunTally),
    ) -> DlqRunResult {
        let mut tally = RunTally::begin(snapshot);
        let mut ledger = Ledger::default();
        let mut pacer = TransactionPacer::new(self.rate);
        for topic in snapshot.topics() {
            let pacer = &mut pacer;
            let mut executor = TopicExecutor::new(ExecutorPorts { log, kept, clock }, self, stop, pacer, &mut tally);
            let ended = executor.execute(topic, snapshot, &mut ledger, &mut progress).await;
            match ended {
                Ok(None) => {}
                Ok(stopped) => return DlqRunResult { tally, stopped, failed: None },
                Err(error) => return DlqRunResult { tally, stopped: None, failed: Some(error) },
            }
        }
        DlqRunResult { tally, stopped: None, failed: None }
    }

    pub(super) fn is_at_limit(&self, tally: &RunTally, topic: &TopicTally) -> bool {
        self.would_reach_limit(tally, topic, 0)
    }

    pub(super) fn would_reach_limit(&self, tally: &RunTally, topic: &TopicTally, pending: usize) -> bool {
        self.limit.is_some_and(|limit| tally.done() + topic.done() + pending as u64 >= limit)
    }

    pub(super) async fn plan(&self, item: WalkItem, ledger: &Ledger, kept: &KeptRecords) -> Result<PlannedItem> {
        let dead = match item {
            WalkItem::Record(record) => record,
            WalkItem::Missing(id) => {
                return Ok(PlannedItem::Skip(SkippedDeadLetter { id, reason: SkipReason::NotFound }));
            }
        };
        let stub = DeadLetterStub::of(&dead);
        if ledger.get(&dead).is_some() {
            let unneeded = stub.filter(|_| !kept::may_need_object(ledger, &dead));
            return Ok(PlannedItem::Resolved(unneeded.map(|stub| (dead.address, stub))));
        }
        let DlqAction::Redrive(rules) = &self.action else {
            return Ok(PlannedItem::Act(Box::new(PlannedAction { dead, stub, whole: None, redrive: None })));
        };
        let (redrive, whole) = decide_with_kept_record(&dead, stub.as_ref(), rules, kept).await?;
        Ok(match redrive {
            RedriveDecision::Skip(reason) => PlannedItem::Skip(SkippedDeadLetter { id: dead.address, reason }),
            redrive => PlannedItem::Act(Box::new(PlannedAction { dead, stub, whole, redrive: Some(redrive) })),
        })
    }

    /// The ledger entry for a dead letter, and the record to send, if any.
    pub(super) fn effect(
        &self,
        action: &PlannedAction,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Option<(LedgerEntry, Option<NewRecord>)> {
        let sent = self.to_send(action, now);
        let reason = match &self.action {
            DlqAction::Discard { reason } => Some(reason.clone()),
            DlqAction::Redrive(_) => None,
        };
        let entry = LedgerEntry {
            dead_letter: action.dead.address.clone(),
            resolution: action.resolution()?,
            run: self.id.clone(),
            actor: self.actor.clone(),
            at: now,
            topic_id: ledger.topic_id(&action.dead.address.topic).cloned(),
            dead_lettered_at: Some(action.dead.timestamp),
            reason,
            sent_to: sent.as_ref().map(|sent| sent.topic.clone()),
            asset_id: decide::asset_of(action.whole()),
        };
        Some((entry, sent))
    }

    /// Whether a dead letter is sent in a transaction of its own: the log may refuse it, or it is large.
    pub(super) fn is_sent_alone(&self, action: &PlannedAction, now: Timestamp) -> bool {
        action.whole.is_some() || self.to_send(action, now).is_some_and(|sent| !decide::is_within_limits(&sent))
    }

    fn to_send(&self, action: &PlannedAction, now: Timestamp) -> Option<NewRecord> {
        decide::record_to_send(action.whole(), action.redrive?, &self.id, now)
    }
}

/// What a redrive does with a dead letter, and the whole dead letter if it is a stub that is to be sent.
///
/// # Errors
/// Errors of the object store.
pub async fn decide_with_kept_record(
    dead: &Record,
    stub: Option<&DeadLetterStub>,
    rules: &RedriveRules,
    kept: &KeptRecords,
) -> Result<(RedriveDecision, Option<Box<Record>>)> {
    let decide = |record: &Record| decide::decide_redrive(record, &DeadLetterInfo::from_record(record), rules);
    let Some(stub) = stub else { return Ok((decide(dead), None)) };
    let first = decide(&DeadLetterStub::without_stub_headers(dead));
    if !matches!(first, RedriveDecision::Redrive { .. }) {
        // A stub is parked as it is.
        return Ok((first, None));
    }
    Ok(match kept.restore(dead, stub).await? {
        Restored::Unavailable(reason) => (RedriveDecision::Skip(reason), None),
        Restored::Whole(whole) => match decide(&whole) {
            redrive @ RedriveDecision::Redrive { .. } => (redrive, Some(whole)),
            other => (other, None),
        },
    })
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
