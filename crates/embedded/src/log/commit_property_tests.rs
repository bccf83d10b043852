//! Two members of one partition, with cancelled calls, a writer that is delayed, evictions, and members that die: no
//! record is committed twice, and none is left out.

use std::time::Duration;

use rusqlite::Connection;

use super::test_log::{POLL_WAIT, TestLog, TestProcess, copies, partition};
use super::{liveness, membership};
use crate::db::{ClosedGate, SqlContext as _};
use crate::locks::FileLock;
use mfctl_core::domain::Record;
use mfctl_core::ports::{FetchLimits, GroupConsumer, Poll};

const ROUNDS: u64 = 24;
const STEPS: usize = 150;
const RECORDS: usize = 40;
/// While calls may be delayed: a write that has not begun by then fails, one that has begun may still be committed.
const REPLY_TIMEOUT: Duration = Duration::from_millis(15);

/// A member with the records that it has read, as a worker keeps them.
struct Worker {
    process: TestProcess,
    name: &'static str,
    member: Option<Box<dyn GroupConsumer>>,
    /// Read and not committed, in order.
    records: Vec<Record>,
    /// How many of them are in the commit that was begun; `None` when none was.
    in_flight: Option<usize>,
    /// Set by a failed or cancelled call, after which nothing is certain but the group's commit.
    must_rewind: bool,
}

impl Worker {
    fn new(site: &TestLog, name: &'static str) -> Self {
        let process = TestProcess::open(site.data.path());
        Self { process, name, member: None, records: Vec::new(), in_flight: None, must_rewind: false }
    }

    /// The partition was assigned or lost: what was read before is another assignment's.
    fn on_assignment(&mut self) {
        self.records.clear();
        self.in_flight = self.in_flight.map(|_| 0);
    }

    /// Drops what was read: it is read again from the group's commit.
    fn start_over(&mut self) {
        self.records.clear();
        self.in_flight = None;
        self.must_rewind = true;
    }

    fn die(&mut self) {
        self.member = None;
        self.start_over();
    }

    async fn join(&mut self) {
        if let Ok(member) = self.process.try_join(self.name).await {
            self.member = Some(member);
            self.must_rewind = false;
        }
    }

    async fn poll(&mut self, random: &mut fastrand::Rng) {
        let Some(member) = &mut self.member else { return };
        if self.must_rewind {
            match cancelled(random, member.rewind()).await {
                Some(Ok(())) => self.must_rewind = false,
                _ => return,
            }
        }
        let limits = FetchLimits { max_records: random.usize(1..8), ..FetchLimits::default() };
        match cancelled(random, member.poll(limits, Duration::ZERO)).await {
            Some(Ok(Poll::Records(records))) => self.records.extend(records),
            Some(Ok(Poll::Assigned(_) | Poll::Lost(_))) => self.on_assignment(),
            Some(Ok(Poll::Revoking(_))) => self.release(random).await,
            // A poll that failed or was cancelled brought nothing.
            Some(Ok(Poll::Idle) | Err(_)) | None => {}
        }
    }

    async fn begin_commit(&mut self, random: &mut fastrand::Rng) {
        let Some(member) = &mut self.member else { return };
        if self.in_flight.is_some() || self.records.is_empty() {
            return;
        }
        let count = random.usize(1..=self.records.len());
        match cancelled(random, member.begin_commit(copies(&self.records[..count]))).await {
            Some(Ok(())) => self.in_flight = Some(count),
            _ => self.start_over(),
        }
    }

    async fn finish_commit(&mut self, random: &mut fastrand::Rng) {
        let Some(member) = &mut self.member else { return };
        let Some(count) = self.in_flight else { return };
        match cancelled(random, member.finish_commit()).await {
            Some(Ok(())) => {
                self.records.drain(..count);
                self.in_flight = None;
            }
            Some(Err(_)) => self.start_over(),
            None if random.bool() => self.start_over(),
            None => {}
        }
    }

