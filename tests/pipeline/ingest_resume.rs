//! Interrupted jobs are resumed, by one process at a time.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use mfctl_core::domain::job::JobStatus;
use mfctl_core::domain::{JobId, Tenant};
use mfctl_core::ports::NewJob;
use rustix::process::Signal;

use crate::support::{Running, Site, eventually, write_texts};

fn write_input(site: &Site, count: usize) {
    write_texts(&site.path("in"), count, &mut fastrand::Rng::with_seed(13));
}

/// After a crash at any failpoint the next run resumes the job, and every asset is emitted once.
#[test]
fn ingest_is_resumed_after_a_crash_at_each_failpoint() {
    for failpoint in ["ingest_planned", "ingest_durable", "ingest_staged", "ingest_published", "ingest_recorded"] {
        let site = Site::new();
        write_input(&site, 60);
        let mut command = site.command(["ingest", "in"]);
        command.env("MFCTL_FAILPOINT", failpoint);
        let died = crate::support::CommandOutput::run(command);
        assert_eq!(died.code, -6, "{failpoint}: {died}");

        let again = site.run(["ingest", "in", "-o", "json"]);
        assert_eq!(again.code, 0, "{failpoint}: {again}");
        assert!(again.stderr.contains("resuming job"), "{failpoint}: {again}");
        let report = again.json();
        assert_eq!(report["discovered"], 60, "{failpoint}: {report:#}");
        assert_eq!((&report["staged"], &report["deduplicated"]), (&60.into(), &0.into()), "{failpoint}: {report:#}");
        site.json(["worker", "all", "--until-drained"], &[0]);
        let audit = site.audit();
        assert_eq!(audit["enriched"], 60, "{failpoint}: {audit:#}");
        assert_eq!(audit["garbage"], 0, "{failpoint}: {audit:#}");
    }
}

#[test]
fn different_options_and_new_job_begin_another_job() {
    let site = Site::new();
    write_input(&site, 10);
    let mut command = site.command(["ingest", "in"]);
    command.env("MFCTL_FAILPOINT", "ingest_planned");
    crate::support::CommandOutput::run(command);
    let begun = site.run(["ingest", "in", "--locale", "fa-IR"]);
    assert!(begun.code == 0 && begun.stderr.contains("beginning job"), "{begun}");
    let begun = site.run(["ingest", "in", "--new-job"]);
    assert!(begun.code == 0 && begun.stderr.contains("beginning job"), "{begun}");
    let resumed = site.run(["ingest", "./in", "--concurrency", "1"]);
    assert!(resumed.code == 0 && resumed.stderr.contains("resuming job"), "{resumed}");
    assert_eq!(site.run(["jobs", "list", "-o", "name"]).stdout.lines().count(), 3);
}

/// A job that waits for more of its list is leased to its process; after that stops, another may resume it.
#[test]
fn job_is_leased_to_one_process_and_can_be_resumed_after_a_stop() {
    let site = Site::new();
    write_input(&site, 10);
    fs::write(site.path("a.txt"), "a").unwrap();
    let mut command = site.command(["ingest", "--files-from", "-"]);
    command.stdin(Stdio::piped());
    let mut holding = Running::captured(command);
    let mut list = holding.child.stdin.take().unwrap();
    list.write_all(b"a.txt\n").unwrap();
    let jobs = || site.run(["jobs", "list", "-o", "name"]);
    eventually("the job appears", || jobs().code == 0 && !jobs().stdout.is_empty());
    let job = jobs().stdout.trim().to_owned();

    let other = site.run(["ingest", "--resume", &job]);
    assert_eq!(other.code, 7, "{other}");
    assert!(other.stderr.contains(&holding.pid().to_string()), "the process is named: {other}");

    holding.signal(Signal::TERM);
    let stopped = holding.finish();
    assert_eq!(stopped.code, 143, "{stopped}");
    assert!(stopped.stderr.contains(&format!("--resume {job}")), "{stopped}");
    let shown = site.json(["jobs", "show", &job], &[0]);
    assert_eq!(shown["status"], "interrupted", "{shown:#}");
    assert!(shown["reason"].as_str().unwrap().contains("SIGTERM"), "{shown:#}");
    drop(list);
    fs::write(site.path("list"), "a.txt\n").unwrap();
    let resumed = site.json(["ingest", "--resume", &job, "--files-from", "list"], &[0]);
    assert_eq!(resumed["job_id"], job.as_str());
    assert_eq!(site.json(["jobs", "show", &job], &[0])["status"], "finished");
}

/// An unfinished job is reported, however many jobs came after it.
#[tokio::test]
async fn status_counts_unfinished_jobs_of_any_age() {
    let site = Site::new();
    site.json(["worker", "all", "--until-drained"], &[0]);
    let ports = site.ports().await;
    let at = ports.clock.now();
    let left = JobId::fresh();
    let done: Vec<JobId> = std::iter::repeat_with(JobId::fresh).take(600).collect();
    let begun = std::iter::once(&left).chain(&done).map(|job_id| {
        let tenant = Tenant::default();
        let spec = serde_json::json!({});
        ports.journal.begin(NewJob { job_id: *job_id, tenant, actor: "me".into(), host: "host".into(), spec, at })
    });
    futures_util::future::try_join_all(begun).await.unwrap();
    let ended = done.iter().map(|job| ports.journal.set_status(*job, JobStatus::Finished, None, at));
    futures_util::future::try_join_all(ended).await.unwrap();
    let status = site.run(["status", "-o", "json"]).json();
    let parts = status["parts"].as_array().unwrap();
    let jobs = parts.iter().find(|part| part["part"] == "jobs").unwrap();
    assert_eq!((&jobs["health"], &jobs["detail"]), (&"warn".into(), &"0 running, 1 unfinished".into()), "{jobs:#}");
    assert!(jobs["hint"].as_str().unwrap().contains(&left.to_string()), "{jobs:#}");
}
