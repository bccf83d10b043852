//! What goes wrong around a log on Kafka, and what must come of it. The numbers are those of the list of fault cases;
//! broker kills are elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::dead_letter::{FailureClass, FailureContext, dead_letter};
use mfctl_core::domain::{NewRecord, Record, TopicPartition};
use mfctl_core::ports::{CommitRequest, ErrorKind, EventLog, FetchLimits, Poll, Subscription};
use mfctl_kafka::KafkaConfig;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use crate::contract::event_log::{WIDE, all, at, record, soon, spec, text, topic};
use crate::contract::event_log_groups::{Consumer, Story, fill, group, member};
use crate::contract::harness::fails_as;
use crate::kafka::{log, settings};
use crate::stack::env;

const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(100);

/// A log with an empty namespace, and the namespace.
async fn fresh(topics: &[(&str, u32)]) -> (Arc<dyn EventLog>, String) {
    let config = settings("STACK_KAFKA");
    let namespace = config.namespace.clone();
    let log = log(config);
    let specs: Vec<_> = topics.iter().map(|(name, partitions)| spec(name, *partitions)).collect();
    log.create_topics(&specs).await.unwrap();
    (log, namespace)
}

/// Polls until a member has so many partitions.
async fn assigned(consumer: &mut Consumer, partitions: usize) -> BTreeSet<TopicPartition> {
    let mut story = Story::default();
    story.until(consumer, "an assignment", |story| story.owned.len() == partitions).await;
    assert!(story.records.is_empty(), "nothing was published before");
    story.owned
}

/// Polls until so many records came, and settles none.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<Record> {
    let (mut records, end) = (Vec::new(), Instant::now() + PATIENCE);
    while records.len() < count {
        assert!(Instant::now() < end, "{} of {count} records came", records.len());
        if let Poll::Records(more) = consumer.poll(WIDE, STEP).await.unwrap() {
            records.extend(more);
        }
    }
    records
}

fn offsets(records: &[Record]) -> BTreeMap<TopicPartition, i64> {
    records.iter().map(|record| (record.topic_partition(), record.address.offset + 1)).collect()
}

/// One output for each record, as a step makes them.
fn settlement(records: &[Record]) -> CommitRequest {
    let outputs = records.iter().map(|input| record("out", &text(input), &text(input))).collect();
    CommitRequest { outputs, offsets: offsets(records), ..CommitRequest::default() }
}

async fn emitted(log: &dyn EventLog, partitions: u32) -> Vec<String> {
    let mut values = Vec::new();
    for partition in 0..partitions {
        values.extend(all(log, &at("out", partition)).await.iter().map(text));
    }
    values.sort();
    values
}

fn values(count: usize) -> Vec<String> {
    let mut values: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    values.sort();
    values
}

/// A producer that knows nothing of mfctl.
fn stranger(settings: &[(&str, &str)]) -> BaseProducer<DefaultProducerContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", env("STACK_KAFKA"));
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", env("STACK_KAFKA")).create().unwrap()
}

