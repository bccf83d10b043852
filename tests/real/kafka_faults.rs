//! Faults around the event log on Kafka. The numbers are those of the list of fault cases; broker kills are in `outages`.

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
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use crate::contract::event_log::{WIDE, all_records, record, spec, text, topic, topic_partition, wait_for_records};
use crate::contract::group_member::{Consumer, MemberHistory, group, join, join_with_session, publish_numbers};
use crate::contract::harness::fails_as;
use crate::kafka::{log, settings};
use crate::stack::env;

const TIMEOUT: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(100);

/// A log with a new namespace and these topics, and the namespace.
pub async fn log_with_topics(topics: &[(&str, u32)]) -> (Arc<dyn EventLog>, String) {
    let config = settings("STACK_KAFKA");
    let namespace = config.namespace.clone();
    let log = log(config);
    let specs: Vec<_> = topics.iter().map(|(name, partitions)| spec(name, *partitions)).collect();
    log.create_topics(&specs).await.unwrap();
    (log, namespace)
}

/// Polls until the member owns this many partitions.
pub async fn assigned(consumer: &mut Consumer, partitions: usize) -> BTreeSet<TopicPartition> {
    let mut history = MemberHistory::default();
    history.until(consumer, "an assignment", |history| history.owned.len() == partitions).await;
    assert!(history.records.is_empty(), "nothing was published before");
    history.owned
}

/// Polls until `count` records have arrived, and commits none.
pub async fn read_records(consumer: &mut Consumer, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let end = Instant::now() + TIMEOUT;
    while records.len() < count {
        assert!(Instant::now() < end, "{} of {count} records", records.len());
        if let Poll::Records(more) = consumer.poll(WIDE, STEP).await.unwrap() {
            records.extend(more);
        }
    }
    records
}

pub fn offsets(records: &[Record]) -> BTreeMap<TopicPartition, i64> {
    records.iter().map(|record| (record.topic_partition(), record.address.offset + 1)).collect()
}

/// A commit with one output for each record.
pub fn commit_request(records: &[Record]) -> CommitRequest {
    let outputs = records.iter().map(|input| record("out", &text(input), &text(input))).collect();
    CommitRequest { outputs, offsets: offsets(records), ..CommitRequest::default() }
}

async fn emitted(log: &dyn EventLog, partitions: u32) -> Vec<String> {
    let mut values = Vec::new();
    for partition in 0..partitions {
        values.extend(all_records(log, &topic_partition("out", partition)).await.iter().map(text));
    }
    values.sort();
    values
}

fn values(count: usize) -> Vec<String> {
    let mut values: Vec<String> = (0..count).map(|n| n.to_string()).collect();
    values.sort();
    values
}

