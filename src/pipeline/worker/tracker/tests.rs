use proptest::prelude::*;

use super::*;
use mfctl_core::domain::names::topics;

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new(topics::INGEST_RAW, partition)
}

fn key(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

struct TrackerBench {
    tracker: RecordTracker<i64, i64>,
    now: Instant,
}

impl TrackerBench {
    fn new(partitions: u32) -> Self {
        let mut tracker = RecordTracker::default();
        (0..partitions).for_each(|partition| tracker.assign(at(partition)));
        Self { tracker, now: Instant::now() }
    }

    fn ticket(&self, partition: u32, offset: i64) -> RecordTicket {
        RecordTicket { at: at(partition), epoch: self.tracker.partitions[&at(partition)].epoch, offset }
    }

    fn admit(&mut self, partition: u32, offset: i64, of: &str) {
        let ticket = self.ticket(partition, offset);
        assert!(self.tracker.admit(&ticket, key(of), 10, Admission::Run(offset)));
    }

    fn next(&mut self) -> Option<RecordTicket> {
        self.tracker.next_runnable(self.now).map(|(ticket, _)| ticket)
    }

    fn taken(&mut self) -> Vec<i64> {
        self.tracker.take_committable(100).into_iter().map(|(_, done)| done).collect()
    }
}

#[test]
fn only_the_contiguous_prefix_is_committable() {
    let mut bench = TrackerBench::new(1);
    (0..4).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    let tickets: Vec<RecordTicket> = std::iter::from_fn(|| bench.next()).collect();
    assert!(bench.tracker.finish(&tickets[2], 2, 0));
    assert!(bench.tracker.finish(&tickets[1], 1, 0));
    assert_eq!(bench.taken(), [0i64; 0]);
    assert!(bench.tracker.finish(&tickets[0], 0, 0));
    assert_eq!(bench.taken(), [0, 1, 2]);
    assert!(!bench.tracker.is_idle(&at(0)), "taken, not yet committed, and one still runs");
}

#[test]
fn records_of_one_key_run_in_order_and_other_keys_overtake_them() {
    let mut bench = TrackerBench::new(1);
    for (offset, of) in [(0, "a"), (1, "a"), (2, "b"), (3, "a")] {
        bench.admit(0, offset, of);
    }
    let first = bench.next().unwrap();
    assert_eq!((first.offset, bench.next().unwrap().offset, bench.next()), (0, 2, None));
    bench.tracker.finish(&first, 0, 0);
    let second = bench.next().unwrap();
    assert_eq!((second.offset, bench.next()), (1, None));
}

#[test]
fn a_result_of_an_earlier_assignment_is_stale() {
    let mut bench = TrackerBench::new(1);
    bench.admit(0, 0, "a");
    let old = bench.next().unwrap();
    bench.tracker.reassign_all();
    bench.admit(0, 0, "a");
    assert!(!bench.tracker.finish(&old, 0, 0));
    let new = bench.next().unwrap();
    assert!(bench.tracker.finish(&new, 0, 0));
}

#[test]
fn a_draining_partition_finishes_running_records_and_drops_waiting_ones() {
    let mut bench = TrackerBench::new(1);
    for (offset, of) in [(0, "a"), (1, "a"), (2, "b")] {
        bench.admit(0, offset, of);
    }
    let a = bench.next().unwrap();
    let b = bench.next().unwrap();
    bench.tracker.drain(&at(0));
    assert_eq!(bench.tracker.consuming_epoch(&at(0)), None);
    assert!(!bench.tracker.finish(&b, 2, 0), "it follows a waiting record, so it could never be committed");
    assert!(bench.tracker.finish(&a, 0, 0));
    assert_eq!(bench.next(), None);
    assert_eq!(bench.taken(), [0]);
    bench.tracker.committed();
    assert!(bench.tracker.all_idle());
    assert_eq!(bench.tracker.in_flight(), 0);
}

#[test]
fn a_commit_never_skips_the_record_a_partition_drains_before() {
    let mut bench = TrackerBench::new(1);
    (0..3).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    let tickets: Vec<RecordTicket> = std::iter::from_fn(|| bench.next()).collect();
    bench.tracker.finish(&tickets[0], 0, 0);
    bench.tracker.finish(&tickets[2], 2, 0);
    bench.tracker.drain_before(&tickets[1]);
    assert_eq!(bench.taken(), [0]);
    assert_eq!(bench.tracker.running(), 0);
}

#[test]
fn a_partition_is_blocked_by_a_slow_first_record_with_many_after_it() {
    let mut bench = TrackerBench::new(2);
    (0..3).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    bench.admit(1, 0, "x");
    while bench.next().is_some() {}
    let slow = Duration::from_secs(2);
    assert!(bench.tracker.blocked(bench.now, slow, 3).is_empty());
    assert_eq!(bench.tracker.blocked(bench.now + slow, slow, 3), [at(0)]);
}

#[test]
fn bytes_are_counted_until_the_commit() {
    let mut bench = TrackerBench::new(1);
    bench.admit(0, 0, "a");
    let ticket = bench.next().unwrap();
    bench.tracker.finish(&ticket, 0, 90);
    assert_eq!(bench.tracker.bytes(), 100);
    bench.taken();
    assert_eq!(bench.tracker.bytes(), 100);
    bench.tracker.committed();
    assert_eq!(bench.tracker.bytes(), 0);
}

proptest! {
    /// Whatever the order in which records finish, each is committed exactly once and in the order of its partition, and
    /// no two records of a key run at the same time.
    #[test]
    fn every_record_is_committed_once_and_in_order(
        records in proptest::collection::vec((0u32..3, 0u8..5), 1..80),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 400),
    ) {
        let mut bench = TrackerBench::new(3);
        for (offset, (partition, of)) in records.iter().enumerate() {
            bench.admit(*partition, offset as i64, &of.to_string());
        }
        let mut running: Vec<RecordTicket> = Vec::new();
        let mut committed: Vec<(u32, i64)> = Vec::new();
        for pick in picks {
            while running.len() < 4 && let Some(ticket) = bench.next() {
                let of = |t: &RecordTicket| (t.at.partition, records[t.offset as usize].1);
                prop_assert!(running.iter().all(|other| of(other) != of(&ticket)));
                running.push(ticket);
            }
            if running.is_empty() {
                break;
            }
            let ticket = running.swap_remove(pick.index(running.len()));
            prop_assert!(bench.tracker.finish(&ticket, ticket.offset, 0));
            let taken = bench.tracker.take_committable(7);
            committed.extend(taken.into_iter().map(|(t, done)| (t.at.partition, done)));
            bench.tracker.committed();
        }
        committed.extend(bench.tracker.take_committable(1000).into_iter().map(|(t, done)| (t.at.partition, done)));
        for partition in 0..3 {
            let seen: Vec<i64> = committed.iter().filter(|(p, _)| *p == partition).map(|(_, o)| *o).collect();
            let expected: Vec<i64> =
                (0..records.len()).filter(|at| records[*at].0 == partition).map(|at| at as i64).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
