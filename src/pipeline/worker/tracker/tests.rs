use proptest::prelude::*;

use super::*;
use mfctl_core::domain::names::topics;

fn at(partition: u32) -> TopicPartition {
    TopicPartition::new(topics::INGEST_RAW, partition)
}

fn key(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

/// A window that holds whatever the tests admit.
const WIDE: FetchLimits = FetchLimits { max_records: 1000, max_bytes: 100_000 };

struct TrackerBench {
    tracker: RecordTracker<i64, i64>,
    window: FetchLimits,
}

impl TrackerBench {
    fn new(partitions: u32) -> Self {
        let mut tracker = RecordTracker::default();
        (0..partitions).for_each(|partition| {
            tracker.assign(at(partition));
        });
        Self { tracker, window: WIDE }
    }

    fn ticket(&self, partition: u32, offset: i64) -> RecordTicket {
        RecordTicket { at: at(partition), assignment: self.tracker.partitions[&at(partition)].assignment, offset }
    }

    fn admit(&mut self, partition: u32, offset: i64, of: &str) {
        let ticket = self.ticket(partition, offset);
        assert!(self.tracker.admit(&ticket, key(of), 10, Admission::Run(offset)));
    }

    fn next(&mut self) -> Option<RecordTicket> {
        self.tracker.next_runnable(self.window).map(|(ticket, _)| ticket)
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
    assert_eq!(bench.tracker.consuming_assignment(&at(0)), None);
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
fn a_partition_is_read_up_to_its_share_of_the_window() {
    let mut bench = TrackerBench::new(4);
    let window = FetchLimits { max_records: 64, max_bytes: 8000 };
    let fresh = FetchLimits { max_records: 16, max_bytes: 2000 };
    assert_eq!(bench.tracker.poll_room(window), PollRoom { full: BTreeSet::new(), of_each: Some(fresh) });
    (0..10).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    let less = FetchLimits { max_records: 6, max_bytes: 1900 };
    assert_eq!(bench.tracker.poll_room(window), PollRoom { full: BTreeSet::new(), of_each: Some(less) });
    // The first never ends; all others are finished and wait for it.
    (10..16).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    for ticket in std::iter::from_fn(|| bench.next()).skip(1).collect::<Vec<_>>() {
        assert!(bench.tracker.finish(&ticket, ticket.offset, 0));
    }
    assert_eq!(bench.taken(), [0i64; 0]);
    assert_eq!(bench.tracker.poll_room(window), PollRoom { full: BTreeSet::from([at(0)]), of_each: Some(fresh) });
}

#[test]
fn every_partition_may_be_full_and_a_commit_makes_room_again() {
    let mut bench = TrackerBench::new(2);
    let window = FetchLimits { max_records: 4, max_bytes: 8000 };
    for partition in 0..2 {
        (0..2).for_each(|offset| bench.admit(partition, offset, &offset.to_string()));
    }
    assert!(!bench.tracker.has_room(window));
    let full = BTreeSet::from([at(0), at(1)]);
    assert_eq!(bench.tracker.poll_room(window), PollRoom { full, of_each: None });
    while let Some(ticket) = bench.next() {
        bench.tracker.finish(&ticket, 0, 0);
    }
    assert_eq!(bench.taken().len(), 4);
    assert!(!bench.tracker.has_room(window), "taken, and not committed yet");
    bench.tracker.committed();
    assert!(bench.tracker.has_room(window));
}

#[test]
fn a_partition_assigned_later_has_its_share_whatever_the_others_hold() {
    let mut bench = TrackerBench::new(1);
    let window = FetchLimits { max_records: 8, max_bytes: 8000 };
    (0..8).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    assert!(!bench.tracker.has_room(window), "the only partition has the whole window");
    bench.tracker.assign(at(1));
    let share = FetchLimits { max_records: 4, max_bytes: 4000 };
    assert_eq!(bench.tracker.poll_room(window), PollRoom { full: BTreeSet::from([at(0)]), of_each: Some(share) });
}

#[test]
fn a_worker_without_partitions_polls_with_the_whole_window() {
    let tracker = RecordTracker::<i64, i64>::default();
    assert!(tracker.has_room(WIDE));
    assert_eq!(tracker.poll_room(WIDE), PollRoom { full: BTreeSet::new(), of_each: Some(WIDE) });
}

#[test]
fn of_a_partition_that_holds_its_share_of_bytes_only_the_first_unfinished_record_runs() {
    let mut bench = TrackerBench::new(2);
    bench.window.max_bytes = 200;
    for partition in 0..2 {
        (0..4).for_each(|offset| bench.admit(partition, offset, &offset.to_string()));
    }
    let first = bench.next().unwrap();
    let other = bench.next().unwrap();
    let second = bench.next().unwrap();
    assert_eq!((first.at.partition, other.at.partition, second.at.partition), (0, 1, 0));
    // A large output behind the first record, which still runs.
    bench.tracker.finish(&second, 1, 90);
    let next: Vec<RecordTicket> = std::iter::from_fn(|| bench.next()).collect();
    assert_eq!(
        next.iter().map(|ticket| (ticket.at.partition, ticket.offset)).collect::<Vec<_>>(),
        [(1, 1), (1, 2), (1, 3)]
    );
    bench.tracker.finish(&first, 0, 0);
    assert_eq!(bench.next().map(|ticket| (ticket.at.partition, ticket.offset)), Some((0, 2)));
    assert_eq!(bench.next(), None, "the partition still holds its share");
    assert_eq!(bench.taken(), [0, 1]);
    bench.tracker.committed();
    assert_eq!(bench.next().map(|ticket| (ticket.at.partition, ticket.offset)), Some((0, 3)));
}

#[test]
fn bytes_are_counted_until_the_commit() {
    let mut bench = TrackerBench::new(1);
    bench.admit(0, 0, "a");
    let ticket = bench.next().unwrap();
    bench.tracker.finish(&ticket, 0, 90);
    assert_eq!(bench.tracker.partitions[&at(0)].bytes(), 100);
    bench.taken();
    assert_eq!(bench.tracker.partitions[&at(0)].bytes(), 100);
    bench.tracker.committed();
    assert_eq!(bench.tracker.partitions[&at(0)].bytes(), 0);
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
