//! The consume loop: owns the group membership, the tracker and the phase. Decides and starts tasks; never waits for a
//! dependency other than the log.
//!
//! Its state machines, each with its states and exits in the doc comment of its type:
//!
//! | what | states | type |
//! |-|-|-|
//! | the worker | Consuming → Draining → Stopped | [`WorkerPhase`] |
//! | the intake batch | Idle ⇄ Running | `IntakeQueue` |
//! | the commit | Idle → Preparing → `InFlight` → Idle | [`CommitScheduler`] |
//! | each partition | Consuming → Draining → Stopped | [`WorkerAssignment`], `RecordTracker` |
//!
//! The order of effects, which a crash may cut anywhere: claim, run, finish, commit, then (at the latest with the next batch)
//! complete the claims, and clean up. A partition is released when nothing of it is in flight. Whatever is uncertain after a
//! failed call to the log is dropped and consumed again from the committed offsets ([`ConsumeLoop::start_over`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use super::assignment::WorkerAssignment;
use super::cleanup::CleanupTasks;
use super::commit::{CommitScheduler, InFlightCommit};
use super::commit_report::report_commit;
use super::commit_request::build_commit_request;
use super::context::WorkerContext;
use super::finisher::FinishFailure;
use super::health::{WorkerHealth, WorkerPause};
use super::intake::{EpochRefusal, IntakeResult, RecordIntake};
use super::membership::{GroupMembership, LogCall};
use super::options::Until;
use super::outcome::{FatalFailure, WorkerEnd, WorkerOutcome, WorkerSummary};
use super::phase::WorkerPhase;
use super::record::{ClaimedRecord, CommitBatch, RecordOutcome};
use super::step::PipelineStep;
use super::tasks::{TaskResult, WorkerTasks};
use mfctl_core::breaker::OutageCause;
use mfctl_core::domain::TopicPartition;
use mfctl_core::domain::claim::MintedEpoch;
use mfctl_core::failpoint;
use mfctl_core::ports::{Dependency, Error, ErrorKind, GroupConsumer, Poll};
use mfctl_core::retry::{self, FailureAction};
use mfctl_core::stop::Stop;
use mfctl_core::telemetry::events::{
    CommitFenced, PartitionsAssigned, PartitionsUnassigned, WorkerEvent as _, WorkerStopping,
};

/// The longest the loop sleeps, so that outages and deadlines are noticed in time.
const MAX_SLEEP: Duration = Duration::from_millis(250);
/// The delay before the next poll of a worker whose claims were fenced.
const FENCED_DELAY: Duration = Duration::from_millis(100);
/// Upper bound of each of the last calls of a shutdown.
const SHUTDOWN_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// A running worker.
pub(super) struct ConsumeLoop<S: PipelineStep> {
    context: Arc<WorkerContext<S>>,
    health: WorkerHealth,
    phase: WorkerPhase,
    assignment: WorkerAssignment<Box<ClaimedRecord<S::Input>>, RecordOutcome<S::Effect>>,
    commit: CommitScheduler<S::Effect>,
    tasks: WorkerTasks<S>,
    cleanups: CleanupTasks,
    summary: WorkerSummary,
}

impl<S: PipelineStep> ConsumeLoop<S> {
    pub(super) fn new(context: Arc<WorkerContext<S>>, consumer: Box<dyn GroupConsumer>, health: WorkerHealth) -> Self {
        let options = &context.options;
        let cleanups = CleanupTasks::new(
            Arc::clone(&context.ports.objects),
            Arc::clone(&context.ports.metrics),
            context.stage(),
            options.memory.cleanup_bytes(),
        );
        Self {
            health,
            phase: WorkerPhase::Consuming,
            assignment: WorkerAssignment::new(GroupMembership::new(consumer, options.session_timeout)),
            commit: CommitScheduler::new(options.commit_records),
            tasks: WorkerTasks::new(Arc::clone(&context)),
            cleanups,
            summary: WorkerSummary::default(),
            context,
        }
    }

