//! Clients that are independent of mfctl: Kafka consumers and producers, curl, psql.

#![allow(dead_code, reason = "shared by several test binaries, each of which uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::support::stack::{Platform, env};
use crate::support::{CommandOutput, Site, TIMEOUT};

/// A record as the brokers store it.
#[derive(Debug, Clone)]
pub struct WireRecord {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl WireRecord {
    /// The JSON after the five bytes of the wire format.
    pub fn json(&self) -> Value {
        assert_eq!(self.value[0], 0, "the wire format begins with a zero: {:?}", self.value);
        serde_json::from_slice(&self.value[5..]).unwrap()
    }

    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(header, _)| header == name)
    }

    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        std::str::from_utf8(&found.unwrap_or_else(|| panic!("no header {name}: {:?}", self.headers)).1).unwrap()
    }
}

/// The settings of a client of the brokers.
pub fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", env("STACK_KAFKA"));
    config
}

fn all_partitions(consumer: &BaseConsumer, topic: &str) -> TopicPartitionList {
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    list
}

/// Every committed record of a topic.
pub fn committed_records(topic: &str) -> Vec<WireRecord> {
    let mut config = config();
    config
        .set("group.id", "an-independent-reader")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let list = all_partitions(&consumer, topic);
    consumer.assign(&list).unwrap();
    let mut seen = Vec::new();
    let mut ended = BTreeSet::new();
    let began = Instant::now();
    while ended.len() < list.count() {
        assert!(began.elapsed() < TIMEOUT, "{topic} cannot be read to the end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let headers = message.headers().into_iter().flat_map(Headers::iter);
                seen.push(WireRecord {
                    key: message.key().unwrap_or_default().to_vec(),
                    value: message.payload().unwrap_or_default().to_vec(),
                    headers: headers.map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect(),
                });
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) => panic!("cannot read {topic}: {error}"),
            None => {}
        }
    }
    seen
}

/// Fails if a read-committed reader sees an asset's revision twice on `media.*`, apart from records that a redrive sent again;
/// returns the counts of ingested and enriched.
pub fn emitted_once_counts(site: &Site) -> (usize, usize) {
    let count = |topic: &str| {
        let records = committed_records(&site.platform().topic(topic));
        let mut pairs: BTreeMap<String, usize> = BTreeMap::new();
        for record in records.iter().filter(|record| !record.has_header("mfctl.redrive")) {
            let event = record.json();
            *pairs.entry(format!("{} {}", event["asset_id"], event["revision"])).or_default() += 1;
        }
        let twice: Vec<_> = pairs.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "more than once on {topic}: {twice:?}");
        pairs.len()
    };
    (count("media.ingested"), count("media.enriched"))
}

/// Writes records with an ordinary producer and waits until all are acknowledged.
pub fn produce(topic: &str, records: impl IntoIterator<Item = WireRecord>) {
    let mut config = config();
    config.set("enable.idempotence", "true").set("partitioner", "murmur2_random").set("message.max.bytes", "20000000");
    let producer: BaseProducer = config.create().unwrap();
    for record in records {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        producer.send(BaseRecord::to(topic).key(&record.key).payload(&record.value).headers(headers)).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// Leaves a transaction open that holds one record of each of these partitions, until the producer is dropped or aborts it.
pub fn open_transaction(topic: &str, partitions: i32) -> BaseProducer {
    let mut config = config();
    config.set("transactional.id", format!("{topic}-another-program")).set("linger.ms", "0");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(TIMEOUT).unwrap();
    producer.begin_transaction().unwrap();
    for partition in 0..partitions {
        producer.send(BaseRecord::to(topic).partition(partition).key("key").payload("open")).unwrap();
    }
    producer.flush(TIMEOUT).unwrap();
    producer
}

/// Number of partitions of a topic.
pub fn partition_count(topic: &str) -> i32 {
    let consumer: BaseConsumer = config().create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
    i32::try_from(metadata.topics()[0].partitions().len()).unwrap()
}

fn administer<T>(work: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> T) -> T {
    let admin: AdminClient<DefaultClientContext> = config().create().unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work(&admin))
}

/// Deletes a group and its offsets. Fails while it has members.
pub fn delete_group(group: &str) -> Result<(), String> {
    administer(async |admin| {
        let answers = admin.delete_groups(&[group], &AdminOptions::new()).await.map_err(|error| error.to_string())?;
        answers.into_iter().try_for_each(|answer| answer.map(drop).map_err(|(_, code)| code.to_string()))
    })
}

/// Deletes every record of a topic.
pub fn delete_records(topic: &str) {
    let consumer: BaseConsumer = config().create().unwrap();
    let mut list = all_partitions(&consumer, topic);
    list.set_all_offsets(Offset::End).unwrap();
    administer(async |admin| admin.delete_records(&list, &AdminOptions::new()).await.unwrap());
}

/// The replica counts of each topic's partitions.
pub fn replicas(platform: &Platform) -> BTreeMap<String, BTreeSet<usize>> {
    let consumer: BaseConsumer = config().create().unwrap();
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(10)).unwrap();
    let ours = metadata.topics().iter().filter(|topic| topic.name().starts_with(&platform.namespace));
    ours.map(|t| (t.name().to_owned(), t.partitions().iter().map(|p| p.replicas().len()).collect())).collect()
}

/// Runs a program, which must succeed, and returns its stdout.
pub fn run_program(program: &str, words: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    if output.status.success() {
        return output.stdout;
    }
    panic!("{program} {words:?}: {}", CommandOutput::from(output));
}

/// An HTTP request by curl; returns the body. A status of 400 or more is a failure.
pub fn curl(words: &[&str]) -> Vec<u8> {
    run_program("curl", &[&["-q", "--silent", "--show-error", "--fail-with-body", "--noproxy", "*"], words].concat())
}

/// A request to the object store, signed by curl itself.
pub fn s3(method: &str, bucket: &str, key: &str, words: &[&str]) -> Vec<u8> {
    let url = format!("{}/{bucket}/{key}", env("STACK_S3"));
    let user = format!("{}:{}", env("STACK_S3_ACCESS_KEY"), env("STACK_S3_SECRET_KEY"));
    let signed =
        ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", &user, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];
    curl(&[&["-X", method, &url], &signed[..], words].concat())
}

/// The result of a query as the owner of the database.
pub fn psql(query: &str) -> String {
    let url = env("STACK_POSTGRES");
    let words =
        [url.as_str(), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1", "-c", query];
    String::from_utf8(run_program("psql", &words)).unwrap().trim().to_owned()
}
