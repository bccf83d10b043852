//! The loop: owns the consumer, the tracker and the worker's phase. Decides and hands out; never waits for a dependency.

mod consumer;
mod drained;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::task::{JoinError, JoinSet};

use super::finish::{Decided, Items};
use super::guard::Guard;
use super::intake::{Admitted, Batch, Work};
use super::tracker::{Ticket, Tracker};
use super::{Ended, Halt, Health, Outcome, Station, Step, Summary, Tuning, Until};
use mfctl_core::domain::{Record, TopicPartition};
use mfctl_core::ports::{ErrorKind, GroupConsumer};
use mfctl_core::stop::Stop;
use mfctl_core::telemetry::events::{DependencyRecovered, WorkerEvent as _, WorkerStopping};

/// A commit is never made smaller than this.
const LEAST_RECORDS: usize = 16;
/// How long a settled record waits for company before it is committed: as long as the commit before took, within these
/// bounds. A commit costs about the same however much it holds, so at most half of the time goes into them.
const LINGER: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How long to wait before polling again when nothing came and there is other work.
const IDLE_GAP: Duration = Duration::from_millis(20);
/// The longest the loop sleeps, so that outages and deadlines are seen in time.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// A first record that runs for longer than this holds its partition up.
const SLOW: Duration = Duration::from_secs(2);
/// How long the last calls may take when everything else is done.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a task comes back with. Intake and settling carry the generation they belong to.
enum Event<S: Step> {
    Admitted(u64, Admitted<S>),
    Ran(Ticket, Result<Decided<S::Effect>, Halt>),
    Finished(u64, Instant, Result<Items<S::Effect>, Halt>),
}

/// Where the worker as a whole stands; partitions have their own states in the tracker.
#[derive(Debug)]
enum Phase {
    Consuming,
    /// Takes nothing in; settles what runs.
    Draining {
        ended: Ended,
        deadline: Instant,
    },
    /// Ends now; what is in flight is done again by whoever comes next.
    Abandoned(Ended),
}

/// A batch that is being committed.
struct Settling<E> {
    items: Items<E>,
    offsets: BTreeMap<TopicPartition, i64>,
    emitted: usize,
    /// When its last steps began, and when its commit did.
    began: Instant,
    called: Instant,
}

/// A running worker.
pub(super) struct Loop<S: Step> {
    cx: Arc<Station<S>>,
    consumer: Box<dyn GroupConsumer>,
    health: Health,
    phase: Phase,
    tracker: Tracker<Box<Work<S::Input>>, Decided<S::Effect>>,
    tasks: JoinSet<Event<S>>,
    tidying: JoinSet<()>,
    generation: u64,
    admitting: bool,
    finishing: bool,
    /// What is being committed; `finishing` as long as it is.
    settling: Option<Settling<S::Effect>>,
    settle_at: Option<Instant>,
    /// How long the last commit took.
    last_commit: Duration,
    /// Records that the next commit holds at most: fewer after one that failed, for it may have been too large to end in
    /// time over this network; twice as many after one that did not.
    commit_records: usize,
    poll_at: Instant,
    polled_at: Instant,
    rewind_first: bool,
    backlog: Vec<Record>,
    assigned: Vec<TopicPartition>,
    committed: BTreeMap<TopicPartition, i64>,
    revoking: BTreeMap<TopicPartition, Instant>,
    paused: BTreeSet<TopicPartition>,
    guard: Guard,
    was_down: bool,
    summary: Summary,
}

impl<S: Step> Loop<S> {
    pub(super) fn new(cx: Arc<Station<S>>, consumer: Box<dyn GroupConsumer>, health: Health) -> Self {
        let now = Instant::now();
        let commit_records = cx.options.commit_records;
        Self {
            cx,
            consumer,
            health,
            phase: Phase::Consuming,
            tracker: Tracker::default(),
            tasks: JoinSet::new(),
            tidying: JoinSet::new(),
            generation: 0,
            admitting: false,
            finishing: false,
            settling: None,
            settle_at: None,
            last_commit: Duration::ZERO,
            commit_records,
            poll_at: now,
            polled_at: now,
            rewind_first: false,
            backlog: Vec::new(),
            assigned: Vec::new(),
            committed: BTreeMap::new(),
            revoking: BTreeMap::new(),
            paused: BTreeSet::new(),
            guard: Guard::default(),
            was_down: false,
            summary: Summary::default(),
        }
    }

    /// Runs to the end.
    pub(super) async fn run(mut self, stop: &Stop) -> Outcome {
        let (stage, tuning) = (self.cx.step.stage(), self.cx.options.tuning.clone());
        // A call to the log may take longer than a stop may.
        let overdue = async {
            let reason = stop.wait().await;
            tokio::time::sleep(tuning.now().drain_timeout + LONGEST_SLEEP).await;
            reason
        };
        let ended = tokio::select! {
            ended = self.turns(stop) => ended,
            reason = overdue => {
                tracing::warn!(%stage, "what is in flight does not end in time, and is done again by who comes next");
                Ended::Asked(reason)
            }
        };
        Outcome { summary: self.farewell().await, ended }
    }

