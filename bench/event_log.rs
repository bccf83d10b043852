//! How many records a second the embedded log takes and gives: `cargo bench --bench event_log`.
//!
//! Prints one line per kind of work. Nothing here is compared with a peer; `bench/run` does that for whole verbs.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not part of the program")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mfctl_core::domain::{GroupName, Headers, NewRecord, TopicName};
use mfctl_core::ports::{CommitRequest, EventLog, FetchLimits, Poll, Subscription, SystemClock, TopicSpec};
use mfctl_embedded::{DataFolder, EmbeddedLog, OpenMode};

const RECORDS: usize = 100_000;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// About what a pointer event weighs.
fn record(name: &str, n: usize) -> NewRecord {
    let mut headers = Headers::default();
    for header in ["service.name", "deployment.env", "schema.version", "event.id", "traceparent"] {
        headers.push(header, "0123456789abcdef0123456789abcdef");
    }
    NewRecord {
        topic: topic(name),
        partition: None,
        key: Some(Bytes::from(format!("{n:036}"))),
        value: Some(Bytes::from(vec![b'x'; 600])),
        headers,
        timestamp: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
    }
}

fn report(what: &str, records: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what:<44} {records:>8} records {seconds:>8.3} s {:>10.0} records/s", records as f64 / seconds);
}

async fn publish(log: &Arc<dyn EventLog>, name: &str, batch: usize, total: usize, callers: usize) {
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (log, name) = (Arc::clone(log), name.to_owned());
            tokio::spawn(async move {
                for first in (caller * batch..total).step_by(batch * callers) {
                    log.publish((first..first + batch).map(|n| record(&name, n)).collect()).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    report(&format!("publish, {callers} callers, batches of {batch}"), total, started);
}

/// Reads a topic as a group and passes each record on, as a worker does.
async fn pass_on(log: &Arc<dyn EventLog>, from: &str, to: Option<&str>, batch: usize, total: usize) {
    let subscription = Subscription {
        group: GroupName::new(format!("bench.{from}.{batch}")).unwrap(),
        topics: vec![topic(from)],
        instance: "bench".to_owned(),
        session_timeout: Duration::from_secs(10),
        prefetch_bytes: 24 << 20,
    };
    let mut consumer = log.subscribe(subscription).await.unwrap();
    let limits = FetchLimits { max_records: batch, max_bytes: 16 << 20 };
    let (started, mut done) = (Instant::now(), 0);
    while done < total {
        let Poll::Records(records) = consumer.poll(limits, Duration::from_secs(5)).await.unwrap() else { continue };
        done += records.len();
        let Some(to) = to else { continue };
        let offsets: BTreeMap<_, _> = records.iter().map(|r| (r.topic_partition(), r.address.offset + 1)).collect();
        let outputs = (0..records.len()).map(|n| record(to, n)).collect();
        consumer.commit(CommitRequest { outputs, offsets, ..CommitRequest::default() }).await.unwrap();
    }
    let what = if to.is_some() { "poll and settle with an output each" } else { "poll" };
    report(&format!("{what}, batches of {batch}"), done, started);
    consumer.leave().await.unwrap();
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| ".".into())).unwrap();
    let folder = DataFolder::open(dir.path(), OpenMode::MayCreate).unwrap();
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::new(&folder, Arc::new(SystemClock::default())));
    let spec = |name: &str| TopicSpec { name: topic(name), partitions: 6, retention: None, compacted: false };
    log.create_topics(&["bulk", "small", "single", "out"].map(spec)).await.unwrap();
    publish(&log, "bulk", 1000, RECORDS, 1).await;
    publish(&log, "small", 10, RECORDS / 10, 8).await;
    publish(&log, "single", 1, RECORDS / 100, 1).await;
    pass_on(&log, "bulk", None, 512, RECORDS).await;
    pass_on(&log, "bulk", Some("out"), 256, RECORDS / 4).await;
    pass_on(&log, "small", Some("out"), 16, RECORDS / 50).await;
}
