//! Redrive and discard on the embedded log: parking, snapshots of the selection, fencing, limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use mfctl::dlq::decide::{RedriveRules, SkipReason};
use mfctl::dlq::kept::KeptRecords;
use mfctl::dlq::list::{self, DeadLetterFilter, ErrorGroups};
use mfctl::dlq::report::RunTally;
use mfctl::dlq::run::{DlqAction, DlqRun, DlqRunResult};
use mfctl::dlq::selection::{Selection, SelectionSnapshot};
use mfctl_core::domain::dead_letter::{self, Resolution};
use mfctl_core::domain::dead_letter_stub::{self, DeadLetterStub, StubSize};
use mfctl_core::domain::names::Buckets;
use mfctl_core::domain::names::topics::{MEDIA_INGESTED, PIPELINE};
use mfctl_core::domain::{EnvName, NewRecord, ObjectRef, Record, RecordAddress, Timestamp, TopicName};
use mfctl_core::domain::{kept_record, object_keys};
use mfctl_core::events::dead_letters::DeadLetterWatch;
use mfctl_core::events::ledger::Ledger;
use mfctl_core::events::pager::Pager;
use mfctl_core::events::topics;
use mfctl_core::ports::{ErrorKind, Ports, PutOptions, SystemClock};
use mfctl_core::stop::{Stop, StopReason};
use mfctl_embedded::OpenMode;

use crate::pipeline::dead_letter_records::{self, dead_letter_of, failure_of, stored_record};

pub(super) struct Platform {
    pub(super) ports: Ports,
    pub(super) kept: KeptRecords,
    _data: tempfile::TempDir,
}

impl Platform {
    pub(super) async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let ports = mfctl_embedded::open(data.path(), OpenMode::MayCreate, clock).await.unwrap();
        ports.log.create_topics(&topics::contract(6, topics::Retention::default())).await.unwrap();
        let buckets = Buckets::of(&EnvName::new("dev").unwrap()).unwrap();
        ports.objects.create_buckets(&buckets.all().map(Clone::clone)).await.unwrap();
        let kept = KeptRecords::new(Arc::clone(&ports.objects), &buckets);
        Self { ports, kept, _data: data }
    }

    pub(super) async fn all_records(&self, topic: &TopicName) -> Vec<Record> {
        let mut found = Vec::new();
        for partition in self.ports.log.offsets(std::slice::from_ref(topic)).await.unwrap() {
            let mut pager = Pager::whole(&partition);
            while let Some(records) = pager.next_page(self.ports.log.as_ref()).await.unwrap() {
                found.extend(records);
            }
        }
        found
    }

    /// Publishes events and a dead letter of each; returns the addresses of the dead letters.
    pub(super) async fn dead_letter(&self, events: Vec<NewRecord>) -> Vec<RecordAddress> {
        let addresses = self.ports.log.publish(events.clone()).await.unwrap();
        let dead = events
            .into_iter()
            .zip(addresses)
            .map(|(event, address)| dead_letter_of(&stored_record(event, address)))
            .collect();
        self.ports.log.publish(dead).await.unwrap()
    }

    pub(super) async fn snapshot(&self, selection: &Selection) -> SelectionSnapshot {
        SelectionSnapshot::capture(selection, self.ports.log.as_ref()).await.unwrap()
    }

    pub(super) async fn execute(
        &self,
        run: &DlqRun,
        snapshot: &SelectionSnapshot,
        stop: &Stop,
        progress: impl FnMut(&RunTally),
    ) -> DlqRunResult {
        let Ports { log, clock, .. } = &self.ports;
        run.execute(snapshot, log.as_ref(), &self.kept, clock.as_ref(), stop, progress).await
    }

    pub(super) async fn redrive_all(&self) -> RunTally {
        let snapshot = self.snapshot(&Selection::All).await;
        let finished = self.execute(&redrive(), &snapshot, &Stop::never(), |_| {}).await;
        assert!(finished.failed.is_none() && finished.stopped.is_none(), "{finished:?}");
        finished.tally
    }

    pub(super) async fn ledger(&self) -> Ledger {
        Ledger::load(self.ports.log.as_ref()).await.unwrap()
    }
}

pub(super) fn event(number: usize) -> NewRecord {
    dead_letter_records::ingested_event(number, "dev")
}