/// Removes what is below an offset, as retention does when it comes by.
async fn take_away(namespace: &str, name: &str, below: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&format!("{namespace}{name}"), 0, Offset::Offset(below)).unwrap();
    admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_01_a_second_producer_of_one_transactional_id_fences_the_first() {
    let (log, _) = fresh(&[("in", 1), ("out", 1)]).await;
    let mut first = member(&log, "same").await;
    assigned(&mut first, 1).await;
    fill(&log, 3).await;
    let records = read(&mut first, 3).await;
    let _second = member(&log, "same").await;
    let error = first.commit(settlement(&records)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{}", error.full());
    assert!(error.hint_text().unwrap().contains("--instance"));
    // However often it tries.
    fails_as(first.commit(settlement(&records)).await, ErrorKind::Locked);
    assert!(emitted(log.as_ref(), 1).await.is_empty());
}

/// A log on a cluster that is played, for answers that no real one can be made to give.
async fn played(mock: &MockCluster<'static, DefaultProducerContext>) -> (Arc<dyn EventLog>, Consumer, Vec<Record>) {
    for name in ["in", "out"] {
        mock.create_topic(name, 1, 1).unwrap();
    }
    let log = log(KafkaConfig::new("profile.test.kafka", mock.bootstrap_servers()));
    let mut consumer = member(&log, "a").await;
    assigned(&mut consumer, 1).await;
    fill(&log, 3).await;
    let records = read(&mut consumer, 3).await;
    (log, consumer, records)
}

/// After a failure: what was read comes again, and is settled.
async fn settles_again(consumer: &mut Consumer) {
    consumer.rewind().await.unwrap();
    let records = read(consumer, 3).await;
    assert_eq!(records.len(), 3);
    consumer.commit(settlement(&records)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_02_a_transaction_that_its_coordinator_timed_out_is_begun_again_by_a_new_producer() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = played(&mock).await;
    mock.broker_round_trip_time(1, Duration::from_secs(4)).unwrap();
    mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    let began = Instant::now();
    let failed = consumer.commit(settlement(&records)).await;
    mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
    assert!(began.elapsed() > Duration::from_secs(14), "{:?}", began.elapsed());
    fails_as(failed, ErrorKind::Fenced);
    settles_again(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_02_the_same_answer_to_a_young_transaction_is_another_workers_doing() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = played(&mock).await;
    mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    fails_as(consumer.commit(settlement(&records)).await, ErrorKind::Locked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_03_a_coordinator_that_gives_the_commit_up_is_a_dependencys_failure_and_passes() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = played(&mock).await;
    mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    let error = consumer.commit(settlement(&records)).await.unwrap_err();
    assert!(error.kind().is_dependency(), "{:?} {}", error.kind(), error.full());
    settles_again(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_04_a_transaction_that_is_unknown_to_the_partition_is_begun_again() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = played(&mock).await;
    mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    let error = consumer.commit(settlement(&records)).await.unwrap_err();
    assert!(error.kind().is_dependency(), "{:?} {}", error.kind(), error.full());
    settles_again(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_is_tried_again_within_the_settlement() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = played(&mock).await;
    use RDKafkaRespErr as Code;
    let passing = [Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR];
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &passing);
    mock.request_errors(RDKafkaApiKey::AddPartitionsToTxn, &[Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS]);
    mock.request_errors(RDKafkaApiKey::EndTxn, &passing);
    mock.request_errors(RDKafkaApiKey::Produce, &[Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS]);
    consumer.commit(settlement(&records)).await.unwrap();
}

/// confluentinc/librdkafka#5040: the process went down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_are_asked_for_while_the_coordinator_moves_are_told() {
    let mock = MockCluster::new(1).unwrap();
    let (log, mut consumer, records) = played(&mock).await;
    consumer.commit(settlement(&records)).await.unwrap();
    let moving = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    mock.request_errors(RDKafkaApiKey::OffsetFetch, &[moving, moving]);
    assert_eq!(log.progress(&group(), &[topic("in")]).await.unwrap().len(), 1);
}

/// A client that asked once went on asking the broker that was the coordinator then, for ten minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_went_to_another_broker_is_found_there() {
    let mock = MockCluster::new(3).unwrap();
    mock.create_topic("in", 1, 1).unwrap();
    let log = log(KafkaConfig::new("profile.test.kafka", mock.bootstrap_servers()));
    for broker in [1, 2, 3, 1] {
        mock.coordinator(MockCoordinator::Group(group().to_string()), broker).unwrap();
        let told = tokio::time::timeout(Duration::from_secs(30), log.progress(&group(), &[topic("in")])).await;
        assert_eq!(told.expect("an answer in time").unwrap().len(), 1, "broker {broker}");
    }
}

/// confluentinc/librdkafka#5586: the partition was never read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_given_while_the_coordinator_moves_is_read_all_the_same() {
    let mock = MockCluster::new(1).unwrap();
    for name in ["in", "out"] {
        mock.create_topic(name, 1, 1).unwrap();
    }
    let log = log(KafkaConfig::new("profile.test.kafka", mock.bootstrap_servers()));
    fill(&log, 3).await;
    mock.request_errors(RDKafkaApiKey::OffsetFetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR]);
    let mut consumer = member(&log, "a").await;
    assigned(&mut consumer, 1).await;
    assert_eq!(read(&mut consumer, 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_went_on_fences_the_settlement_and_the_next_one_is_whole() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = played(&mock).await;
    let gone = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[gone]);
    fails_as(consumer.commit(settlement(&records)).await, ErrorKind::Fenced);
    settles_again(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_05_what_is_aborted_after_it_was_produced_is_invisible_and_read_again() {
    let (log, namespace) = fresh(&[("in", 1), ("out", 1)]).await;
    let narrow = format!("{namespace}narrow");
    let new = NewTopic::new(&narrow, 1, TopicReplication::Fixed(3)).set("max.message.bytes", "1000");
    admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
    let mut consumer = member(&log, "a").await;
    assigned(&mut consumer, 1).await;
    fill(&log, 5).await;
    let records = read(&mut consumer, 5).await;

    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(5000).collect();
    let mut bad = settlement(&records);
    bad.outputs.push(record("narrow", "k", &noise));
    fails_as(consumer.commit(bad).await, ErrorKind::Invalid);
    assert!(emitted(log.as_ref(), 1).await.is_empty());
    assert_eq!(log.progress(&group(), &[topic("in")]).await.unwrap()[0].committed, None);

    consumer.rewind().await.unwrap();
    let again = read(&mut consumer, 5).await;
    assert_eq!(again, records);
    consumer.commit(settlement(&again)).await.unwrap();
    soon(log.as_ref(), &at("out", 0), 5).await;
    assert_eq!(emitted(log.as_ref(), 1).await, values(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_08_offset_gaps_are_not_loss() {
    let (log, namespace) = fresh(&[("in", 1), ("out", 1)]).await;
    let wire = format!("{namespace}in");
    let id = format!("{namespace}stranger");
    let writer = stranger(&[("transactional.id", &id), ("linger.ms", "0")]);
    tokio::task::block_in_place(|| {
        writer.init_transactions(PATIENCE).unwrap();
        for n in 0..10 {
            writer.begin_transaction().unwrap();
            writer.send(BaseRecord::<str, str>::to(&wire).payload(&n.to_string()).key("k")).unwrap();
            match n % 2 {
                0 => writer.commit_transaction(PATIENCE).unwrap(),
                _ => {
                    writer.flush(PATIENCE).unwrap();
                    writer.abort_transaction(PATIENCE).unwrap();
                }
            }
        }
    });
    let mut consumer = member(&log, "a").await;
    let records = read(&mut consumer, 5).await;
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["0", "2", "4", "6", "8"]);
    assert!(!log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end);
    consumer.commit(settlement(&records)).await.unwrap();
    // What follows the last record is an aborted one and markers.
    let progress = log.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress[0].at_end && progress[0].committed.unwrap() < progress[0].span.high, "{progress:?}");
    assert_eq!(all(log.as_ref(), &at("in", 0)).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_is_something_left() {
    let (log, namespace) = fresh(&[("in", 1)]).await;
    let wire = format!("{namespace}in");
    let id = format!("{namespace}stranger");
    let writer = stranger(&[("transactional.id", &id), ("linger.ms", "0")]);
    let left = async || !log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end;
    assert!(!left().await);
    tokio::task::block_in_place(|| {
        writer.init_transactions(PATIENCE).unwrap();
        writer.begin_transaction().unwrap();
        writer.send(BaseRecord::<str, str>::to(&wire).payload("1").key("k")).unwrap();
        writer.flush(PATIENCE).unwrap();
    });
    assert!(left().await);
    assert!(log.fetch(&at("in", 0), 0, WIDE).await.unwrap().records.is_empty(), "it may yet be aborted");
    tokio::task::block_in_place(|| writer.abort_transaction(PATIENCE).unwrap());
    let end = Instant::now() + PATIENCE;
    while left().await {
        assert!(Instant::now() < end, "an aborted transaction leaves nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_10_what_is_taken_away_unsettled_is_not_committed_and_comes_to_the_next() {
    let (log, _) = fresh(&[("in", 2), ("out", 1)]).await;
    let mut first = member(&log, "a").await;
    assigned(&mut first, 2).await;
    fill(&log, 40).await;
    let unsettled = read(&mut first, 40).await;
    let mut second = member(&log, "b").await;
    let mut story = Story::default();
    let asked_for = loop {
        story.step(&mut second).await;
        if let Poll::Revoking(partitions) = first.poll(WIDE, STEP).await.unwrap() {
            break partitions;
        }
    };
    first.release(&asked_for).await.unwrap();
    fails_as(first.commit(settlement(&unsettled)).await, ErrorKind::Fenced);
    let expected = unsettled.iter().filter(|r| asked_for.contains(&r.topic_partition())).count();
    let end = Instant::now() + PATIENCE;
    while story.records.len() < expected {
        assert!(Instant::now() < end, "{} of {expected}", story.records.len());
        story.step(&mut second).await;
        assert!(!matches!(first.poll(WIDE, STEP).await.unwrap(), Poll::Records(_)), "it has read all of the others");
    }
    assert!(emitted(log.as_ref(), 1).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_11_what_a_killed_worker_left_open_is_undone_when_it_comes_back() {
    let (log, namespace) = fresh(&[("in", 1), ("out", 1)]).await;
    fill(&log, 3).await;
    let id = format!("{namespace}{}.a", group());
    let killed = stranger(&[("transactional.id", &id), ("linger.ms", "0"), ("transaction.timeout.ms", "600000")]);
    let wire = format!("{namespace}out");
    tokio::task::block_in_place(|| {
        killed.init_transactions(PATIENCE).unwrap();
        killed.begin_transaction().unwrap();
        killed.send(BaseRecord::<str, str>::to(&wire).payload("half").key("k")).unwrap();
        killed.flush(PATIENCE).unwrap();
    });
    // It goes without a word; its transaction would stay open for ten minutes.
    std::mem::forget(killed);
    let mut consumer = member(&log, "a").await;
    let records = read(&mut consumer, 3).await;
    consumer.commit(settlement(&records)).await.unwrap();
    soon(log.as_ref(), &at("out", 0), 3).await;
    assert_eq!(emitted(log.as_ref(), 1).await, values(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_12_a_member_that_takes_nothing_in_stays_a_member() {
    let (log, _) = fresh(&[("in", 2), ("out", 1)]).await;
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("in")],
        instance: "slow".into(),
        session_timeout: Duration::from_secs(6),
    };
    let mut consumer = log.subscribe(subscription).await.unwrap();
    let owned: Vec<_> = assigned(&mut consumer, 2).await.into_iter().collect();
    fill(&log, 100).await;
    consumer.pause(&owned);
    let end = Instant::now() + Duration::from_secs(14);
    while Instant::now() < end {
        let polled = consumer.poll(FetchLimits { max_records: 1, max_bytes: 1 }, STEP).await.unwrap();
        assert!(matches!(polled, Poll::Idle), "{polled:?}");
    }
    consumer.resume(&owned);
    let records = read(&mut consumer, 100).await;
    assert_eq!(records.len(), 100);
    consumer.commit(settlement(&records)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_13_poison_goes_to_its_dead_letter_topic_and_the_partition_advances() {
    let (log, _) = fresh(&[("in", 1), ("in.dlq", 1), ("out", 1)]).await;
    let mut consumer = member(&log, "a").await;
    assigned(&mut consumer, 1).await;
    fill(&log, 3).await;
    let records = read(&mut consumer, 3).await;
    let why = FailureContext {
        group: "mfctl.test.stage",
        kind: "malformed",
        class: FailureClass::Permanent,
        message: "not JSON",
        attempts: 1,
        first_failed_at: records[1].timestamp,
        last_failed_at: records[1].timestamp,
        worker: "a",
    };
    let mut settlement = settlement(&records);
    settlement.outputs.remove(1);
    settlement.dead_letters.push(dead_letter(&records[1], &why));
    consumer.commit(settlement).await.unwrap();
    let dead = soon(log.as_ref(), &at("in.dlq", 0), 1).await;
    assert_eq!((dead.len(), &dead[0].key, &dead[0].value), (1, &records[1].key, &records[1].value));
    assert_eq!(soon(log.as_ref(), &at("out", 0), 2).await.len(), 2);
    assert!(log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end);
}

/// A member that was asked for partitions, and then put out before it answered: librdkafka says nothing of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_put_out_while_it_is_asked_for_partitions_loses_all_of_them() {
    let (log, _) = fresh(&[("in", 4), ("out", 1)]).await;
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("in")],
        instance: "silent".into(),
        session_timeout: Duration::from_secs(6),
    };
    let mut silent = log.subscribe(subscription).await.unwrap();
    assigned(&mut silent, 4).await;
    fill(&log, 40).await;
    let unsettled = read(&mut silent, 40).await;
    let mut other = member(&log, "other").await;
    let mut story = Story::default();
    let asked_for = loop {
        story.step(&mut other).await;
        if let Poll::Revoking(partitions) = silent.poll(WIDE, STEP).await.unwrap() {
            break partitions;
        }
    };
    assert_eq!(asked_for.len(), 2);
    // It has heard the question and says nothing, until the other one has all.
    story.until(&mut other, "everything", |story| story.owned.len() == 4 && story.records.len() == 40).await;
    fails_as(silent.commit(settlement(&unsettled)).await, ErrorKind::Fenced);
    silent.release(&asked_for).await.unwrap();
    let (mut lost, mut owned) = (BTreeSet::new(), BTreeSet::new());
    let end = Instant::now() + PATIENCE;
    while owned.len() != 2 || story.owned.len() != 2 {
        assert!(Instant::now() < end, "{owned:?} and {:?}", story.owned);
        story.step(&mut other).await;
        match silent.poll(WIDE, STEP).await.unwrap() {
            Poll::Lost(partitions) => {
                owned.retain(|at| !partitions.contains(at));
                lost.extend(partitions);
            }
            Poll::Assigned(partitions) => owned.extend(partitions),
            Poll::Revoking(partitions) => {
                owned.retain(|at| !partitions.contains(at));
                silent.release(&partitions).await.unwrap();
            }
            Poll::Records(records) => panic!("{} records that another settled come again", records.len()),
            Poll::Idle => {}
        }
    }
    assert_eq!(lost.len() + asked_for.len(), 4, "what it was not asked for was lost");
    assert!(owned.is_disjoint(&story.owned));
    assert!(emitted(log.as_ref(), 1).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_meets_what_retention_took_as_the_contract_says() {
    let (log, namespace) = fresh(&[("in", 1)]).await;
    fill(&log, 10).await;
    let mut consumer = member(&log, "a").await;
    let records = read(&mut consumer, 10).await;
    consumer.commit(CommitRequest { offsets: offsets(&records[..2]), ..CommitRequest::default() }).await.unwrap();
    consumer.leave().await.unwrap();
    take_away(&namespace, "in", 6).await;
    let fetched = log.fetch(&at("in", 0), 0, WIDE).await.unwrap();
    assert_eq!((fetched.span.low, fetched.records.len(), fetched.records[0].address.offset), (6, 4, 6));
    // A commit below the start: on from the start, and no more lag than there is.
    let mut consumer = member(&log, "a").await;
    let rest = read(&mut consumer, 4).await;
    assert_eq!((rest.len(), rest[0].address.offset), (4, 6));
    take_away(&namespace, "in", 10).await;
    assert!(log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_is_cut_off_goes_on_and_nothing_overtakes_it() {
    let (log, _) = fresh(&[("in", 2), ("out", 2)]).await;
    let mut consumer = member(&log, "a").await;
    assigned(&mut consumer, 2).await;
    fill(&log, 400).await;
    let end = Instant::now() + PATIENCE * 2;
    let mut cut = 0;
    let limits = FetchLimits { max_records: 20, ..WIDE };
    loop {
        assert!(Instant::now() < end, "{cut} cut off");
        match consumer.poll(limits, STEP).await.unwrap() {
            Poll::Records(records) => {
                let patience = Duration::from_millis(fastrand::u64(0..30));
                if tokio::time::timeout(patience, consumer.commit(settlement(&records))).await.is_err() {
                    cut += 1;
                    // Whether it was committed, a rewind knows.
                    consumer.rewind().await.unwrap();
                }
            }
            Poll::Idle if log.progress(&group(), &[topic("in")]).await.unwrap().iter().all(|p| p.at_end) => break,
            _ => {}
        }
    }
    assert!(cut > 0, "none was cut off");
    assert_eq!(emitted(log.as_ref(), 2).await, values(400));
}

/// A worker of the churn: reads, settles one output for each input, is cut off, drops dead, comes back.
async fn churn(log: Arc<dyn EventLog>, instance: String, seed: u64, until: Instant) {
    let mut random = fastrand::Rng::with_seed(seed);
    while Instant::now() < until {
        let mut consumer = member(&log, &instance).await;
        let lives_until = (Instant::now() + Duration::from_millis(random.u64(1500..6000))).min(until);
        while Instant::now() < lives_until {
            work(&mut consumer, &mut random).await;
        }
        match random.bool() {
            true => consumer.leave().await.unwrap(),
            false => drop(consumer),
        }
    }
}

/// One turn of such a worker.
async fn work(consumer: &mut Consumer, random: &mut fastrand::Rng) {
    let limits = FetchLimits { max_records: random.usize(1..60), ..WIDE };
    match consumer.poll(limits, STEP).await.unwrap() {
        Poll::Records(records) => {
            let settling = consumer.commit(settlement(&records));
            let cut = Duration::from_millis(if random.u8(0..4) == 0 { random.u64(0..20) } else { 60_000 });
            match tokio::time::timeout(cut, settling).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::Fenced || error.kind().is_dependency() => {
                    consumer.rewind().await.unwrap();
                }
                Ok(Err(error)) => panic!("{:?} {}", error.kind(), error.full()),
                Err(_) => consumer.rewind().await.unwrap(),
            }
        }
        Poll::Revoking(partitions) => consumer.release(&partitions).await.unwrap(),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn members_that_come_go_die_and_are_cut_off_emit_each_input_once() {
    let given = std::env::var("MFCTL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| fastrand::u64(..));
    println!("MFCTL_SEED={seed}");
    let (log, _) = fresh(&[("in", 6), ("out", 3)]).await;
    let until = Instant::now() + Duration::from_secs(25);
    let workers: Vec<_> =
        (0..3).map(|n| tokio::spawn(churn(Arc::clone(&log), format!("w/{n}"), seed.wrapping_add(n), until))).collect();
    let mut published = 0;
    while Instant::now() + Duration::from_secs(5) < until {
        let batch: Vec<NewRecord> =
            (published..published + 50).map(|n| record("in", &format!("k{}", n % 97), &n.to_string())).collect();
        published += batch.len();
        log.publish(batch).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let mut last = member(&log, "last").await;
    let mut random = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + PATIENCE * 2;
    while !log.progress(&group(), &[topic("in")]).await.unwrap().iter().all(|p| p.at_end) {
        assert!(Instant::now() < end, "not drained");
        work(&mut last, &mut random).await;
    }
    assert_eq!(emitted(log.as_ref(), 3).await, values(published));
}
