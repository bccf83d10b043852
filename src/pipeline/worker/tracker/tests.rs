use proptest::prelude::*;

use super::*;
use mfctl_core::domain::names::topics;

fn lane(partition: u32) -> TopicPartition {
    TopicPartition::new(topics::INGEST_RAW, partition)
}

fn key(text: &str) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

struct Bench {
    tracker: Tracker<i64, i64>,
    now: Instant,
}

impl Bench {
    fn new(partitions: u32) -> Self {
        let mut tracker = Tracker::default();
        (0..partitions).for_each(|partition| tracker.open(lane(partition)));
        Self { tracker, now: Instant::now() }
    }

    fn ticket(&self, partition: u32, offset: i64) -> Ticket {
        Ticket { at: lane(partition), epoch: self.tracker.lanes[&lane(partition)].epoch, offset }
    }

    fn admit(&mut self, partition: u32, offset: i64, of: &str) {
        let ticket = self.ticket(partition, offset);
        assert!(self.tracker.admit(&ticket, key(of), 10, Entry::Run(offset)));
    }

    fn next(&mut self) -> Option<Ticket> {
        self.tracker.next(self.now).map(|(ticket, _)| ticket)
    }

    fn taken(&mut self) -> Vec<i64> {
        self.tracker.take_settled(100).into_iter().map(|(_, done)| done).collect()
    }
}

#[test]
fn only_the_contiguous_prefix_settles() {
    let mut bench = Bench::new(1);
    (0..4).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    let tickets: Vec<Ticket> = std::iter::from_fn(|| bench.next()).collect();
    assert!(bench.tracker.finish(&tickets[2], 2, 0));
    assert!(bench.tracker.finish(&tickets[1], 1, 0));
    assert_eq!(bench.taken(), [0i64; 0]);
    assert!(bench.tracker.finish(&tickets[0], 0, 0));
    assert_eq!(bench.taken(), [0, 1, 2]);
    assert!(!bench.tracker.is_idle(&lane(0)), "taken, not yet settled, and one still runs");
}

#[test]
fn records_of_a_key_run_one_after_another_and_others_pass_them() {
    let mut bench = Bench::new(1);
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
fn what_comes_back_after_its_lane_ended_is_not_taken_for_its_successors() {
    let mut bench = Bench::new(1);
    bench.admit(0, 0, "a");
    let old = bench.next().unwrap();
    bench.tracker.reopen_all();
    bench.admit(0, 0, "a");
    assert!(!bench.tracker.finish(&old, 0, 0));
    let new = bench.next().unwrap();
    assert!(bench.tracker.finish(&new, 0, 0));
}

#[test]
fn a_draining_lane_keeps_what_runs_and_forgets_what_waits() {
    let mut bench = Bench::new(1);
    for (offset, of) in [(0, "a"), (1, "a"), (2, "b")] {
        bench.admit(0, offset, of);
    }
    let (a, b) = (bench.next().unwrap(), bench.next().unwrap());
    bench.tracker.drain(&lane(0));
    assert_eq!(bench.tracker.open_epoch(&lane(0)), None);
    assert!(!bench.tracker.finish(&b, 2, 0), "it stands behind one that waits, so it could never settle");
    assert!(bench.tracker.finish(&a, 0, 0));
    assert_eq!(bench.next(), None);
    assert_eq!(bench.taken(), [0]);
    bench.tracker.settled();
    assert!(bench.tracker.all_idle());
    assert_eq!(bench.tracker.in_flight(), 0);
}

#[test]
fn an_abandoned_record_is_never_passed() {
    let mut bench = Bench::new(1);
    (0..3).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    let tickets: Vec<Ticket> = std::iter::from_fn(|| bench.next()).collect();
    bench.tracker.finish(&tickets[0], 0, 0);
    bench.tracker.finish(&tickets[2], 2, 0);
    bench.tracker.abandon(&tickets[1]);
    assert_eq!(bench.taken(), [0]);
    assert_eq!(bench.tracker.running(), 0);
}

#[test]
fn a_lane_is_held_up_only_by_a_slow_first_record_with_many_behind_it() {
    let mut bench = Bench::new(2);
    (0..3).for_each(|offset| bench.admit(0, offset, &offset.to_string()));
    bench.admit(1, 0, "x");
    while bench.next().is_some() {}
    let slow = Duration::from_secs(2);
    assert!(bench.tracker.held_up(bench.now, slow, 3).is_empty());
    assert_eq!(bench.tracker.held_up(bench.now + slow, slow, 3), [lane(0)]);
}

#[test]
fn bytes_are_counted_until_they_are_settled() {
    let mut bench = Bench::new(1);
    bench.admit(0, 0, "a");
    let ticket = bench.next().unwrap();
    bench.tracker.finish(&ticket, 0, 90);
    assert_eq!(bench.tracker.bytes(), 100);
    bench.taken();
    assert_eq!(bench.tracker.bytes(), 100);
    bench.tracker.settled();
    assert_eq!(bench.tracker.bytes(), 0);
}

proptest! {
    /// Whatever the order in which records finish, each settles exactly once and in the order of its partition, and no
    /// two of a key ever run at once.
    #[test]
    fn everything_settles_once_and_in_order(
        records in proptest::collection::vec((0u32..3, 0u8..5), 1..80),
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 400),
    ) {
        let mut bench = Bench::new(3);
        for (offset, (partition, of)) in records.iter().enumerate() {
            bench.admit(*partition, offset as i64, &of.to_string());
        }
        let (mut running, mut settled): (Vec<Ticket>, Vec<(u32, i64)>) = (Vec::new(), Vec::new());
        for pick in picks {
            while running.len() < 4 && let Some(ticket) = bench.next() {
                let of = |t: &Ticket| (t.at.partition, records[t.offset as usize].1);
                prop_assert!(running.iter().all(|other| of(other) != of(&ticket)));
                running.push(ticket);
            }
            if running.is_empty() {
                break;
            }
            let ticket = running.swap_remove(pick.index(running.len()));
            prop_assert!(bench.tracker.finish(&ticket, ticket.offset, 0));
            let taken = bench.tracker.take_settled(7);
            settled.extend(taken.into_iter().map(|(t, done)| (t.at.partition, done)));
            bench.tracker.settled();
        }
        settled.extend(bench.tracker.take_settled(1000).into_iter().map(|(t, done)| (t.at.partition, done)));
        for partition in 0..3 {
            let seen: Vec<i64> = settled.iter().filter(|(p, _)| *p == partition).map(|(_, o)| *o).collect();
            let expected: Vec<i64> =
                (0..records.len()).filter(|at| records[*at].0 == partition).map(|at| at as i64).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