/// A producer independent of mfctl.
fn independent_producer(settings: &[(&str, &str)]) -> BaseProducer<DefaultProducerContext> {
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

/// Deletes the records below an offset, as retention does.
async fn delete_records_below(namespace: &str, name: &str, below: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&format!("{namespace}{name}"), 0, Offset::Offset(below)).unwrap();
    admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_01_second_producer_of_a_transactional_id_fences_the_first() {
    let (log, _) = log_with_topics(&[("in", 1), ("out", 1)]).await;
    let mut first = join(&log, "same").await;
    assigned(&mut first, 1).await;
    publish_numbers(&log, 3).await;
    let records = read_records(&mut first, 3).await;
    let _second = join(&log, "same").await;
    let error = first.commit(commit_request(&records)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{}", error.full());
    assert!(error.hint_text().unwrap().contains("--instance"));
    // A repeated commit fails, too.
    fails_as(first.commit(commit_request(&records)).await, ErrorKind::Locked);
    assert!(emitted(log.as_ref(), 1).await.is_empty());
}

/// A log on a mock cluster, for responses that a real one cannot be made to give, with three records read.
pub async fn on_mock_cluster(
    mock: &MockCluster<'static, DefaultProducerContext>,
) -> (Arc<dyn EventLog>, Consumer, Vec<Record>) {
    on_mock_cluster_with_session(mock, Duration::from_secs(10)).await
}

async fn on_mock_cluster_with_session(
    mock: &MockCluster<'static, DefaultProducerContext>,
    session: Duration,
) -> (Arc<dyn EventLog>, Consumer, Vec<Record>) {
    for name in ["in", "out"] {
        mock.create_topic(name, 1, 1).unwrap();
    }
    let log = log(KafkaConfig::new("profile.test.kafka", mock.bootstrap_servers()));
    let mut consumer = join_with_session(&log, "a", session).await;
    assigned(&mut consumer, 1).await;
    publish_numbers(&log, 3).await;
    let records = read_records(&mut consumer, 3).await;
    (log, consumer, records)
}

/// Rewinds after a failure; the records are redelivered and committed.
async fn rewind_and_commit(consumer: &mut Consumer) {
    consumer.rewind().await.unwrap();
    let records = read_records(consumer, 3).await;
    assert_eq!(records.len(), 3);
    consumer.commit(commit_request(&records)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_02_transaction_timed_out_by_its_coordinator_is_retried_by_a_new_producer() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = on_mock_cluster(&mock).await;
    mock.broker_round_trip_time(1, Duration::from_secs(4)).unwrap();
    mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    let began = Instant::now();
    let failed = consumer.commit(commit_request(&records)).await;
    mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
    assert!(began.elapsed() > Duration::from_secs(14), "{:?}", began.elapsed());
    fails_as(failed, ErrorKind::Fenced);
    rewind_and_commit(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_02_invalid_epoch_of_a_young_transaction_means_another_worker() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = on_mock_cluster(&mock).await;
    mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    fails_as(consumer.commit(commit_request(&records)).await, ErrorKind::Locked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_03_commit_abandoned_by_the_coordinator_is_a_transient_dependency_failure() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = on_mock_cluster(&mock).await;
    mock.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    let error = consumer.commit(commit_request(&records)).await.unwrap_err();
    assert!(error.kind().is_dependency(), "{:?} {}", error.kind(), error.full());
    rewind_and_commit(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_04_transaction_unknown_to_the_partition_is_retried() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = on_mock_cluster(&mock).await;
    mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TXN_STATE]);
    let error = consumer.commit(commit_request(&records)).await.unwrap_err();
    assert!(error.kind().is_dependency(), "{:?} {}", error.kind(), error.full());
    rewind_and_commit(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_errors_are_retried_within_a_commit() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = on_mock_cluster(&mock).await;
    use RDKafkaRespErr as Code;
    let passing = [Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR];
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &passing);
    mock.request_errors(RDKafkaApiKey::AddPartitionsToTxn, &[Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS]);
    mock.request_errors(RDKafkaApiKey::EndTxn, &passing);
    mock.request_errors(RDKafkaApiKey::Produce, &[Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS]);
    consumer.commit(commit_request(&records)).await.unwrap();
}

/// Regression test for confluentinc/librdkafka#5040, which crashed the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_read_while_the_coordinator_moves() {
    let mock = MockCluster::new(1).unwrap();
    let (log, mut consumer, records) = on_mock_cluster(&mock).await;
    consumer.commit(commit_request(&records)).await.unwrap();
    let moving = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    mock.request_errors(RDKafkaApiKey::OffsetFetch, &[moving, moving]);
    assert_eq!(log.progress(&group(), &[topic("in")]).await.unwrap().len(), 1);
}

/// A client used to ask the former coordinator for ten minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinator_that_moved_to_another_broker_is_found() {
    let mock = MockCluster::new(3).unwrap();
    mock.create_topic("in", 1, 1).unwrap();
    let log = log(KafkaConfig::new("profile.test.kafka", mock.bootstrap_servers()));
    for broker in [1, 2, 3, 1] {
        mock.coordinator(MockCoordinator::Group(group().to_string()), broker).unwrap();
        let progress = tokio::time::timeout(Duration::from_secs(30), log.progress(&group(), &[topic("in")])).await;
        assert_eq!(progress.expect("an answer in time").unwrap().len(), 1, "broker {broker}");
    }
}

/// Regression test for confluentinc/librdkafka#5586, where the partition was never read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partition_assigned_while_the_coordinator_moves_is_read() {
    let mock = MockCluster::new(1).unwrap();
    for name in ["in", "out"] {
        mock.create_topic(name, 1, 1).unwrap();
    }
    let log = log(KafkaConfig::new("profile.test.kafka", mock.bootstrap_servers()));
    publish_numbers(&log, 3).await;
    mock.request_errors(RDKafkaApiKey::OffsetFetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR]);
    let mut consumer = join(&log, "a").await;
    assigned(&mut consumer, 1).await;
    assert_eq!(read_records(&mut consumer, 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_member_id_fences_the_commit_and_the_next_one_succeeds() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = on_mock_cluster(&mock).await;
    let unknown_member = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[unknown_member]);
    fails_as(consumer.commit(commit_request(&records)).await, ErrorKind::Fenced);
    rewind_and_commit(&mut consumer).await;
}

/// Under its current generation a member may commit any partition: the broker does not check who owns it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_is_fenced_when_its_partition_was_lost_and_assigned_again_under_the_same_member_id() {
    use RDKafkaRespErr as Code;
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = on_mock_cluster_with_session(&mock, Duration::from_secs(6)).await;
    // Holds back the transaction until the member has rejoined.
    mock.request_errors(RDKafkaApiKey::Produce, &[Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 100]);
    consumer.begin_commit(commit_request(&records)).await.unwrap();
    // Makes the member rejoin with its member id.
    mock.request_errors(RDKafkaApiKey::Heartbeat, &[Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]);
    let end = Instant::now() + TIMEOUT;
    let mut is_lost = false;
    loop {
        assert!(Instant::now() < end, "not assigned again");
        match consumer.poll(WIDE, STEP).await.unwrap() {
            Poll::Lost(_) => is_lost = true,
            Poll::Assigned(partitions) if is_lost && !partitions.is_empty() => break,
            _ => {}
        }
    }
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]);
    mock.clear_request_errors(RDKafkaApiKey::Produce);
    fails_as(consumer.finish_commit().await, ErrorKind::Fenced);
    mock.clear_request_errors(RDKafkaApiKey::TxnOffsetCommit);
    rewind_and_commit(&mut consumer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_05_aborted_outputs_are_invisible_and_their_inputs_redelivered() {
    let (log, namespace) = log_with_topics(&[("in", 1), ("out", 1)]).await;
    let narrow = format!("{namespace}narrow");
    let new = NewTopic::new(&narrow, 1, TopicReplication::Fixed(3)).set("max.message.bytes", "1000");
    admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
    let mut consumer = join(&log, "a").await;
    assigned(&mut consumer, 1).await;
    publish_numbers(&log, 5).await;
    let records = read_records(&mut consumer, 5).await;

    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(5000).collect();
    let mut bad = commit_request(&records);
    bad.outputs.push(record("narrow", "k", &noise));
    fails_as(consumer.commit(bad).await, ErrorKind::Invalid);
    assert!(emitted(log.as_ref(), 1).await.is_empty());
    assert_eq!(log.progress(&group(), &[topic("in")]).await.unwrap()[0].committed, None);

    consumer.rewind().await.unwrap();
    let again = read_records(&mut consumer, 5).await;
    assert_eq!(again, records);
    consumer.commit(commit_request(&again)).await.unwrap();
    wait_for_records(log.as_ref(), &topic_partition("out", 0), 5).await;
    assert_eq!(emitted(log.as_ref(), 1).await, values(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_08_offset_gaps_are_not_loss() {
    let (log, namespace) = log_with_topics(&[("in", 1), ("out", 1)]).await;
    let wire = format!("{namespace}in");
    let id = format!("{namespace}independent");
    let writer = independent_producer(&[("transactional.id", &id), ("linger.ms", "0")]);
    tokio::task::block_in_place(|| {
        writer.init_transactions(TIMEOUT).unwrap();
        for n in 0..10 {
            writer.begin_transaction().unwrap();
            writer.send(BaseRecord::<str, str>::to(&wire).payload(&n.to_string()).key("k")).unwrap();
            match n % 2 {
                0 => writer.commit_transaction(TIMEOUT).unwrap(),
                _ => {
                    writer.flush(TIMEOUT).unwrap();
                    writer.abort_transaction(TIMEOUT).unwrap();
                }
            }
        }
    });
    let mut consumer = join(&log, "a").await;
    let records = read_records(&mut consumer, 5).await;
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["0", "2", "4", "6", "8"]);
    assert!(!log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end);
    consumer.commit(commit_request(&records)).await.unwrap();
    // After the last record come an aborted one and control markers.
    let progress = log.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress[0].at_end && progress[0].committed.unwrap() < progress[0].span.high, "{progress:?}");
    assert_eq!(all_records(log.as_ref(), &topic_partition("in", 0)).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_transaction_counts_as_remaining_records() {
    let (log, namespace) = log_with_topics(&[("in", 1), ("out", 1)]).await;
    let wire = format!("{namespace}in");
    let id = format!("{namespace}independent");
    let writer = independent_producer(&[("transactional.id", &id), ("linger.ms", "0")]);
    let remaining = async || !log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end;
    assert!(!remaining().await);
    tokio::task::block_in_place(|| {
        writer.init_transactions(TIMEOUT).unwrap();
        writer.begin_transaction().unwrap();
        writer.send(BaseRecord::<str, str>::to(&wire).payload("1").key("k")).unwrap();
        writer.flush(TIMEOUT).unwrap();
    });
    assert!(remaining().await);
    assert!(log.fetch(&topic_partition("in", 0), 0, WIDE).await.unwrap().records.is_empty(), "it may yet be aborted");
    publish_numbers(&log, 3).await;
    let hidden = log.hidden(&[topic("in")]).await.unwrap();
    assert_eq!(hidden.len(), 1, "{hidden:?}");
    assert_eq!((hidden[0].from_offset, hidden[0].count()), (0, 4), "{hidden:?}");
    let read = log.fetch_hidden(&topic_partition("in", 0), 0, WIDE).await.unwrap();
    assert_eq!((read.records.len(), read.next_offset), (4, 4), "its own record and those behind it");
    tokio::task::block_in_place(|| writer.abort_transaction(TIMEOUT).unwrap());
    let end = Instant::now() + TIMEOUT;
    while !log.hidden(&[topic("in")]).await.unwrap().is_empty() {
        assert!(Instant::now() < end, "an aborted transaction hides nothing");
    }
    let mut consumer = join(&log, "a").await;
    let records = read_records(&mut consumer, 3).await;
    consumer.commit(commit_request(&records)).await.unwrap();
    let end = Instant::now() + TIMEOUT;
    while remaining().await {
        assert!(Instant::now() < end, "an aborted transaction leaves nothing remaining");
    }
}

/// A log that was truncated, restored or recreated has fewer records than its group has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_records_remain_to_be_read_when_the_commit_is_beyond_the_end() {
    let (log, namespace) = log_with_topics(&[("in", 1)]).await;
    publish_numbers(&log, 3).await;
    let mut beyond = TopicPartitionList::new();
    beyond.add_partition_offset(&format!("{namespace}in"), 0, Offset::Offset(5000)).unwrap();
    let operator: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", env("STACK_KAFKA"))
        .set("group.id", format!("{namespace}{}", group()))
        .create()
        .unwrap();
    tokio::task::block_in_place(|| operator.commit(&beyond, CommitMode::Sync)).unwrap();

    let progress = log.progress(&group(), &[topic("in")]).await.unwrap();
    assert!(progress[0].beyond_end && !progress[0].at_end && progress[0].lag() == 3, "{progress:?}");
    let mut consumer = join(&log, "a").await;
    let records = read_records(&mut consumer, 3).await;
    consumer.commit(CommitRequest { offsets: offsets(&records), ..CommitRequest::default() }).await.unwrap();
    let end = Instant::now() + TIMEOUT;
    while !log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end {
        assert!(Instant::now() < end, "the commit is at the end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_10_uncommitted_records_of_a_revoked_partition_are_redelivered() {
    let (log, _) = log_with_topics(&[("in", 2), ("out", 1)]).await;
    let mut first = join(&log, "a").await;
    assigned(&mut first, 2).await;
    publish_numbers(&log, 40).await;
    let unsettled = read_records(&mut first, 40).await;
    let mut second = join(&log, "b").await;
    let mut history = MemberHistory::default();
    let revoked = loop {
        history.step(&mut second).await;
        if let Poll::Revoking(partitions) = first.poll(WIDE, STEP).await.unwrap() {
            break partitions;
        }
    };
    first.release(&revoked).await.unwrap();
    fails_as(first.commit(commit_request(&unsettled)).await, ErrorKind::Fenced);
    let expected = unsettled.iter().filter(|r| revoked.contains(&r.topic_partition())).count();
    let end = Instant::now() + TIMEOUT;
    while history.records.len() < expected {
        assert!(Instant::now() < end, "{} of {expected}", history.records.len());
        history.step(&mut second).await;
        assert!(
            !matches!(first.poll(WIDE, STEP).await.unwrap(), Poll::Records(_)),
            "it has read all records of its other partition"
        );
    }
    assert!(emitted(log.as_ref(), 1).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_11_open_transaction_of_a_killed_worker_is_aborted_when_it_returns() {
    let (log, namespace) = log_with_topics(&[("in", 1), ("out", 1)]).await;
    publish_numbers(&log, 3).await;
    let id = format!("{namespace}{}.a", group());
    let killed =
        independent_producer(&[("transactional.id", &id), ("linger.ms", "0"), ("transaction.timeout.ms", "600000")]);
    let wire = format!("{namespace}out");
    tokio::task::block_in_place(|| {
        killed.init_transactions(TIMEOUT).unwrap();
        killed.begin_transaction().unwrap();
        killed.send(BaseRecord::<str, str>::to(&wire).payload("half").key("k")).unwrap();
        killed.flush(TIMEOUT).unwrap();
    });
    // It never closes; its transaction would stay open for ten minutes.
    std::mem::forget(killed);
    let mut consumer = join(&log, "a").await;
    let records = read_records(&mut consumer, 3).await;
    consumer.commit(commit_request(&records)).await.unwrap();
    wait_for_records(log.as_ref(), &topic_partition("out", 0), 3).await;
    assert_eq!(emitted(log.as_ref(), 1).await, values(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_12_paused_member_stays_in_the_group() {
    let (log, _) = log_with_topics(&[("in", 2), ("out", 1)]).await;
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("in")],
        instance: "slow".into(),
        session_timeout: Duration::from_secs(6),
        prefetch_bytes: 1 << 20,
    };
    let mut consumer = log.subscribe(subscription).await.unwrap();
    let owned: Vec<_> = assigned(&mut consumer, 2).await.into_iter().collect();
    publish_numbers(&log, 100).await;
    consumer.pause(&owned);
    let end = Instant::now() + Duration::from_secs(14);
    while Instant::now() < end {
        let polled = consumer.poll(FetchLimits { max_records: 1, max_bytes: 1 }, STEP).await.unwrap();
        assert!(matches!(polled, Poll::Idle), "{polled:?}");
    }
    consumer.resume(&owned);
    let records = read_records(&mut consumer, 100).await;
    assert_eq!(records.len(), 100);
    consumer.commit(commit_request(&records)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_13_poison_record_is_dead_lettered_and_the_partition_advances() {
    let (log, _) = log_with_topics(&[("in", 1), ("in.dlq", 1), ("out", 1)]).await;
    let mut consumer = join(&log, "a").await;
    assigned(&mut consumer, 1).await;
    publish_numbers(&log, 3).await;
    let records = read_records(&mut consumer, 3).await;
    let why = FailureContext {
        topic_id: None,
        claim_holder: None,
        group: "mfctl.test.stage",
        kind: "malformed",
        class: FailureClass::Permanent,
        message: "not JSON",
        attempts: 1,
        first_failed_at: records[1].timestamp,
        last_failed_at: records[1].timestamp,
        worker: "a",
    };
    let mut request = commit_request(&records);
    request.outputs.remove(1);
    request.dead_letters.push(dead_letter(&records[1], &why));
    consumer.commit(request).await.unwrap();
    let dead = wait_for_records(log.as_ref(), &topic_partition("in.dlq", 0), 1).await;
    assert_eq!((dead.len(), &dead[0].key, &dead[0].value), (1, &records[1].key, &records[1].value));
    assert_eq!(wait_for_records(log.as_ref(), &topic_partition("out", 0), 2).await.len(), 2);
    assert!(log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end);
}

/// Evicted before it released the revoked partitions, the member must lose all others, too; librdkafka does not report them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_evicted_during_a_revocation_loses_all_partitions() {
    let (log, _) = log_with_topics(&[("in", 4), ("out", 1)]).await;
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("in")],
        instance: "silent".into(),
        session_timeout: Duration::from_secs(6),
        prefetch_bytes: 1 << 20,
    };
    let mut silent = log.subscribe(subscription).await.unwrap();
    assigned(&mut silent, 4).await;
    publish_numbers(&log, 40).await;
    let unsettled = read_records(&mut silent, 40).await;
    let mut other = join(&log, "other").await;
    let mut history = MemberHistory::default();
    let revoked = loop {
        history.step(&mut other).await;
        if let Poll::Revoking(partitions) = silent.poll(WIDE, STEP).await.unwrap() {
            break partitions;
        }
    };
    assert_eq!(revoked.len(), 2);
    // It does not release them until the other member owns everything.
    history.until(&mut other, "everything", |history| history.owned.len() == 4 && history.records.len() == 40).await;
    fails_as(silent.commit(commit_request(&unsettled)).await, ErrorKind::Fenced);
    silent.release(&revoked).await.unwrap();
    let mut lost = BTreeSet::new();
    let mut owned = BTreeSet::new();
    let end = Instant::now() + TIMEOUT;
    while owned.len() != 2 || history.owned.len() != 2 {
        assert!(Instant::now() < end, "{owned:?} and {:?}", history.owned);
        history.step(&mut other).await;
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
            Poll::Records(records) => panic!("{} records that another member committed are redelivered", records.len()),
            Poll::Idle => {}
        }
    }
    assert_eq!(lost.len() + revoked.len(), 4, "the partitions that were not revoked were lost");
    assert!(owned.is_disjoint(&history.owned));
    assert!(emitted(log.as_ref(), 1).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_start_after_records_removed_by_retention() {
    let (log, namespace) = log_with_topics(&[("in", 1)]).await;
    publish_numbers(&log, 10).await;
    let mut consumer = join(&log, "a").await;
    let records = read_records(&mut consumer, 10).await;
    consumer.commit(CommitRequest { offsets: offsets(&records[..2]), ..CommitRequest::default() }).await.unwrap();
    consumer.leave().await.unwrap();
    delete_records_below(&namespace, "in", 6).await;
    let fetched = log.fetch(&topic_partition("in", 0), 0, WIDE).await.unwrap();
    assert_eq!((fetched.span.low, fetched.records.len(), fetched.records[0].address.offset), (6, 4, 6));
    // With a commit below the first offset, reading continues at the first offset, and lag counts only existing records.
    let mut consumer = join(&log, "a").await;
    let rest = read_records(&mut consumer, 4).await;
    assert_eq!((rest.len(), rest[0].address.offset), (4, 6));
    delete_records_below(&namespace, "in", 10).await;
    assert!(log.progress(&group(), &[topic("in")]).await.unwrap()[0].at_end);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_commit_completes_and_is_not_overtaken() {
    let (log, _) = log_with_topics(&[("in", 2), ("out", 2)]).await;
    let mut consumer = join(&log, "a").await;
    assigned(&mut consumer, 2).await;
    publish_numbers(&log, 400).await;
    let end = Instant::now() + TIMEOUT * 2;
    let mut cancelled = 0;
    let limits = FetchLimits { max_records: 20, ..WIDE };
    loop {
        assert!(Instant::now() < end, "{cancelled} cancelled");
        match consumer.poll(limits, STEP).await.unwrap() {
            Poll::Records(records) => {
                let timeout = Duration::from_millis(fastrand::u64(0..30));
                if tokio::time::timeout(timeout, consumer.commit(commit_request(&records))).await.is_err() {
                    cancelled += 1;
                    // A rewind finds out whether it was committed.
                    consumer.rewind().await.unwrap();
                }
            }
            Poll::Idle if log.progress(&group(), &[topic("in")]).await.unwrap().iter().all(|p| p.at_end) => break,
            _ => {}
        }
    }
    assert!(cancelled > 0, "none was cancelled");
    assert_eq!(emitted(log.as_ref(), 2).await, values(400));
}

/// A worker that commits one output for each input, is cancelled, leaves or dies, and rejoins until a deadline.
async fn churn(log: Arc<dyn EventLog>, instance: String, seed: u64, until: Instant) {
    let mut random = fastrand::Rng::with_seed(seed);
    while Instant::now() < until {
        let mut consumer = join(&log, &instance).await;
        let lives_until = (Instant::now() + Duration::from_millis(random.u64(1500..6000))).min(until);
        while Instant::now() < lives_until {
            let limits = FetchLimits { max_records: random.usize(1..60), ..WIDE };
            poll_once(&mut consumer, limits, &mut random).await;
        }
        match random.bool() {
            true => consumer.leave().await.unwrap(),
            false => drop(consumer),
        }
    }
}

/// One poll of such a worker, with its commit or release.
async fn poll_once(consumer: &mut Consumer, limits: FetchLimits, random: &mut fastrand::Rng) {
    match consumer.poll(limits, STEP).await.unwrap() {
        Poll::Records(records) => {
            let commit = consumer.commit(commit_request(&records));
            let timeout = Duration::from_millis(if random.u8(0..4) == 0 { random.u64(0..20) } else { 60_000 });
            match tokio::time::timeout(timeout, commit).await {
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
async fn member_churn_emits_each_input_once() {
    let given = std::env::var("MFCTL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| fastrand::u64(..));
    println!("MFCTL_SEED={seed}");
    let (log, _) = log_with_topics(&[("in", 6), ("out", 3)]).await;
    let until = Instant::now() + Duration::from_secs(25);
    let workers: Vec<_> =
        (0..3).map(|n| tokio::spawn(churn(Arc::clone(&log), format!("w/{n}"), seed.wrapping_add(n), until))).collect();
    let mut published = 0;
    while Instant::now() + Duration::from_secs(5) < until {
        let batch: Vec<NewRecord> =
            (published..published + 50).map(|n| record("in", &format!("k{}", n % 97), &n.to_string())).collect();
        published += batch.len();
        log.publish(batch).await.unwrap();
        mfctl_core::wait::pause(Duration::from_millis(150)).await;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let mut last = join(&log, "last").await;
    let mut random = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + TIMEOUT * 2;
    while !log.progress(&group(), &[topic("in")]).await.unwrap().iter().all(|p| p.at_end) {
        assert!(Instant::now() < end, "not drained");
        poll_once(&mut last, WIDE, &mut random).await;
    }
    assert_eq!(emitted(log.as_ref(), 3).await, values(published));
}