    /// Turns until it is over, and answers why.
    async fn turns(&mut self, stop: &Stop) -> Ended {
        loop {
            self.watch(stop);
            if let Some(ended) = self.end() {
                return ended;
            }
            self.dispatch();
            self.take_in();
            self.begin_settling();
            self.release_revoked().await;
            self.wait(stop).await;
            if Instant::now() >= self.poll_due() {
                self.poll().await;
            }
        }
    }

    /// Hears signals and outages.
    fn watch(&mut self, stop: &Stop) {
        let outage = self.cx.breaker.outage();
        if self.was_down && outage.is_none() {
            DependencyRecovered { stage: self.cx.step.stage() }.emit(&self.cx.ports.metrics);
        }
        self.was_down = outage.is_some();
        self.health.0.breaker_open.store(self.was_down, Ordering::Relaxed);
        if !matches!(self.phase, Phase::Consuming) {
            return;
        }
        if let Some(reason) = stop.requested() {
            self.drain(Ended::Asked(reason));
        } else if let Some(outage) = outage.filter(|outage| outage.lasting >= self.tuning().give_up_after) {
            self.abandon(Ended::GaveUp { error: outage.error });
        }
    }

    /// Whether it is over, and why.
    fn end(&self) -> Option<Ended> {
        match &self.phase {
            Phase::Consuming => None,
            Phase::Abandoned(ended) => Some(ended.clone()),
            Phase::Draining { ended, deadline } => {
                let idle = self.tracker.all_idle() && !self.finishing;
                // With a dependency down nothing more can settle.
                (idle || Instant::now() >= *deadline || self.cx.breaker.is_open()).then(|| ended.clone())
            }
        }
    }

    /// Takes nothing in any more, and ends when what runs is settled. The first reason stands.
    fn drain(&mut self, ended: Ended) {
        if matches!(self.phase, Phase::Consuming) {
            self.announce(&ended);
            self.tracker.drain_all();
            self.backlog.clear();
            let deadline = Instant::now() + self.tuning().drain_timeout;
            self.phase = Phase::Draining { ended, deadline };
        }
    }

    /// Ends at once.
    fn abandon(&mut self, ended: Ended) {
        if !matches!(self.phase, Phase::Abandoned(_)) {
            self.announce(&ended);
            self.phase = Phase::Abandoned(ended);
        }
    }

    fn announce(&self, ended: &Ended) {
        self.health.0.stopping.store(true, Ordering::Relaxed);
        let (stage, in_flight) = (self.cx.step.stage(), self.tracker.in_flight() as u64);
        WorkerStopping { stage, reason: &ended.to_string(), in_flight }.emit(&self.cx.ports.metrics);
    }

    /// Starts what may run. With a dependency down one record goes on trying, so that its return is noticed.
    fn dispatch(&mut self) {
        let options = &self.cx.options;
        let narrow = self.cx.breaker.is_open() || self.tracker.bytes() >= options.window_bytes;
        let limit = if narrow { 1 } else { self.tuning().concurrency };
        let now = Instant::now();
        while self.tracker.running() < limit
            && let Some((ticket, work)) = self.tracker.next(now)
        {
            let cx = Arc::clone(&self.cx);
            self.tasks.spawn(async move { Event::Ran(ticket, cx.run(work).await) });
        }
    }

    /// Hands the records that were read to intake, with what is known to be committed.
    fn take_in(&mut self) {
        let nothing_to_run = self.tasks.is_empty() && !self.committed.is_empty();
        if self.admitting || self.backlog.is_empty() && self.assigned.is_empty() && !nothing_to_run {
            return;
        }
        let records = std::mem::take(&mut self.backlog).into_iter().filter_map(|record| {
            let at = record.topic_partition();
            let epoch = self.tracker.open_epoch(&at)?;
            Some((Ticket { at, epoch, offset: record.address.offset }, record))
        });
        let batch = Batch {
            records: records.collect(),
            assigned: std::mem::take(&mut self.assigned),
            committed: std::mem::take(&mut self.committed),
        };
        let (cx, generation) = (Arc::clone(&self.cx), self.generation);
        self.admitting = true;
        self.tasks.spawn(async move { Event::Admitted(generation, cx.admit(batch).await) });
    }

    /// Starts to settle when enough is settled, when it has waited long enough, or when nothing else is going on.
    fn begin_settling(&mut self) {
        let settleable = self.tracker.settleable();
        if self.finishing || settleable == 0 {
            self.settle_at = None;
            return;
        }
        let now = Instant::now();
        let linger = self.last_commit.clamp(LINGER.0, LINGER.1);
        let due = *self.settle_at.get_or_insert(now + linger);
        let alone = self.tracker.running() == 0 && !self.admitting && self.backlog.is_empty();
        let most = self.commit_records;
        if !alone && settleable < most && now < due {
            return;
        }
        self.settle_at = None;
        let items = self.tracker.take_settled(most);
        if self.guarded(&items) {
            return;
        }
        let (cx, generation) = (Arc::clone(&self.cx), self.generation);
        self.finishing = true;
        self.tasks.spawn(async move { Event::Finished(generation, now, cx.finish(items).await) });
    }