    /// Runs until the worker is drained, stopped, or fails.
    pub(super) async fn run(mut self, stop: &Stop) -> WorkerOutcome {
        let stage = self.context.stage();
        let tuning = self.context.options.tuning.clone();
        let drain_overdue = async {
            let reason = stop.wait().await;
            let timeout = tuning.borrow().drain_timeout;
            tokio::time::sleep_until((Instant::now() + timeout + MAX_SLEEP).into()).await;
            reason
        };
        let ended = tokio::select! {
            // 1. The loop ended by itself.
            ended = self.turns(stop) => ended,
            // 2. The drain timeout has passed since the stop request: a call to the log may take longer than that.
            reason = drain_overdue => {
                tracing::warn!(%stage, "drain timeout exceeded; in-flight records will be redelivered");
                WorkerEnd::Stopped(reason)
            }
        };
        WorkerOutcome { summary: self.shut_down().await, ended }
    }

    async fn turns(&mut self, stop: &Stop) -> WorkerEnd {
        loop {
            self.check_stop_and_outage(stop);
            if let Some(ended) = self.ended() {
                return ended;
            }
            self.start_steps();
            self.start_intake();
            self.start_commit();
            self.release_revoked().await;
            self.wait(stop).await;
            if Instant::now() >= self.next_poll() {
                self.poll().await;
            }
        }
    }

    fn check_stop_and_outage(&mut self, stop: &Stop) {
        let outage = self.context.breaker.outage();
        self.health.set_pause(outage.clone().map(|outage| WorkerPause::new(outage, self.context.ports.clock.now())));
        if !self.phase.is_consuming() {
            return;
        }
        let give_up_after = self.context.tuning().give_up_after;
        if let Some(reason) = stop.requested() {
            self.drain(WorkerEnd::Stopped(reason));
        } else if let Some(outage) = outage.filter(|outage| outage.lasting >= give_up_after) {
            match outage.cause {
                // The dependency itself works: the records fail.
                OutageCause::Records => self.context.breaker.charge_records(outage.dependency, give_up_after),
                OutageCause::Canary | OutageCause::Call => {
                    self.stop(WorkerEnd::OutageTooLong { error: format!("{}: {}", outage.dependency, outage.error) });
                }
            }
        }
    }

    /// Why the loop ends now; `None` when it goes on.
    fn ended(&self) -> Option<WorkerEnd> {
        match &self.phase {
            WorkerPhase::Consuming => None,
            WorkerPhase::Stopped(end) => Some(end.clone()),
            WorkerPhase::Draining { end, deadline } => {
                let is_idle = self.assignment.tracker.all_idle() && self.commit.is_idle();
                // During an outage nothing more can be committed.
                (is_idle || Instant::now() >= *deadline || self.context.breaker.stops_intake()).then(|| end.clone())
            }
        }
    }

    /// Consuming → Draining; no transition from another phase, so that the first reason is kept.
    fn drain(&mut self, end: WorkerEnd) {
        if self.phase.is_consuming() {
            self.report_stopping(&end);
            self.assignment.drain_all();
            self.phase.drain(end, Instant::now() + self.context.tuning().drain_timeout);
        }
    }

    /// Consuming or Draining → Stopped; the first reason to stop is kept.
    fn stop(&mut self, end: WorkerEnd) {
        if !self.phase.is_stopped() {
            self.report_stopping(&end);
            self.phase.stop(end);
        }
    }

    fn report_stopping(&self, end: &WorkerEnd) {
        self.health.set_stopping();
        let in_flight = self.assignment.tracker.in_flight() as u64;
        let stopping = WorkerStopping { stage: self.context.stage(), reason: &end.to_string(), in_flight };
        stopping.emit(&self.context.ports.metrics);
    }

