//! Dead-letter topics that are created again, or mirrored, while the ledger lives on.

use mfctl::dlq::list::{self, DeadLetterFilter};
use mfctl::dlq::report::RunTally;
use mfctl::dlq::run::{DlqAction, DlqRun};
use mfctl::dlq::selection::Selection;
use mfctl_core::domain::names::topics::{MEDIA_INGESTED, REDRIVE_LEDGER};
use mfctl_core::domain::{NewRecord, Record, Timestamp};
use mfctl_core::events::dead_letters::DeadLetterWatch;
use mfctl_core::stop::Stop;
use serde_json::Value;

use super::dlq::{Platform, event, redrive};

/// Number of dead letters, before and after.
const LETTERS: usize = 5;

/// What a ledger entry says of the record it is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EntryAge {
    /// What this release writes.
    Current,
    /// The address alone: what the releases before wrote, a day before the topic was created again.
    AddressAlone,
}

/// A log whose dead-letter topic was created again: the ledger has an entry for each address of `LETTERS` new dead letters.
async fn recreated(age: EntryAge) -> Platform {
    let before = Platform::new().await;
    before.dead_letter((0..LETTERS).map(event).collect()).await;
    assert_eq!(before.redrive_all().await.redriven, LETTERS as u64);
    let after = Platform::new().await;
    let entries = before.all_records(&REDRIVE_LEDGER).await.into_iter().map(|entry| aged(entry, age));
    after.ports.log.publish(entries.collect()).await.unwrap();
    let later = |number| NewRecord { timestamp: plus_seconds(event(number).timestamp, 1), ..event(number) };
    after.dead_letter((0..LETTERS).map(later).collect()).await;
    let addresses = |records: Vec<Record>| records.into_iter().map(|record| record.address).collect::<Vec<_>>();
    let dead_letters = MEDIA_INGESTED.dead_letters();
    let of = [before.all_records(&dead_letters).await, after.all_records(&dead_letters).await].map(addresses);
    assert_eq!(of[0], of[1], "the new dead letters are at the addresses of the old ones");
    after
}

fn aged(entry: Record, age: EntryAge) -> NewRecord {
    let mut value = entry.value;
    if age == EntryAge::AddressAlone {
        let mut json: Value = serde_json::from_slice(value.as_deref().unwrap()).unwrap();
        let fields = json.as_object_mut().unwrap();
        fields.retain(|field, _| !["dead_lettered_at", "topic_id"].contains(&field.as_str()));
        let at: Timestamp = fields["at"].as_str().unwrap().parse().unwrap();
        fields["at"] = plus_seconds(at, -24 * 60 * 60).to_string().into();
        value = Some(json.to_string().into());
    }
    let partition = Some(entry.address.partition);
    let Record { address, key, headers, timestamp, .. } = entry;
    NewRecord { topic: address.topic, partition, key, value, headers, timestamp }
}

fn plus_seconds(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap()
}

/// Runs over every dead letter.
async fn run(platform: &Platform, run: &DlqRun) -> RunTally {
    let snapshot = platform.snapshot(&Selection::All).await;
    let finished = platform.execute(run, &snapshot, &Stop::never(), |_| {}).await;
    assert!(finished.failed.is_none(), "{finished:?}");
    finished.tally
}

/// Dead letters in all, and those without a decision, as the list shows them.
async fn listed(platform: &Platform) -> (usize, usize) {
    let ledger = platform.ledger().await;
    let (mut all, mut unresolved) = (0, 0);
    let log = platform.ports.log.as_ref();
    list::for_each_dead_letter::<mfctl_core::ports::Error>(log, &ledger, &DeadLetterFilter::default(), |letter| {
        all += 1;
        unresolved += usize::from(letter.resolution.is_none());
        Ok(())
    })
    .await
    .unwrap();
    (all, unresolved)
}

/// Unresolved dead letters, and whether the time of the oldest is known.
async fn counted(platform: &Platform, watch: &mut DeadLetterWatch) -> (u64, bool) {
    let counts = watch.refresh(platform.ports.log.as_ref()).await.unwrap();
    let counts = counts.into_iter().find(|counts| counts.topic == MEDIA_INGESTED.dead_letters()).unwrap();
    assert_eq!(counts.total, LETTERS as u64);
    (counts.unresolved, counts.oldest_unresolved_at.is_some())
}

async fn new_dead_letters_are_unresolved_until_they_are_decided_on(age: EntryAge, action: DlqAction) {
    let platform = recreated(age).await;
    let mut watch = DeadLetterWatch::default();
    assert_eq!(listed(&platform).await, (LETTERS, LETTERS));
    assert_eq!(counted(&platform, &mut watch).await, (LETTERS as u64, true));
    let action = DlqRun { action, ..redrive() };
    let snapshot = platform.snapshot(&Selection::All).await;
    let planned = action.dry_run(&snapshot, platform.ports.log.as_ref(), &platform.kept).await.unwrap();
    assert_eq!((planned.done(), planned.skipped_resolved), (LETTERS as u64, 0));

    let first = run(&platform, &DlqRun { limit: Some(2), ..action.clone() }).await;
    assert_eq!((first.done(), first.skipped_resolved), (2, 0));
    assert_eq!(counted(&platform, &mut watch).await, (LETTERS as u64 - 2, true));
    let second = run(&platform, &action).await;
    assert_eq!((second.done(), second.skipped_resolved), (LETTERS as u64 - 2, 2));
    assert_eq!(counted(&platform, &mut watch).await, (0, false));
    assert_eq!(listed(&platform).await, (LETTERS, 0));
    assert_eq!(run(&platform, &redrive()).await.skipped_resolved, LETTERS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_a_recreated_topic_are_redriven() {
    new_dead_letters_are_unresolved_until_they_are_decided_on(EntryAge::Current, redrive().action).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_a_recreated_topic_are_discarded() {
    let discard = DlqAction::Discard { reason: "test upload".to_owned() };
    new_dead_letters_are_unresolved_until_they_are_decided_on(EntryAge::Current, discard).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_earlier_releases_do_not_resolve_dead_letters_of_a_recreated_topic() {
    new_dead_letters_are_unresolved_until_they_are_decided_on(EntryAge::AddressAlone, redrive().action).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_an_emptier_recreated_topic_resolve_nothing_of_it() {
    let before = Platform::new().await;
    before.dead_letter((0..LETTERS).map(event).collect()).await;
    before.redrive_all().await;
    let after = Platform::new().await;
    let entries = before.all_records(&REDRIVE_LEDGER).await.into_iter().map(|entry| aged(entry, EntryAge::Current));
    after.ports.log.publish(entries.collect()).await.unwrap();
    let only = NewRecord { timestamp: plus_seconds(event(0).timestamp, 1), ..event(0) };
    after.dead_letter(vec![only]).await;
    let counts = DeadLetterWatch::default().refresh(after.ports.log.as_ref()).await.unwrap();
    let unresolved: u64 = counts.iter().map(|counts| counts.unresolved).sum();
    assert_eq!(unresolved, 1);
}