    /// Whether these would cross the dead-letter ratio: then they are not committed, and the worker ends.
    fn guarded(&mut self, items: &Items<S::Effect>) -> bool {
        let limit = self.tuning().dead_letter_ratio;
        let crossed = items.iter().find_map(|(_, decided)| {
            let dead_letter = match decided {
                Decided::Dead(dead) => Some(dead.kind),
                _ => None,
            };
            self.guard.note(dead_letter, limit)
        });
        match crossed {
            Some(crossed) => {
                let (dead_letters, of, mostly) = (crossed.dead_letters, crossed.of, crossed.mostly);
                self.abandon(Ended::Guarded { dead_letters, of, mostly });
                true
            }
            None => false,
        }
    }

    /// Waits for the next event, poll or deadline.
    async fn wait(&mut self, stop: &Stop) {
        let now = Instant::now();
        let until = self.poll_due().min(self.settle_at.unwrap_or(now + LONGEST_SLEEP)).min(now + LONGEST_SLEEP);
        let consuming = matches!(self.phase, Phase::Consuming);
        if let Some(event) = self.tasks.try_join_next() {
            self.handle(event).await;
        } else if until > now {
            tokio::select! {
                Some(event) = self.tasks.join_next(), if !self.tasks.is_empty() => self.handle(event).await,
                outcome = self.consumer.finish_commit(), if self.settling.is_some() => self.settled(outcome),
                () = tokio::time::sleep_until(until.into()) => {}
                _ = stop.wait(), if consuming => {}
            }
        }
        while let Some(event) = self.tasks.try_join_next() {
            self.handle(event).await;
        }
        // Seen also when there is always an event.
        if self.settling.is_some()
            && let Some(outcome) = self.consumer.finish_commit().now_or_never()
        {
            self.settled(outcome);
        }
        while self.tidying.try_join_next().is_some() {}
    }

    async fn handle(&mut self, event: Result<Event<S>, JoinError>) {
        match event {
            Ok(Event::Admitted(generation, admitted)) if generation == self.generation => self.admitted(admitted),
            Ok(Event::Ran(ticket, Ok(decided))) => {
                let weight = decided.weight_bytes();
                self.tracker.finish(&ticket, decided, weight);
            }
            Ok(Event::Ran(ticket, Err(halt))) if self.tracker.is_current(&ticket) => {
                self.tracker.abandon(&ticket);
                self.drain(Ended::Halted(halt));
            }
            Ok(Event::Finished(generation, began, finished)) if generation == self.generation => match finished {
                Ok(items) => self.settle(items, began).await,
                Err(halt) => {
                    self.finishing = false;
                    self.abandon(Ended::Halted(halt));
                }
            },
            Ok(_) => {}
            Err(error) if error.is_cancelled() => {}
            Err(error) => self.abandon(Ended::Halted(Halt {
                kind: ErrorKind::Internal,
                reason: format!("a defect of mfctl: {error}"),
                hint: Some("please report it with this line; nothing uncommitted is lost".into()),
            })),
        }
    }

    fn admitted(&mut self, admitted: Admitted<S>) {
        self.admitting = false;
        for admission in admitted.admissions {
            self.tracker.admit(&admission.ticket, admission.key, admission.bytes, admission.entry);
        }
        if let Some(halt) = admitted.halt {
            self.drain(Ended::Halted(halt));
        }
    }

    /// Forgets all work in flight; the log will bring it again from the committed offsets.
    fn start_over(&mut self) {
        self.generation += 1;
        self.tasks = JoinSet::new();
        (self.admitting, self.finishing, self.rewind_first) = (false, false, true);
        self.settling = None;
        self.backlog.clear();
        self.tracker.reopen_all();
        self.assigned = self.tracker.partitions();
        self.revoking.keys().for_each(|at| self.tracker.drain(at));
        if !matches!(self.phase, Phase::Consuming) {
            self.tracker.drain_all();
        }
    }

    /// The last calls: claims of what is committed, staging, the group. Best effort, bounded: what is left undone is made
    /// up for by the next owner of each partition.
    async fn farewell(self) -> Summary {
        let Self { cx, consumer, tasks, mut tidying, committed, mut summary, .. } = self;
        drop(tasks);
        let _ = tokio::time::timeout(FAREWELL, cx.complete(&[], committed)).await;
        let _ = tokio::time::timeout(FAREWELL, async { while tidying.join_next().await.is_some() {} }).await;
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, consumer.leave()).await {
            tracing::debug!(error = %error.full(), "left the group without its consent");
        }
        summary.retried = cx.retried.load(Ordering::Relaxed);
        summary
    }

    fn tuning(&self) -> Tuning {
        self.cx.options.tuning.now()
    }

    /// Whether the worker ends by itself.
    fn drains(&self) -> bool {
        matches!(self.cx.options.until, Until::Drained { .. })
    }
}
