//! The loop's dealings with the group: polling, settling, giving partitions back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::finish::{Decided, Items};
use super::super::{Ended, Halt, Leftover, Step, settlement};
use super::{IDLE_GAP, LEAST_RECORDS, LONGEST_SLEEP, Loop, Phase, SLOW, Settling};
use mfctl_core::breaker::CallSite;
use mfctl_core::domain::TopicPartition;
use mfctl_core::failpoint;
use mfctl_core::ports::{Error, ErrorKind, FetchLimits, Poll};
use mfctl_core::retry::{self, FailureAction};
use mfctl_core::telemetry::events::{
    BatchCommitted, CommitFenced, DeadLettered, PartitionsAssigned, PartitionsUnassigned, StagingDeleteFailed,
    WorkerEvent,
};

/// How long a poll waits when there is nothing else to do.
const POLL_WAIT: Duration = Duration::from_millis(250);
/// The same for a worker that ends when nothing is left.
const POLL_WAIT_DRAINING: Duration = Duration::from_millis(50);
/// What a poll that is only to keep the membership alive may bring.
const NEXT_TO_NOTHING: FetchLimits = FetchLimits { max_records: 1, max_bytes: 1 };

impl<S: Step> Loop<S> {
    /// When to poll next: as soon as there is room, and often enough to stay a member.
    pub(super) fn poll_due(&self) -> Instant {
        let heartbeat = self.polled_at + self.cx.options.session_timeout / 4;
        match self.room() {
            Some(_) => self.poll_at.min(heartbeat),
            None if self.cx.breaker.is_open() => self.poll_at.max(self.polled_at + LONGEST_SLEEP).min(heartbeat),
            None => heartbeat,
        }
    }

    /// What the next poll may bring; `None` when there is no room.
    fn room(&self) -> Option<FetchLimits> {
        let options = &self.cx.options;
        let intake = matches!(self.phase, Phase::Consuming) && !self.admitting && self.backlog.is_empty();
        let records = options.window_records.saturating_sub(self.tracker.in_flight());
        let bytes = options.window_bytes.saturating_sub(self.tracker.bytes());
        (intake && records > 0 && bytes > 0 && !self.cx.breaker.is_open()).then(|| FetchLimits {
            max_records: options.batch.max_records.min(records),
            max_bytes: options.batch.max_bytes.min(bytes),
        })
    }

    pub(super) async fn poll(&mut self) {
        let began = Instant::now();
        self.polled_at = began;
        self.report();
        if self.rewind_first {
            match self.consumer.rewind().await {
                Ok(()) => self.rewind_first = false,
                Err(error) => return self.log_failed("rewind", &error),
            }
        }
        let room = self.room();
        self.pause_and_resume(room.is_none());
        let idle = self.tasks.is_empty() && room.is_some() && self.tracker.in_flight() == 0;
        let wait = match idle {
            false => Duration::ZERO,
            true if self.drains() => POLL_WAIT_DRAINING,
            true => POLL_WAIT,
        };
        match self.consumer.poll(room.unwrap_or(NEXT_TO_NOTHING), wait).await {
            Ok(poll) => {
                self.cx.breaker.success(CallSite::Log, began);
                self.poll_at = Instant::now();
                self.take(poll).await;
            }
            Err(error) if error.kind() == ErrorKind::Fenced => self.fenced(&error),
            Err(error) => self.log_failed("poll", &error),
        }
    }

