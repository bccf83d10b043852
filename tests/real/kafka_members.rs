//! What a member of a group on Kafka knows of its group: its commits with their epochs, the ids of its topics, and
//! whether it is still in the group.

use std::time::{Duration, Instant};

use mfctl_core::domain::{ClaimEpoch, TopicId};
use mfctl_core::ports::{CommitRequest, ErrorKind, EventLog, GroupCommit, TopicAdmin};
use mfctl_kafka::KafkaLog;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use crate::contract::event_log::{spec, topic, topic_partition};
use crate::contract::group_member::{MemberHistory, TIMEOUT, group, join, publish_numbers};
use crate::contract::harness::fails_as;
use crate::kafka::settings;
use crate::kafka_faults::{assigned, commit_request, log_with_topics, offsets, on_mock_cluster, read_records};
use crate::stack::env;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_keeps_the_epoch_of_its_member_and_one_of_another_tool_has_none() {
    let (log, namespace) = log_with_topics(&[("in", 3)]).await;
    let partitions: Vec<_> = (0..3).map(|partition| topic_partition("in", partition)).collect();
    assert!(log.committed(&group(), &partitions).await.unwrap().is_empty());
    let mut consumer = join(&log, "a").await;
    assigned(&mut consumer, 3).await;
    publish_numbers(&log, 30).await;
    let records = read_records(&mut consumer, 30).await;
    let mut offsets = offsets(&records);
    offsets.retain(|at, _| at.partition == 0);
    let epochs = offsets.keys().map(|at| (at.clone(), ClaimEpoch(7))).collect();
    let commit = GroupCommit { at: partitions[0].clone(), offset: offsets[&partitions[0]], epoch: Some(ClaimEpoch(7)) };
    consumer.commit(CommitRequest { offsets, epochs, ..CommitRequest::default() }).await.unwrap();
    consumer.leave().await.unwrap();
    assert_eq!(log.committed(&group(), &partitions).await.unwrap(), std::slice::from_ref(&commit));

    let mut reset = TopicPartitionList::new();
    reset.add_partition_offset(&format!("{namespace}in"), 1, Offset::Offset(1)).unwrap();
    let operator: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", env("STACK_KAFKA"))
        .set("group.id", format!("{namespace}{}", group()))
        .create()
        .unwrap();
    tokio::task::block_in_place(|| operator.commit(&reset, CommitMode::Sync)).unwrap();
    let reset = GroupCommit { at: partitions[1].clone(), offset: 1, epoch: None };
    assert_eq!(log.committed(&group(), &partitions).await.unwrap(), [commit, reset]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recreated_topic_has_another_id() {
    let log = KafkaLog::new(settings("STACK_KAFKA")).unwrap();
    let names = [topic("in"), topic("out")];
    fails_as(log.topic_ids(&names).await, ErrorKind::NotFound);
    log.create_topics(&[spec("in", 1), spec("out", 1)]).await.unwrap();
    let ids: Vec<Option<TopicId>> = log.topic_ids(&names).await.unwrap();
    assert!(ids[0].is_some() && ids[1].is_some() && ids[0] != ids[1], "{ids:?}");
    assert_eq!(log.topic_ids(&names).await.unwrap(), ids);
    log.delete_topic(&names[0]).await.unwrap();
    let end = Instant::now() + TIMEOUT;
    let again = loop {
        assert!(Instant::now() < end, "{ids:?} again");
        // A broker may not know yet that the topic was deleted.
        let created = log.create_topics(&[spec("in", 1)]).await;
        if let (Ok(_), Ok(again)) = (created, log.topic_ids(&names).await)
            && again[0] != ids[0]
        {
            break again;
        }
    };
    assert!(again[0].is_some() && again[1] == ids[1], "{again:?} and {ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_member_changes_no_commit_and_a_later_owner_has_a_higher_generation() {
    let (log, _) = log_with_topics(&[("in", 2), ("out", 1)]).await;
    let mut first = join(&log, "a").await;
    let owned: Vec<_> = assigned(&mut first, 2).await.into_iter().collect();
    first.confirm().await.unwrap();
    assert!(log.committed(&group(), &owned).await.unwrap().is_empty());
    publish_numbers(&log, 40).await;
    let records = read_records(&mut first, 40).await;
    first.commit(commit_request(&records)).await.unwrap();
    let committed = log.committed(&group(), &owned).await.unwrap();
    first.confirm().await.unwrap();
    assert_eq!(log.committed(&group(), &owned).await.unwrap(), committed);
    let earlier = first.generation().unwrap();

    let mut second = join(&log, "b").await;
    let (mut one, mut two) = (MemberHistory::default(), MemberHistory::default());
    let end = Instant::now() + TIMEOUT;
    while two.owned.len() != 1 {
        assert!(Instant::now() < end, "one partition for each");
        one.step(&mut first).await;
        two.step(&mut second).await;
    }
    let later = second.generation().unwrap();
    assert!(later.generation > earlier.generation && later.member_id != earlier.member_id, "{later:?}, {earlier:?}");
    second.confirm().await.unwrap();
    assert_eq!(first.generation().unwrap().member_id, earlier.member_id);
    first.confirm().await.unwrap();
    assert_eq!(log.committed(&group(), &owned).await.unwrap(), committed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_that_its_coordinator_does_not_know_is_not_confirmed() {
    let mock = MockCluster::new(1).unwrap();
    let (_log, mut consumer, records) = on_mock_cluster(&mock).await;
    consumer.confirm().await.unwrap();
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    fails_as(consumer.confirm().await, ErrorKind::Fenced);
    // The group has moved on and the member does not notice: no later generation is there to be confirmed.
    let illegal_generation = RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
    mock.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[illegal_generation; 1000]);
    let confirmed = tokio::time::timeout(Duration::from_secs(20), consumer.confirm()).await;
    fails_as(confirmed.expect("an answer in time"), ErrorKind::Fenced);
    mock.clear_request_errors(RDKafkaApiKey::TxnOffsetCommit);
    consumer.confirm().await.unwrap();
    consumer.commit(commit_request(&records)).await.unwrap();
}
