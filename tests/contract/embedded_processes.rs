//! Several processes on one data folder: they publish and consume at once, one is killed and one is stopped, and what
//! went in is what was settled.
//!
//! The processes are this test binary again, running [`part`] alone with its part in the environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::GroupName;
use mfctl_core::ports::{CommitRequest, ErrorKind, EventLog, Poll, Subscription, SystemClock};
use mfctl_embedded::{DataFolder, EmbeddedLog, OpenMode};
use rustix::process::{Pid, Signal, kill_process};

use crate::contract::event_log::{WIDE, all, at, record, spec, text, topic};
use crate::contract::harness::eventually;

const PART: &str = "MFCTL_TEST_PROCESS_PART";
const FOLDER: &str = "MFCTL_TEST_PROCESS_FOLDER";
const PUBLISHERS: usize = 2;
const BATCHES: usize = 60;
const BATCH: usize = 25;
const PATIENCE: Duration = Duration::from_secs(120);

fn open(folder: &Path) -> Arc<dyn EventLog> {
    let folder = DataFolder::open(folder, OpenMode::MayCreate).unwrap();
    Arc::new(EmbeddedLog::new(&folder, Arc::new(SystemClock::default())))
}

fn group() -> GroupName {
    GroupName::new("mfctl.test.many").unwrap()
}

fn start(part: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "contract::embedded_processes::part", "--nocapture"])
        .env(PART, part)
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// One process's part; without one it is no test at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part() {
    let (Ok(part), Ok(folder)) = (std::env::var(PART), std::env::var(FOLDER)) else { return };
    let log = open(Path::new(&folder));
    match part.split_once(' ') {
        Some(("publish", name)) => publish(log.as_ref(), name).await,
        Some(("work", name)) => work(log.as_ref(), name).await,
        _ => panic!("no such part: {part}"),
    }
}

async fn publish(log: &dyn EventLog, name: &str) {
    for batch in 0..BATCHES {
        let one = |n| record("in", &format!("{name}-{}", n % 10), &format!("{name}-{batch:03}-{n:03}"));
        log.publish((0..BATCH).map(one).collect()).await.unwrap();
    }
}

/// Passes each record on, until it is killed or the group is done.
async fn work(log: &dyn EventLog, name: &str) {
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("in")],
        instance: name.to_owned(),
        session_timeout: Duration::from_secs(3),
    };
    let mut consumer = log.subscribe(subscription).await.unwrap();
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match consumer.poll(WIDE, Duration::from_millis(200)).await.unwrap() {
            Poll::Records(records) => {
                let outputs = records.iter().map(|r| record("out", &text(r), &text(r))).collect();
                let offsets: BTreeMap<_, _> =
                    records.iter().map(|r| (r.topic_partition(), r.address.offset + 1)).collect();
                match consumer.commit(CommitRequest { outputs, offsets, ..CommitRequest::default() }).await {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::Fenced => {}
                    Err(error) => panic!("{}", error.full()),
                }
            }
            Poll::Revoking(partitions) => consumer.release(&partitions).await.unwrap(),
            Poll::Assigned(_) | Poll::Lost(_) => {}
            Poll::Idle if done(log).await => break,
            Poll::Idle => {}
        }
    }
    consumer.leave().await.unwrap();
}

async fn done(log: &dyn EventLog) -> bool {
    let progress = log.progress(&group(), &[topic("in")]).await.unwrap();
    let read: i64 = progress.iter().map(|p| p.committed.unwrap_or(0)).sum();
    read == (PUBLISHERS * BATCHES * BATCH) as i64
}

async fn settled(log: &dyn EventLog) -> usize {
    log.offsets(&[topic("out")]).await.unwrap().iter().map(|p| p.span.high as usize).sum()
}

/// Stops a process that is not in the middle of a write: there it would hold everybody up, as with any SQLite file.
async fn stop_between_writes(process: &Child, log: &dyn EventLog) {
    for _ in 0..100 {
        signal(process, Signal::STOP);
        let probe = [spec("probe", 1)];
        let written = log.create_topics(&probe);
        if tokio::time::timeout(Duration::from_secs(1), written).await.is_ok() {
            return;
        }
        signal(process, Signal::CONT);
    }
    panic!("it was in the middle of a write a hundred times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_processes_publish_is_settled_once_though_one_is_killed_and_one_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topics(&[spec("in", 6), spec("out", 3)]).await.unwrap();
    let mut children: Vec<Child> = ["publish a", "publish b", "work c", "work d"].map(|p| start(p, dir.path())).into();
    let mut doomed = start("work doomed", dir.path());
    let sleeper = start("work sleeper", dir.path());

    let end = Instant::now() + PATIENCE;
    let reach = async |count: usize| {
        let left = end.saturating_duration_since(Instant::now());
        eventually(left, "so many are settled", async || settled(log.as_ref()).await >= count).await;
    };
    reach(200).await;
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    let total = PUBLISHERS * BATCHES * BATCH;
    stop_between_writes(&sleeper, log.as_ref()).await;
    reach(total).await;
    signal(&sleeper, Signal::CONT);
    children.push(sleeper);
    for child in &mut children {
        assert!(child.wait().unwrap().success(), "a process failed; its words are above");
    }

    let mut values = Vec::new();
    for partition in 0..3 {
        values.extend(all(log.as_ref(), &at("out", partition)).await.iter().map(text));
    }
    assert_eq!(values.len(), total, "settled once each");
    values.sort();
    values.dedup();
    assert_eq!(values.len(), total, "none lost, none twice");
    assert!(done(log.as_ref()).await);
    let left = std::fs::read_dir(dir.path().join("locks/members")).unwrap().count();
    assert!(left <= 1, "{left} lock files stay; only a killed process leaves its own");
}