    async fn release(&mut self, random: &mut fastrand::Rng) {
        let Some(member) = &mut self.member else { return };
        let _ = cancelled(random, member.release(&[partition("in")])).await;
        self.start_over();
    }

    async fn leave(&mut self, random: &mut fastrand::Rng) {
        let Some(member) = self.member.take() else { return };
        let _ = cancelled(random, member.leave()).await;
        self.start_over();
    }

    async fn step(&mut self, random: &mut fastrand::Rng) {
        match random.u32(0..100) {
            _ if self.member.is_none() => self.join().await,
            0..55 => self.poll(random).await,
            55..75 => self.begin_commit(random).await,
            75..92 => self.finish_commit(random).await,
            92..95 => self.start_over(),
            95..97 => self.release(random).await,
            97..98 => self.leave(random).await,
            98..99 => self.die(),
            _ => {
                let _ = self.process.db.write("evict members", evict_all).await;
            }
        }
    }
}

/// Evicts every member, as another member does that finds them silent.
fn evict_all(tx: &Connection) -> mfctl_core::ports::Result<()> {
    let group_id = tx.query_row("SELECT group_id FROM groups", [], |row| row.get(0)).during("find the group")?;
    membership::evict(tx, group_id, &liveness::members(tx, None)?).map(drop)
}

/// Awaits a call, or drops it at one of its awaits.
async fn cancelled<T>(random: &mut fastrand::Rng, call: impl Future<Output = T>) -> Option<T> {
    match random.u32(0..3) {
        0 => tokio::time::timeout(Duration::from_micros(random.u64(0..3000)), call).await.ok(),
        _ => Some(call.await),
    }
}

/// What delays the writers at the moment.
#[derive(Default)]
struct Delays {
    lock: Option<FileLock>,
    gate: Option<ClosedGate>,
}

impl Delays {
    fn step(&mut self, random: &mut fastrand::Rng, site: &TestLog, workers: &[Worker; 2]) {
        match random.u32(0..24) {
            // Not while a transaction is held, which has the lock.
            0 if self.gate.is_none() && self.lock.is_none() => self.lock = site.try_hold_writer_lock(),
            1 if self.gate.is_none() => {
                let gate = workers[random.usize(0..2)].process.db.commit_gate();
                self.gate = Some(gate.close());
            }
            2..6 => self.lock = None,
            6..10 => self.gate = None,
            _ => {}
        }
    }
}

async fn drain(site: &TestLog) {
    let mut member = site.process.join("last").await;
    while site.committed().await != Some(RECORDS as i64) {
        if let Poll::Records(records) = member.poll(FetchLimits::default(), POLL_WAIT).await.unwrap() {
            member.commit(copies(&records)).await.unwrap();
        }
    }
}

async fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let site = TestLog::with_records(RECORDS).await;
    let mut workers = [Worker::new(&site, "a"), Worker::new(&site, "b")];
    let mut delays = Delays::default();
    for worker in &workers {
        worker.process.db.set_reply_timeout(REPLY_TIMEOUT);
    }
    for _ in 0..STEPS {
        delays.step(&mut random, &site, &workers);
        workers[random.usize(0..2)].step(&mut random).await;
    }
    drop(delays);
    workers.iter_mut().for_each(Worker::die);
    drop(workers);
    drain(&site).await;
    let mut outputs: Vec<usize> = site.outputs().await.iter().map(|text| text.parse().unwrap()).collect();
    outputs.sort_unstable();
    assert_eq!(outputs, (0..RECORDS).collect::<Vec<_>>(), "seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_committed_once_whatever_is_delayed_cancelled_or_evicted() {
    let given = std::env::var("MFCTL_SEED").ok().and_then(|seed| seed.parse().ok());
    let first: u64 = given.unwrap_or_else(|| fastrand::u64(..u64::MAX - ROUNDS));
    let rounds = if given.is_some() { 1 } else { ROUNDS };
    for seed in first..first + rounds {
        println!("MFCTL_SEED={seed}");
        run(seed).await;
    }
}
