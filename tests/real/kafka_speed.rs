//! How fast the log on Kafka is, beside librdkafka alone on the same records. Not part of a test run:
//! `cargo test --release --test real -- --ignored kafka_speed --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mfctl::domain::NewRecord;
use mfctl::ports::{EventLog, FetchLimits, Poll, Settlement};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::event_log::{at, record, spec};
use crate::event_log_groups::member;
use crate::kafka::{log, settings};
use crate::stack::env;

const RECORDS: usize = 200_000;
const BATCH: FetchLimits = FetchLimits { max_records: 4096, max_bytes: 8 << 20 };

fn kibibyte(n: usize) -> NewRecord {
    let mut value = vec![0; 1024];
    fastrand::Rng::with_seed(n as u64).fill(&mut value);
    NewRecord { value: Some(Bytes::from(value)), ..record("in", &n.to_string(), "") }
}

#[expect(clippy::print_stdout, reason = "it is what it is for")]
fn told(what: &str, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {RECORDS} records in {seconds:.2} s, {:.0}/s", RECORDS as f64 / seconds);
}

async fn publish(log: &Arc<dyn EventLog>) {
    let began = Instant::now();
    for first in (0..RECORDS).step_by(20_000) {
        log.publish((first..first + 20_000).map(kibibyte).collect()).await.unwrap();
    }
    told("publish", began);
}

/// librdkafka alone: every record looked at once.
fn plain(namespace: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", env("STACK_KAFKA")).set("group.id", format!("{namespace}plain"));
    config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[&format!("{namespace}in")]).unwrap();
    while consumer.poll(Duration::from_secs(1)).is_none() {}
    let began = Instant::now();
    let mut seen = 1;
    while seen < RECORDS {
        seen += usize::from(consumer.poll(Duration::from_secs(1)).is_some());
    }
    told("librdkafka, polled one by one", began);
}

async fn consume(log: &Arc<dyn EventLog>, instance: &str, settling: bool) {
    let mut consumer = member(log, instance).await;
    while !matches!(consumer.poll(BATCH, Duration::from_secs(1)).await.unwrap(), Poll::Assigned(_)) {}
    let began = Instant::now();
    let mut seen = 0;
    while seen < RECORDS {
        let Poll::Records(records) = consumer.poll(BATCH, Duration::from_secs(1)).await.unwrap() else { continue };
        seen += records.len();
        if settling {
            let mut settlement = Settlement::default();
            for record in records {
                settlement.offsets.insert(record.topic_partition(), record.address.offset + 1);
                let mut output = record_of(record.key.clone());
                output.value = record.value;
                settlement.outputs.push(output);
            }
            consumer.settle(settlement).await.unwrap();
        }
    }
    told(if settling { "poll and settle one output each" } else { "poll" }, began);
    consumer.leave().await.unwrap();
}

fn record_of(key: Option<Bytes>) -> NewRecord {
    NewRecord { key, ..record("out", "", "") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_kibibyte_each() {
    let config = settings("STACK_KAFKA");
    let namespace = config.namespace.clone();
    let log = log(config);
    log.create_topics(&[spec("in", 6), spec("out", 6)]).await.unwrap();
    publish(&log).await;
    tokio::task::block_in_place(|| plain(&namespace));
    consume(&log, "poll", false).await;
    let began = Instant::now();
    for partition in 0..6 {
        let mut from = 0;
        loop {
            let fetched = log.fetch(&at("in", partition), from, BATCH).await.unwrap();
            if fetched.next_offset >= fetched.span.high {
                break;
            }
            from = fetched.next_offset;
        }
    }
    told("fetch, page by page", began);
    consume(&log, "settle", true).await;
}