    async fn take(&mut self, poll: Poll) {
        self.health.0.joined.store(true, Ordering::Relaxed);
        let stage = self.cx.step.stage();
        match poll {
            Poll::Records(records) => {
                self.cx.ports.metrics.consumed(stage, records.len() as u64);
                self.backlog.extend(records);
            }
            Poll::Assigned(partitions) => {
                PartitionsAssigned { stage, partitions: &partitions }.emit(&self.cx.ports.metrics);
                for at in partitions {
                    self.revoking.remove(&at);
                    self.paused.remove(&at);
                    self.tracker.open(at.clone());
                    if !matches!(self.phase, Phase::Consuming) {
                        self.tracker.drain(&at);
                    }
                    self.assigned.push(at);
                }
            }
            Poll::Revoking(partitions) => {
                let deadline = Instant::now() + self.cx.options.session_timeout / 2;
                for at in partitions {
                    self.tracker.drain(&at);
                    self.revoking.insert(at, deadline);
                }
            }
            Poll::Lost(partitions) => {
                self.forget(&partitions);
                PartitionsUnassigned { stage, partitions: &partitions, how: "lost" }.emit(&self.cx.ports.metrics);
            }
            Poll::Idle => {
                self.poll_at = Instant::now() + IDLE_GAP;
                self.look_whether_drained().await;
            }
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.tracker.close(at);
            self.revoking.remove(at);
            self.paused.remove(at);
        }
        self.assigned.retain(|at| !partitions.contains(at));
        self.backlog.retain(|record| !partitions.contains(&record.topic_partition()));
    }

    /// Pauses what may bring nothing now: everything when there is no room, else only what a slow record holds up.
    fn pause_and_resume(&mut self, everything: bool) {
        let share = self.cx.options.window_records / 4;
        let wanted = match everything {
            true => self.tracker.partitions(),
            false => self.tracker.held_up(Instant::now(), SLOW, share),
        };
        let wanted: std::collections::BTreeSet<_> = wanted.into_iter().collect();
        let pause: Vec<_> = wanted.difference(&self.paused).cloned().collect();
        let resume: Vec<_> = self.paused.difference(&wanted).cloned().collect();
        if !pause.is_empty() {
            self.consumer.pause(&pause);
        }
        if !resume.is_empty() {
            self.consumer.resume(&resume);
        }
        self.paused = wanted;
    }

    /// Gives back what was asked for, once nothing of it is in flight or it took too long.
    pub(super) async fn release_revoked(&mut self) {
        let now = Instant::now();
        let done = |(at, deadline): (&TopicPartition, &Instant)| {
            (self.tracker.is_idle(at) || now >= *deadline).then(|| at.clone())
        };
        let release: Vec<_> = self.revoking.iter().filter_map(done).collect();
        if release.is_empty() {
            return;
        }
        self.forget(&release);
        let stage = self.cx.step.stage();
        match self.consumer.release(&release).await {
            Ok(()) => {
                PartitionsUnassigned { stage, partitions: &release, how: "released" }.emit(&self.cx.ports.metrics)
            }
            Err(error) if error.kind() == ErrorKind::Fenced => self.fenced(&error),
            Err(error) => {
                // The log takes them back by itself when the member is too late.
                self.cx.down("release", &error.full());
                self.cx.breaker.failure(CallSite::Log, &error);
            }
        }
    }

    /// Begins to commit a finished batch.
    pub(super) async fn settle(&mut self, mut items: Items<S::Effect>, began: Instant) {
        items.retain(|(ticket, _)| self.tracker.is_current(ticket));
        if items.is_empty() {
            self.finishing = false;
            return self.tracker.settled();
        }
        let settlement = settlement::of(&mut items, &self.cx.group, &self.cx.options.instance);
        let (offsets, emitted) = (settlement.offsets.clone(), settlement.outputs.len());
        failpoint::hit("before_settle");
        let called = Instant::now();
        match self.consumer.begin_commit(settlement).await {
            Ok(()) => self.settling = Some(Settling { items, offsets, emitted, began, called }),
            Err(error) => self.not_settled(&error),
        }
    }