pub(super) fn redrive() -> DlqRun {
    let env = EnvName::new("dev").unwrap();
    let topics = PIPELINE.into_iter().collect();
    DlqRun {
        id: uuid::Uuid::now_v7().to_string(),
        actor: "operator@host".to_owned(),
        env: env.clone(),
        action: DlqAction::Redrive(RedriveRules {
            env,
            max_redrives: 3,
            from_parked: false,
            topics,
            limits_compressed_records: false,
        }),
        limit: None,
        rate: None,
    }
}

fn values(records: &[Record]) -> Vec<String> {
    let mut values: Vec<String> =
        records.iter().map(|r| String::from_utf8_lossy(r.value.as_deref().unwrap()).into_owned()).collect();
    values.sort();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letter_is_parked_after_three_redrives() {
    let platform = Platform::new().await;
    platform.dead_letter(vec![event(1)]).await;
    for round in 1..=3 {
        let tally = platform.redrive_all().await;
        assert_eq!((tally.redriven, tally.parked, tally.skipped_resolved), (1, 0, round - 1), "round {round}");
        let sent = platform.all_records(&MEDIA_INGESTED).await.pop().unwrap();
        let mark = dead_letter::RedriveMark::of(&sent.headers).unwrap();
        assert_eq!(u64::from(mark.count), round);
        assert_eq!(sent.headers.0.len(), 3, "headers do not grow: {:?}", sent.headers);
        platform.ports.log.publish(vec![dead_letter_of(&sent)]).await.unwrap();
    }
    let tally = platform.redrive_all().await;
    assert_eq!((tally.redriven, tally.parked, tally.skipped_resolved), (0, 1, 3));
    assert_eq!(platform.all_records(&MEDIA_INGESTED).await.len(), 4, "the parked one was not sent");
    let parked = platform.all_records(&MEDIA_INGESTED.parked()).await.pop().unwrap();
    assert_eq!(parked.headers.text("__dlq.errors.kind"), Some("parser_limit"));
    assert_eq!(platform.redrive_all().await.done(), 0, "everything is resolved");

    let ids = Selection::Ids(vec![parked.address.clone()]);
    let snapshot = platform.snapshot(&ids).await;
    let refused = platform.execute(&redrive(), &snapshot, &Stop::never(), |_| {}).await.tally;
    assert_eq!((refused.redriven, refused.skipped[0].reason), (0, SkipReason::Parked));
    let mut from_parked = redrive();
    if let DlqAction::Redrive(rules) = &mut from_parked.action {
        rules.from_parked = true;
    }
    let sent = platform.execute(&from_parked, &snapshot, &Stop::never(), |_| {}).await.tally;
    assert_eq!(sent.redriven, 1);
    let entry = platform.ledger().await.entry(platform.ports.log.as_ref(), &parked).await.unwrap().unwrap();
    assert_eq!((entry.resolution, entry.sent_to), (Resolution::Redriven, Some(MEDIA_INGESTED)));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_after_the_snapshot_are_not_redriven() {
    let platform = Platform::new().await;
    platform.dead_letter((0..20).map(event).collect()).await;
    let snapshot = platform.snapshot(&Selection::All).await;
    let planned = redrive().dry_run(&snapshot, platform.ports.log.as_ref(), &platform.kept).await.unwrap();
    platform.dead_letter((20..40).map(event).collect()).await;
    let finished = platform.execute(&redrive(), &snapshot, &Stop::never(), |_| {}).await;
    assert_eq!((planned.redriven, finished.tally.redriven), (20, 20));
    assert_eq!(platform.redrive_all().await.redriven, 20, "later dead letters belong to the next run");
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_redrive_fences_the_older_without_duplicates() {
    let platform = Arc::new(Platform::new().await);
    platform.dead_letter((0..50).map(event).collect()).await;
    let (began, first_chunk) = tokio::sync::oneshot::channel();
    let slow = {
        let platform = Arc::clone(&platform);
        tokio::spawn(async move {
            let snapshot = platform.snapshot(&Selection::All).await;
            let run = DlqRun { rate: Some(5), ..redrive() };
            let mut began = Some(began);
            platform
                .execute(&run, &snapshot, &Stop::never(), |_| {
                    if let Some(began) = began.take() {
                        began.send(()).unwrap();
                    }
                })
                .await
        })
    };
    first_chunk.await.unwrap();
    let second = platform.redrive_all().await;
    let first = slow.await.unwrap();
    assert_eq!(first.failed.unwrap().kind(), ErrorKind::Fenced);
    assert_eq!(first.tally.redriven + second.redriven, 50);
    assert!(first.tally.redriven > 0 && second.skipped_resolved == first.tally.redriven);
    let sent = platform.all_records(&MEDIA_INGESTED).await;
    let sent: Vec<Record> = sent.into_iter().filter(|r| dead_letter::RedriveMark::of(&r.headers).is_some()).collect();
    let mut wanted: Vec<String> = (0..50).map(|number| format!("value {number}")).collect();
    wanted.sort();
    assert_eq!(values(&sent), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_redrive_is_resumed_without_duplicates() {
    let platform = Platform::new().await;
    platform.dead_letter((0..30).map(event).collect()).await;
    let (stopper, stop) = Stop::channel();
    let snapshot = platform.snapshot(&Selection::All).await;
    let run = DlqRun { rate: Some(4), ..redrive() };
    let finished = platform
        .execute(&run, &snapshot, &stop, |_| {
            stopper.stop(StopReason::Interrupted);
        })
        .await;
    let done = finished.tally.redriven;
    assert_eq!(finished.stopped, Some(StopReason::Interrupted));
    assert!((1..=4).contains(&done), "one chunk of at most four was sent: {done}");
    let rest = platform.redrive_all().await;
    assert_eq!((rest.redriven, rest.skipped_resolved), (30 - done, done));
    assert_eq!(platform.all_records(&MEDIA_INGESTED).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_redrives_the_first_dead_letters_and_leaves_the_rest() {
    let platform = Platform::new().await;
    platform.dead_letter((0..30).map(event).collect()).await;
    let snapshot = platform.snapshot(&Selection::All).await;
    let run = DlqRun { limit: Some(7), ..redrive() };
    let planned = run.dry_run(&snapshot, platform.ports.log.as_ref(), &platform.kept).await.unwrap();
    let finished = platform.execute(&run, &snapshot, &Stop::never(), |_| {}).await;
    assert_eq!((planned.redriven, finished.tally.redriven), (7, 7));
    assert_eq!(platform.redrive_all().await.redriven, 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn redrive_by_id_reports_missing_dead_letters() {
    let platform = Platform::new().await;
    let ids = platform.dead_letter((0..10).map(event).collect()).await;
    let nowhere: RecordAddress = "media.ingested.dlq:0:99999".parse().unwrap();
    let no_partition: RecordAddress = "media.ingested.dlq:77:0".parse().unwrap();
    let chosen = vec![ids[3].clone(), ids[7].clone(), ids[3].clone(), nowhere.clone(), no_partition.clone()];
    let snapshot = platform.snapshot(&Selection::Ids(chosen)).await;
    let tally = platform.execute(&redrive(), &snapshot, &Stop::never(), |_| {}).await.tally;
    assert_eq!((tally.redriven, tally.selected), (2, 4));
    let mut skipped: Vec<_> = tally.skipped.iter().map(|skipped| (skipped.id.clone(), skipped.reason)).collect();
    skipped.sort();
    assert_eq!(skipped, [(nowhere, SkipReason::NotFound), (no_partition, SkipReason::NotFound)]);
    let ledger = platform.ledger().await;
    let letters = platform.all_records(&MEDIA_INGESTED.dead_letters()).await;
    let resolved = letters.iter().filter(|letter| ledger.get(letter).is_some());
    let resolved: BTreeSet<_> = resolved.map(|letter| letter.address.clone()).collect();
    assert_eq!(resolved, BTreeSet::from([ids[3].clone(), ids[7].clone()]));
    let no_dlq = Selection::Ids(vec!["media.ingested:0:0".parse().unwrap()]);
    let refused = SelectionSnapshot::capture(&no_dlq, platform.ports.log.as_ref()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn discarded_dead_letter_keeps_its_reason_and_is_not_redriven() {
    let platform = Platform::new().await;
    let ids = platform.dead_letter((0..3).map(event).collect()).await;
    let snapshot = platform.snapshot(&Selection::Ids(vec![ids[0].clone()])).await;
    let run = DlqRun { action: DlqAction::Discard { reason: "test upload".to_owned() }, ..redrive() };
    let tally = platform.execute(&run, &snapshot, &Stop::never(), |_| {}).await.tally;
    assert_eq!(tally.discarded, 1);
    let letters = platform.all_records(&MEDIA_INGESTED.dead_letters()).await;
    let discarded = letters.iter().find(|letter| letter.address == ids[0]).unwrap();
    let entry = platform.ledger().await.entry(platform.ports.log.as_ref(), discarded).await.unwrap().unwrap();
    assert_eq!((entry.resolution, entry.reason.as_deref()), (Resolution::Discarded, Some("test upload")));
    assert_eq!((entry.actor.as_str(), entry.run), ("operator@host", run.id));
    let tally = platform.redrive_all().await;
    assert_eq!((tally.redriven, tally.skipped_resolved), (2, 1));
}

/// A dead letter that holds only the head of its record, which is kept in the object store.
async fn publish_stub(platform: &Platform, event: &Record) -> DeadLetterStub {
    let encoded = kept_record::encode(event);
    let buckets = Buckets::of(&EnvName::new("dev").unwrap()).unwrap();
    let key = object_keys::kept_record(&event.address, &encoded.sha256, 1);
    let object = ObjectRef { bucket: buckets.kept_records().clone(), key };
    let bytes = Arc::new(encoded.bytes.clone());
    platform.ports.objects.put(&object, bytes, PutOptions::default()).await.unwrap();
    let failure = failure_of(event);
    let stub = dead_letter_stub::stub(event, &failure, &encoded, &object, StubSize::Usual);
    let address = platform.ports.log.publish(vec![stub.clone()]).await.unwrap().remove(0);
    DeadLetterStub::of(&stored_record(stub, address)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_record_is_redriven_whole_and_its_object_deleted() {
    let platform = Platform::new().await;
    let mut large = event(1);
    large.value = Some(vec![b'v'; 200_000].into());
    large.headers.push("large", vec![b'h'; 10_000]);
    let address = platform.ports.log.publish(vec![large.clone()]).await.unwrap().remove(0);
    let stub = publish_stub(&platform, &stored_record(large.clone(), address)).await;
    platform.dead_letter(vec![event(2), event(3)]).await;

    let snapshot = platform.snapshot(&Selection::All).await;
    let planned = redrive().dry_run(&snapshot, platform.ports.log.as_ref(), &platform.kept).await.unwrap();
    assert_eq!(planned.redriven, 3);
    assert!(platform.ports.objects.head(&stub.object).await.unwrap().is_some());
    assert_eq!(platform.redrive_all().await.redriven, 3);
    assert!(platform.ports.objects.head(&stub.object).await.unwrap().is_none());

    let all = platform.all_records(&MEDIA_INGESTED).await;
    let mut sent = all.into_iter().find(|record| record.key == large.key && record.headers.0.len() == 4).unwrap();
    assert_eq!(dead_letter::RedriveMark::of(&sent.headers).unwrap().count, 1);
    sent.headers.0.pop();
    assert!(sent.value == large.value && sent.headers == large.headers, "byte for byte");
    assert_eq!(platform.redrive_all().await.skipped_resolved, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn stub_without_its_headers_is_never_sent() {
    let platform = Platform::new().await;
    let large = event(1);
    let address = platform.ports.log.publish(vec![large.clone()]).await.unwrap().remove(0);
    publish_stub(&platform, &stored_record(large, address)).await;
    let mut stub = platform.all_records(&MEDIA_INGESTED.dead_letters()).await.remove(0);
    stub.headers.remove_where(|name| name.starts_with("__dlq.stub."));
    let Record { address, key, value, headers, timestamp } = stub;
    let copy = NewRecord { topic: address.topic, partition: None, key, value, headers, timestamp };
    let copy = platform.ports.log.publish(vec![copy]).await.unwrap().remove(0);
    let tally = platform.redrive_all().await;
    assert_eq!(tally.redriven, 1, "the one with its headers");
    let skipped: Vec<_> = tally.skipped.iter().map(|skipped| (skipped.id.clone(), skipped.reason)).collect();
    assert_eq!(skipped, [(copy, SkipReason::SourceMismatch)]);
}

fn dead_letter_with_headers(headers: &[(&'static str, &[u8])]) -> NewRecord {
    let mut record = event(9);
    record.topic = MEDIA_INGESTED.dead_letters();
    headers.iter().for_each(|(name, value)| record.headers.push(*name, value.to_vec()));
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_dead_letters_are_listed_and_mismatched_ones_skipped() {
    let platform = Platform::new().await;
    let spring = [
        ("kafka_dlt-original-topic", &b"media.ingested"[..]),
        ("kafka_dlt-original-partition", &5i32.to_be_bytes()),
        ("kafka_dlt-original-offset", &99i64.to_be_bytes()),
        ("kafka_dlt-exception-fqcn", b"java.lang.IllegalStateException"),
    ];
    let connect = [
        ("__connect.errors.topic", &b"media.ingested"[..]),
        ("__connect.errors.partition", b"1"),
        ("__connect.errors.offset", b"7"),
        ("__connect.errors.exception.class.name", b"DataException"),
    ];
    let share = [
        ("__dlq.errors.topic", &b"media.ingested"[..]),
        ("__dlq.errors.partition", b"2"),
        ("__dlq.errors.offset", b"8"),
        ("__dlq.errors.message", b"rejected"),
    ];
    let streams = [("__streams.errors.topic", &b"media.ingested"[..]), ("__streams.errors.exception", b"Serde")];
    let elsewhere = [("__dlq.errors.topic", &b"mfctl.audit"[..])];
    let nonsense = [("__dlq.errors.topic", &b"\xff\xfe"[..]), ("__dlq.errors.offset", b"-1")];
    let records = vec![
        dead_letter_with_headers(&spring),
        dead_letter_with_headers(&connect),
        dead_letter_with_headers(&share),
        dead_letter_with_headers(&streams),
        dead_letter_with_headers(&elsewhere),
        dead_letter_with_headers(&nonsense),
    ];
    platform.ports.log.publish(records).await.unwrap();

    let ledger = platform.ledger().await;
    let mut groups = ErrorGroups::default();
    let mut formats = Vec::new();
    let log = platform.ports.log.as_ref();
    list::for_each_dead_letter::<mfctl_core::ports::Error>(log, &ledger, &DeadLetterFilter::default(), |letter| {
        formats.push(letter.error.format.clone());
        groups.add(letter);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(formats, ["spring", "connect", "kip-1191", "streams", "kip-1191", "kip-1191"]);
    assert_eq!(groups.finish().0.iter().map(|group| group.unresolved).sum::<u64>(), 6);

    let tally = platform.redrive_all().await;
    assert_eq!(tally.redriven, 4);
    let reasons: Vec<SkipReason> = tally.skipped.iter().map(|skipped| skipped.reason).collect();
    assert_eq!(reasons, [SkipReason::SourceMismatch, SkipReason::SourceMismatch]);
    assert_eq!(platform.all_records(&TopicName::known("mfctl.audit")).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unresolved_counts_follow_the_ledger() {
    let platform = Platform::new().await;
    let mut watch = DeadLetterWatch::default();
    let log = platform.ports.log.as_ref();
    let dlq = MEDIA_INGESTED.dead_letters();
    let of = |counts: Vec<mfctl_core::events::dead_letters::DeadLetterCounts>| {
        let found = counts.into_iter().find(|counts| counts.topic == dlq).unwrap();
        (found.total, found.unresolved, found.oldest_unresolved_at.is_some())
    };
    assert_eq!(of(watch.refresh(log).await.unwrap()), (0, 0, false));
    platform.dead_letter((0..5).map(event).collect()).await;
    assert_eq!(of(watch.refresh(log).await.unwrap()), (5, 5, true));
    let snapshot = platform.snapshot(&Selection::All).await;
    platform.execute(&DlqRun { limit: Some(2), ..redrive() }, &snapshot, &Stop::never(), |_| {}).await;
    assert_eq!(of(watch.refresh(log).await.unwrap()), (5, 3, true));
    platform.redrive_all().await;
    assert_eq!(of(watch.refresh(log).await.unwrap()), (5, 0, false));
    platform.dead_letter(vec![event(6)]).await;
    assert_eq!(of(watch.refresh(log).await.unwrap()), (6, 1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn list_since_a_time_omits_older_dead_letters() {
    let platform = Platform::new().await;
    let mut old = dead_letter_of(&stored_record(event(1), "media.ingested:0:0".parse().unwrap()));
    old.timestamp = "2020-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    platform.ports.log.publish(vec![old]).await.unwrap();
    platform.dead_letter(vec![event(2)]).await;
    let ledger = platform.ledger().await;
    let filter =
        DeadLetterFilter { since: Some("2021-01-01T00:00:00Z".parse().unwrap()), ..DeadLetterFilter::default() };
    let mut found = 0;
    list::for_each_dead_letter::<mfctl_core::ports::Error>(platform.ports.log.as_ref(), &ledger, &filter, |_| {
        found += 1;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(found, 1);
}
