//! Several processes on one data folder publish and consume concurrently while one is killed and one is stopped; every
//! published record is settled once.
//!
//! The processes are this test binary again, which runs only [`child_process`] with its role in the environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfctl_core::domain::GroupName;
use mfctl_core::ports::{CommitRequest, ErrorKind, EventLog, Poll, Subscription, SystemClock};
use mfctl_embedded::{DataFolder, EmbeddedLog, OpenMode};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::contract::event_log::{WIDE, all_records, record, spec, text, topic, topic_partition};
use crate::contract::harness::eventually;

const ROLE: &str = "MFCTL_TEST_PROCESS_PART";
const FOLDER: &str = "MFCTL_TEST_PROCESS_FOLDER";
const PUBLISHERS: usize = 2;
const BATCHES: usize = 60;
const BATCH: usize = 25;
const TIMEOUT: Duration = Duration::from_secs(120);

fn open(folder: &Path) -> Arc<dyn EventLog> {
    let folder = DataFolder::open(folder, OpenMode::MayCreate).unwrap();
    Arc::new(EmbeddedLog::new(&folder, Arc::new(SystemClock::default())))
}

fn group() -> GroupName {
    GroupName::new("mfctl.test.many").unwrap()
}

fn start(role: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "contract::embedded_processes::child_process", "--nocapture"])
        .env(ROLE, role)
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The body of a child process; without a role in the environment it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = std::env::var(FOLDER).unwrap();
    let log = open(Path::new(&folder));
    match role.split_once(' ') {
        Some(("publish", name)) => publish(log.as_ref(), name).await,
        Some(("work", name)) => work(log.as_ref(), name).await,
        _ => panic!("unknown role: {role}"),
    }
}

async fn publish(log: &dyn EventLog, name: &str) {
    for batch in 0..BATCHES {
        let one = |n| record("in", &format!("{name}-{}", n % 10), &format!("{name}-{batch:03}-{n:03}"));
        log.publish((0..BATCH).map(one).collect()).await.unwrap();
    }
}

/// Copies each record to the output topic until it is killed or the group is done.
async fn work(log: &dyn EventLog, name: &str) {
    let subscription = Subscription {
        group: group(),
        topics: vec![topic("in")],
        instance: name.to_owned(),
        session_timeout: Duration::from_secs(3),
        prefetch_bytes: 1 << 20,
    };
    let mut consumer = log.subscribe(subscription).await.unwrap();
    let end = Instant::now() + TIMEOUT;
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

/// Sends SIGSTOP and waits until every thread has stopped: until then, one of them may still acquire a lock.
fn stop(process: &Child) {
    signal(process, Signal::STOP);
    let (_, status) = waitpid(Some(Pid::from_child(process)), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "the process has ended: {status:?}");
}

/// Stops a process outside of a write: within one it would hold the SQLite lock and block all others.
async fn stop_between_writes(process: &Child, log: &dyn EventLog) {
    for _ in 0..100 {
        stop(process);
        let probe = [spec("probe", 1)];
        let written = log.create_topics(&probe);
        if tokio::time::timeout(Duration::from_secs(1), written).await.is_ok() {
            return;
        }
        signal(process, Signal::CONT);
    }
    panic!("the process was within a write a hundred times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_settled_once_despite_a_killed_and_a_stopped_process() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topics(&[spec("in", 6), spec("out", 3)]).await.unwrap();
    let mut children: Vec<Child> = ["publish a", "publish b", "work c", "work d"].map(|p| start(p, dir.path())).into();
    let mut killed = start("work killed", dir.path());
    let stopped = start("work stopped", dir.path());

    let end = Instant::now() + TIMEOUT;
    let reach = async |count: usize| {
        let left = end.saturating_duration_since(Instant::now());
        eventually(left, "enough records are settled", async || settled(log.as_ref()).await >= count).await;
    };
    reach(200).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let total = PUBLISHERS * BATCHES * BATCH;
    stop_between_writes(&stopped, log.as_ref()).await;
    reach(total).await;
    signal(&stopped, Signal::CONT);
    children.push(stopped);
    for child in &mut children {
        assert!(child.wait().unwrap().success(), "a process failed; its output is above");
    }

    let mut values = Vec::new();
    for partition in 0..3 {
        values.extend(all_records(log.as_ref(), &topic_partition("out", partition)).await.iter().map(text));
    }
    assert_eq!(values.len(), total, "settled once each");
    values.sort();
    values.dedup();
    assert_eq!(values.len(), total, "none lost, none twice");
    assert!(done(log.as_ref()).await);
    let left = std::fs::read_dir(dir.path().join("locks/members")).unwrap().count();
    assert!(left <= 1, "{left} lock files stay; only a killed process leaves its own");
}