    /// A commit has ended. Whatever is uncertain afterwards is read again.
    pub(super) fn settled(&mut self, outcome: Result<(), Error>) {
        let Some(Settling { items, offsets, emitted, began, called }) = self.settling.take() else { return };
        match outcome {
            Ok(()) => {
                failpoint::hit("after_settle");
                self.finishing = false;
                self.last_commit = called.elapsed();
                self.commit_records = (self.commit_records * 2).min(self.cx.options.commit_records);
                self.cx.ports.metrics.commit_took(self.cx.step.stage(), self.last_commit.as_secs_f64());
                self.cx.breaker.success(CallSite::Log, called);
                self.tracker.settled();
                self.committed.extend(offsets);
                self.account(&items, emitted, began.elapsed());
                self.tidy(items);
            }
            Err(error) => self.not_settled(&error),
        }
    }

    fn not_settled(&mut self, error: &Error) {
        self.finishing = false;
        self.commit_records = (self.commit_records / 4).max(LEAST_RECORDS).min(self.cx.options.commit_records);
        match error.kind() {
            ErrorKind::Fenced => self.fenced(error),
            _ => self.log_failed("settle", error),
        }
    }

    fn account(&mut self, items: &Items<S::Effect>, emitted: usize, took: Duration) {
        let count = settlement::count(items, emitted);
        let (stage, metrics) = (self.cx.step.stage(), &self.cx.ports.metrics);
        self.summary.processed += count.records;
        self.summary.emitted += count.emitted;
        self.summary.skipped_duplicates += count.skipped;
        self.summary.dead_lettered += count.dead;
        BatchCommitted { stage, records: count.records, emitted: count.emitted, skipped: count.skipped, took }
            .emit(metrics);
        for (_, decided) in items {
            if let Decided::Dead(dead) = decided {
                let (record, kind, message) = (&dead.record.address, dead.kind, dead.message.as_str());
                DeadLettered { stage, record, kind, message, attempts: dead.attempts }.emit(metrics);
            }
        }
    }

    /// Lets the step tidy up behind a commit, beside the loop.
    fn tidy(&mut self, items: Items<S::Effect>) {
        let cx = Arc::clone(&self.cx);
        self.tidying.spawn(async move {
            let effects: Vec<&S::Effect> = items
                .iter()
                .filter_map(|(_, decided)| match decided {
                    Decided::Done { output, .. } => Some(&output.effect),
                    _ => None,
                })
                .collect();
            if effects.is_empty() {
                return;
            }
            if let Err(Leftover { objects, error }) = cx.step.after_commit(&effects).await {
                let stage = cx.step.stage();
                StagingDeleteFailed { stage, objects, error: &error.full() }.emit(&cx.ports.metrics);
            }
        });
    }

    /// The log says that this member's work is void.
    fn fenced(&mut self, error: &Error) {
        self.summary.fenced += 1;
        CommitFenced { stage: self.cx.step.stage(), error: &error.full() }.emit(&self.cx.ports.metrics);
        self.start_over();
    }

    /// A call to the log failed, and may have been applied: nothing in flight can be trusted.
    fn log_failed(&mut self, doing: &'static str, error: &Error) {
        match retry::action_for(error.kind()) {
            // Another worker took this one's name: two of them would take it from each other for ever.
            _ if error.kind() == ErrorKind::Locked => self.abandon(Ended::Halted(Halt::from(error))),
            FailureAction::Stop | FailureAction::DeadLetter => self.abandon(Ended::Halted(Halt::from(error))),
            FailureAction::RetryDependency | FailureAction::RetryRecord => {
                self.cx.down(doing, &error.full());
                self.poll_at = Instant::now() + self.cx.breaker.failure(CallSite::Log, error);
                // A poll brought nothing, so nothing is uncertain; a settlement is.
                if doing != "poll" {
                    self.start_over();
                }
            }
        }
    }

    fn report(&self) {
        let (stage, partitions) = (self.cx.step.stage(), self.tracker.partitions().len() as u64);
        let in_flight = self.tracker.in_flight() as u64;
        self.cx.ports.metrics.worker_state(stage, in_flight, partitions, self.cx.breaker.is_open());
    }
}