    /// Starts steps up to the concurrency. During an outage, one record at a time goes on, so that the recovery is noticed.
    /// Records that wait for their next attempt do not count, except while no new record could help.
    fn start_steps(&mut self) {
        let context = &self.context;
        let stops_intake = context.breaker.stops_intake();
        let limit = if context.breaker.is_open() { 1 } else { context.tuning().concurrency };
        let window = context.options.window();
        loop {
            let busy = if stops_intake { self.assignment.tracker.running() } else { self.context.slots.demand() };
            if busy >= limit {
                return;
            }
            let Some((ticket, work)) = self.assignment.tracker.next_runnable(window) else { return };
            self.tasks.start_step(ticket, work);
        }
    }

    fn start_intake(&mut self) {
        if let Some(batch) = self.assignment.start_intake(self.tasks.is_empty()) {
            self.tasks.start_intake(batch);
        }
    }

    /// Takes a batch for a commit when one is due, and starts its finish.
    fn start_commit(&mut self) {
        let now = Instant::now();
        let loop_is_idle = self.context.slots.demand() == 0 && self.assignment.intake.is_idle();
        if !self.commit.is_due(now, self.assignment.tracker.committable(), loop_is_idle) {
            return;
        }
        let batch = self.assignment.tracker.take_committable(self.commit.max_records());
        self.commit.prepare();
        let fences = self.assignment.fences.of(batch.iter().map(|(ticket, _)| &ticket.at));
        self.tasks.start_finish(batch, fences, now);
    }

    /// Waits for a task, the commit, the next poll or a deadline, and handles the results there are.
    async fn wait(&mut self, stop: &Stop) {
        let now = Instant::now();
        let longest = now + MAX_SLEEP;
        let until = self.next_poll().min(self.commit.due_at().unwrap_or(longest)).min(longest);
        let is_consuming = self.phase.is_consuming();
        if let Some(result) = self.tasks.try_next() {
            self.handle_task(result).await;
        } else if until > now {
            tokio::select! {
                // 1. A task ended: a step, intake, or the finish of a batch.
                Some(result) = self.tasks.next(), if !self.tasks.is_empty() => self.handle_task(result).await,
                // 2. The transaction under way ended.
                result = self.assignment.membership.finish_commit(), if self.commit.is_in_flight() => self.commit_ended(result),
                // 3. The next poll, a commit, or a check of outages and deadlines is due.
                () = tokio::time::sleep_until(until.into()) => {}
                // 4. A record gave up its slot: the next turn starts another.
                () = self.context.slots.given_up() => {}
                // 5. A stop was requested; the next turn handles it.
                _ = stop.wait(), if is_consuming => {}
            }
        }
        while let Some(result) = self.tasks.try_next() {
            self.handle_task(result).await;
        }
        // Looked at also when a task has always ended, which would starve the branch above.
        if self.commit.is_in_flight()
            && let Some(result) = self.assignment.membership.finish_commit().now_or_never()
        {
            self.commit_ended(result);
        }
        self.cleanups.reap();
    }

    async fn handle_task(&mut self, result: TaskResult<S>) {
        match result {
            TaskResult::TakenIn(result) => self.taken_in(result).await,
            TaskResult::Ran(ticket, Ok(outcome)) => {
                let weight = outcome.weight_bytes();
                self.assignment.tracker.finish(&ticket, outcome, weight);
            }
            TaskResult::Ran(ticket, Err(failure)) => {
                // Otherwise the partition was removed since, and the failure is its next owner's.
                if self.assignment.tracker.is_current(&ticket) {
                    self.assignment.tracker.drain_before(&ticket);
                    self.drain(WorkerEnd::Failed(failure));
                }
            }
            TaskResult::Finished(taken_at, Ok(batch)) => self.begin_commit(batch, taken_at).await,
            TaskResult::Finished(_, Err(failure)) => {
                self.commit.cancel();
                match failure {
                    FinishFailure::Fatal(failure) => self.stop(WorkerEnd::Failed(failure)),
                    FinishFailure::DeadLetters(exceeded) => self.stop(exceeded.into()),
                    FinishFailure::Fenced(partitions) => self.claims_fenced(&partitions),
                }
            }
            TaskResult::Panicked(failure) => self.stop(WorkerEnd::Failed(failure)),
        }
    }

    async fn taken_in(&mut self, result: IntakeResult<S>) {
        self.assignment.intake.finish();
        for (assignment, fence) in result.fences {
            if self.assignment.tracker.is_current(&assignment) {
                self.assignment.fences.insert(fence);
            }
        }
        match result.refusal {
            Some(EpochRefusal::Stored(refused)) => return self.replace_epochs(refused).await,
            Some(EpochRefusal::Fenced(partitions)) => return self.claims_fenced(&partitions),
            None => {}
        }
        for record in result.admitted {
            self.assignment.tracker.admit(&record.ticket, record.key, record.bytes, record.admission);
        }
        if let Some(failure) = result.failure {
            self.drain(WorkerEnd::Failed(failure));
        }
    }

    /// The catalog has epochs of a later generation than this member's, or of another member: the group began again, unless this
    /// member was evicted. Only the group knows.
    async fn replace_epochs(&mut self, refused: BTreeMap<TopicPartition, MintedEpoch>) {
        match self.assignment.membership.confirm().await {
            Ok(()) => {
                tracing::info!(stage = %self.context.stage(), partitions = refused.len(),
                    "the group began again at a lower generation; replacing its claim epochs");
                self.start_over_with(refused);
            }
            Err(error) if error.kind() == ErrorKind::Fenced => self.fenced(&error),
            Err(error) => self.log_call_failed(LogCall::Confirm, &error),
        }
    }

    /// Another member was assigned these partitions, as the catalog knows already: nothing in flight of them can be committed.
    fn claims_fenced(&mut self, partitions: &[TopicPartition]) {
        let names = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.fenced(&Error::new(ErrorKind::Fenced, format!("claims of {names}: their epoch is no longer the latest")));
        self.assignment.membership.poll_after(FENCED_DELAY);
    }

    /// Begins the transaction of a finished batch, without the records that are stale by now.
    async fn begin_commit(&mut self, mut batch: CommitBatch<S::Effect>, taken_at: Instant) {
        batch.retain(|(ticket, _)| self.assignment.tracker.is_current(ticket));
        if batch.is_empty() {
            self.commit.cancel();
            return self.assignment.tracker.committed();
        }
        let (group, instance) = (&self.context.group, &self.context.options.instance);
        let request = build_commit_request(&mut batch, &self.assignment.fences, group, instance);
        let passed = self.assignment.fences.passed(&request.offsets);
        let offsets = request.offsets.clone();
        let emitted = request.outputs.len();
        failpoint::hit("before_settle");
        let began_at = Instant::now();
        match self.assignment.membership.begin_commit(request).await {
            Ok(()) => self.commit.begin(InFlightCommit { batch, offsets, passed, emitted, taken_at, began_at }),
            Err(error) => {
                self.commit.cancel();
                self.commit_failed(&batch, &error);
            }
        }
    }

    /// The transaction under way ended. Whatever is uncertain then is consumed again.
    fn commit_ended(&mut self, result: Result<(), Error>) {
        let Some(commit) = self.commit.end() else { return };
        match result {
            Ok(()) => self.committed(commit),
            Err(error) => self.commit_failed(&commit.batch, &error),
        }
    }

    fn committed(&mut self, commit: InFlightCommit<S::Effect>) {
        failpoint::hit("after_settle");
        let InFlightCommit { batch, offsets, passed, emitted, taken_at, began_at } = commit;
        let duration = began_at.elapsed();
        self.commit.succeeded(duration);
        self.context.ports.metrics.commit_took(self.context.stage(), duration.as_secs_f64());
        self.context.breaker.success(Dependency::Log, began_at);
        self.assignment.tracker.committed();
        self.context.refused.committed(&offsets);
        self.assignment.intake.push_passed(passed);
        report_commit(&batch, emitted, taken_at.elapsed(), &self.context, &mut self.summary);
        let effects = batch.into_iter().filter_map(|(_, outcome)| outcome.into_effect());
        self.cleanups.push(effects.filter_map(|effect| self.context.step.staged_object(effect)));
    }

    fn commit_failed(&mut self, batch: &CommitBatch<S::Effect>, error: &Error) {
        self.commit.failed();
        match error.kind() {
            ErrorKind::Fenced => self.fenced(error),
            ErrorKind::Invalid => self.commit_refused(batch, error),
            _ => self.log_call_failed(LogCall::Commit, error),
        }
    }

    /// The log refused a record of a commit, of which nothing was applied. Commits one record at a time until it is known
    /// which, and then a smaller form of that: a dead letter, or a stub of one. Stops if not even the smallest is taken.
    fn commit_refused(&mut self, batch: &CommitBatch<S::Effect>, error: &Error) {
        if let [(ticket, _)] = batch.as_slice()
            && !self.context.refused.refuse(ticket, error)
        {
            return self.stop(WorkerEnd::Failed(FatalFailure::from(error)));
        }
        tracing::warn!(stage = %self.context.stage(), records = batch.len(), error = error.full(),
            "refused: the log does not take a record of this commit; trying its records one at a time, then in smaller forms");
        self.commit.refused();
        self.start_over();
    }

    fn next_poll(&self) -> Instant {
        let has_room = self.takes_records() && self.assignment.tracker.has_room(self.context.options.window());
        self.assignment.membership.next_poll(has_room, self.context.breaker.stops_intake())
    }

    fn takes_records(&self) -> bool {
        self.phase.is_consuming() && self.assignment.intake.is_idle() && !self.context.breaker.stops_intake()
    }

    async fn poll(&mut self) {
        let began = Instant::now();
        self.assignment.membership.poll_began(began);
        self.report_standing();
        if let Err(error) = self.assignment.membership.rewind_if_pending().await {
            return self.log_call_failed(LogCall::Rewind, &error);
        }
        let options = &self.context.options;
        let of_each = self.assignment.limit_poll(self.takes_records(), options.window());
        let is_idle = self.tasks.is_empty() && of_each.is_some() && self.assignment.tracker.in_flight() == 0;
        let wait = if is_idle { options.until.poll_wait() } else { Duration::ZERO };
        match self.assignment.membership.poll(options.batch, of_each, wait).await {
            Ok(poll) => {
                self.context.breaker.success(Dependency::Log, began);
                self.assignment.membership.poll_soon();
                self.handle_poll(poll).await;
            }
            Err(error) if error.kind() == ErrorKind::Fenced => self.fenced(&error),
            Err(error) => self.log_call_failed(LogCall::Poll, &error),
        }
    }

    async fn handle_poll(&mut self, poll: Poll) {
        self.health.set_joined();
        let stage = self.context.stage();
        match poll {
            Poll::Records(records) => {
                self.context.ports.metrics.consumed(stage, records.len() as u64);
                self.assignment.intake.push(records);
            }
            Poll::Assigned(partitions) => {
                PartitionsAssigned { stage, partitions: &partitions }.emit(&self.context.ports.metrics);
                self.assignment.assign(partitions, !self.phase.is_consuming());
            }
            Poll::Revoking(partitions) => self.assignment.revoke(partitions),
            Poll::Lost(partitions) => {
                self.assignment.remove(&partitions);
                PartitionsUnassigned { stage, partitions: &partitions, how: "lost" }.emit(&self.context.ports.metrics);
            }
            Poll::Idle => {
                self.assignment.membership.poll_after_idle();
                self.check_drained().await;
            }
        }
    }

    /// Releases revoked partitions, once nothing of them is in flight or their deadline has passed.
    async fn release_revoked(&mut self) {
        let partitions = self.assignment.releasable();
        if partitions.is_empty() {
            return;
        }
        self.assignment.remove(&partitions);
        let stage = self.context.stage();
        match self.assignment.membership.release(&partitions).await {
            Ok(()) => {
                let metrics = &self.context.ports.metrics;
                PartitionsUnassigned { stage, partitions: &partitions, how: "released" }.emit(metrics);
            }
            Err(error) if error.kind() == ErrorKind::Fenced => self.fenced(&error),
            Err(error) => {
                // The log revokes them by itself when the member is late.
                self.context.dependency_failed("release", &error.full());
                self.context.breaker.failure(Dependency::Log, &error.full());
            }
        }
    }

    /// Ends a worker that runs until drained, when its group is.
    async fn check_drained(&mut self) {
        let Until::Drained { after } = &self.context.options.until else { return };
        let upstream_is_drained = after.as_ref().is_none_or(|drained| *drained.borrow());
        let is_idle = self.assignment.is_idle() && self.commit.is_idle();
        if upstream_is_drained && self.phase.is_consuming() && is_idle && self.context.is_group_drained().await {
            self.drain(WorkerEnd::Drained);
        }
    }

    /// The log fenced this member: nothing in flight can be committed.
    fn fenced(&mut self, error: &Error) {
        self.summary.fenced += 1;
        CommitFenced { stage: self.context.stage(), error: &error.full() }.emit(&self.context.ports.metrics);
        self.start_over();
    }

    /// A call to the log failed, and may have been applied.
    fn log_call_failed(&mut self, call: LogCall, error: &Error) {
        match retry::action_for(error.kind()) {
            // Another worker took this one's name: both would fence each other without end.
            _ if error.kind() == ErrorKind::Locked => self.stop(WorkerEnd::Failed(FatalFailure::from(error))),
            FailureAction::Stop | FailureAction::DeadLetter => {
                self.stop(WorkerEnd::Failed(FatalFailure::from(error)));
            }
            FailureAction::RetryDependency | FailureAction::RetryRecord => {
                self.context.dependency_failed(call.as_str(), &error.full());
                let delay = self.context.breaker.failure(Dependency::Log, &error.full());
                self.assignment.membership.poll_after(delay);
                // A failed poll brought nothing, so that nothing is uncertain. After a failed settle or rewind it is.
                if call != LogCall::Poll {
                    self.start_over();
                }
            }
        }
    }

    /// Drops all work in flight, and consumes again from the committed offsets.
    fn start_over(&mut self) {
        self.start_over_with(BTreeMap::new());
    }

    /// Starts over; `replaces` has the stored claim epochs that this member may replace.
    fn start_over_with(&mut self, replaces: BTreeMap<TopicPartition, MintedEpoch>) {
        self.tasks.abort_all();
        self.commit.reset();
        self.assignment.start_over(!self.phase.is_consuming(), replaces);
    }

    fn report_standing(&self) {
        let partitions = self.assignment.tracker.partitions().len() as u64;
        let in_flight = self.assignment.tracker.in_flight() as u64;
        let is_outage = self.context.breaker.is_open();
        self.context.ports.metrics.worker_state(self.context.stage(), in_flight, partitions, is_outage);
    }

    /// The last calls: complete the claims of what is committed, clean up, leave the group. Best effort, each bounded; the
    /// next owner of a partition completes what is left undone.
    async fn shut_down(self) -> WorkerSummary {
        let Self {
            context, assignment: WorkerAssignment { membership, intake, .. }, tasks, cleanups, mut summary, ..
        } = self;
        drop(tasks);
        let claims = RecordIntake::new(Arc::clone(&context));
        let completed = claims.complete_claims(intake.into_passed());
        let _ = tokio::time::timeout(SHUTDOWN_CALL_TIMEOUT, completed).await;
        let _ = tokio::time::timeout(SHUTDOWN_CALL_TIMEOUT, cleanups.finish()).await;
        if let Ok(Err(error)) = tokio::time::timeout(SHUTDOWN_CALL_TIMEOUT, membership.leave()).await {
            tracing::debug!(error = %error.full(), "the log did not confirm that this member left its group");
        }
        summary.retried = context.retries();
        summary
    }
}
