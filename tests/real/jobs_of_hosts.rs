//! The jobs of a cluster's hosts, seen and continued from another host. Two hosts are two data folders on one platform.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::postgrest::server::connect;
use crate::stack;
use crate::support::{CommandOutput, Running, Site, eventually, write_texts};

fn on_other_host(site: &Site, words: &[&str]) -> Command {
    let mut command = site.command(words);
    command.env("MFCTL_DATA_DIR", site.path("other-host"));
    command
}

fn run_on_other_host(site: &Site, words: &[&str]) -> CommandOutput {
    CommandOutput::run(on_other_host(site, words))
}

/// Runs with `-o json`; fails unless the exit code is this one.
fn json_on_other_host(site: &Site, words: &[&str], code: i32) -> Value {
    let ran = run_on_other_host(site, &[words, &["-o", "json"]].concat());
    assert_eq!(ran.code, code, "{ran}");
    ran.json()
}

/// Changes when the lease of a job expires, to this SQL expression.
async fn set_lease_expiry(job: &str, expiry: &str) {
    let database = connect(&stack::env("STACK_POSTGRES")).await;
    let sql = format!(
        "UPDATE media.jobs SET lease_expires_at = {expiry} WHERE job_id = '{job}' AND lease_expires_at IS NOT NULL"
    );
    assert_eq!(database.execute(&sql, &[]).await.unwrap(), 1);
}

async fn expire_lease(job: &str) {
    set_lease_expiry(job, "now()").await;
}

#[test]
fn job_of_another_host_is_listed_shown_and_verified_by_its_outcomes() {
    let site = Site::new();
    write_texts(&site.path("in"), 20, &mut fastrand::Rng::with_seed(1));
    fs::write(site.path("in/empty"), "").unwrap();
    let job = site.json(["ingest", "in"], &[3])["job_id"].as_str().unwrap().to_owned();
    let own = json_on_other_host(&site, &["jobs", "list"], 0)["jobs"][0].clone();
    assert_eq!(own["job_id"], job.as_str(), "{own:#}");
    for shown in [own, json_on_other_host(&site, &["jobs", "show", &job], 0)] {
        let counts = ["accepted", "rejected", "failed", "discovered", "not_reported"].map(|name| shown[name].clone());
        assert_eq!(counts, [20, 1, 0, 21, 0].map(Value::from), "{shown:#}");
        assert_eq!((&shown["status"], &shown["lease"]["state"]), (&"finished".into(), &"ended".into()), "{shown:#}");
        assert!(shown["unknown"].as_array().unwrap().contains(&"published".into()), "{shown:#}");
        assert_eq!(shown.get("published"), None, "{shown:#}");
    }
    let table = run_on_other_host(&site, &["jobs", "show", &job[..13]]);
    assert!(table.code == 0 && table.stdout.contains("lease: ") && table.stdout.contains("ended"), "{table}");
    let failed = json_on_other_host(&site, &["jobs", "failed", &job], 0);
    assert_eq!(failed["failures"][0]["kind"], "empty", "{failed:#}");
    let unknown = run_on_other_host(&site, &["jobs", "show", "01900000-0000-7000-8000-000000000000"]);
    assert_eq!(unknown.code, 6, "{unknown}");

    let verified = json_on_other_host(&site, &["jobs", "verify", &job], 10);
    assert_eq!((&verified["files"], &verified["stored"]), (&21.into(), &20.into()), "{verified:#}");
    assert_eq!(verified["problems"][0]["kind"], "not_taken", "{verified:#}");
    // Even where nothing is wrong with what was reported, the sources are not known to be unchanged.
    write_texts(&site.path("good"), 3, &mut fastrand::Rng::with_seed(2));
    let good = site.json(["ingest", "good"], &[0])["job_id"].as_str().unwrap().to_owned();
    let verified = run_on_other_host(&site, &["jobs", "verify", &good]);
    assert_eq!(verified.code, 10, "{verified}");
    assert!(verified.stderr.contains("3 of 3 reported files are stored; the sources were not compared"), "{verified}");
    assert_eq!(site.run(["jobs", "verify", &good]).code, 0);
    let both = json_on_other_host(&site, &["jobs", "list", "--limit", "1"], 0);
    assert_eq!((&both["jobs"][0]["job_id"], &both["next_cursor"]), (&good.as_str().into(), &good.as_str().into()));
}

#[test]
fn staged_object_of_a_job_that_reported_nothing_yet_belongs_to_that_job_on_every_host() {
    let site = Site::new();
    write_texts(&site.path("in"), 3, &mut fastrand::Rng::with_seed(4));
    let died = CommandOutput::run(site.command_with_failpoint("ingest_durable", ["ingest", "in"]));
    assert_eq!(died.code, -6, "{died}");
    let audits = [site.audit(), json_on_other_host(&site, &["audit"], 0)];
    for audit in &audits {
        assert!(audit["garbage"].as_u64().unwrap() > 0, "{audit:#}");
        assert_eq!(audit["garbage"], audits[0]["garbage"], "{audit:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_job_is_continued_on_another_host_once_its_lease_expired() {
    let site = Site::new();
    write_texts(&site.path("in"), 30, &mut fastrand::Rng::with_seed(3));
    let died = CommandOutput::run(site.command_with_failpoint("ingest_recorded", ["ingest", "in"]));
    assert_eq!(died.code, -6, "{died}");
    let job = site.run(["jobs", "list", "-o", "name"]).stdout.trim().to_owned();
    set_lease_expiry(&job, "now() + interval '1 hour'").await;
    let shown = json_on_other_host(&site, &["jobs", "show", &job], 0);
    assert_eq!((&shown["status"], &shown["active"]), (&"running".into(), &true.into()), "{shown:#}");
    assert_eq!((&shown["discovered"], &shown["not_reported"]), (&Value::Null, &Value::Null), "{shown:#}");
    let held = run_on_other_host(&site, &["ingest", "--resume", &job]);
    assert_eq!(held.code, 7, "{held}");
    assert!(held.stderr.contains("is run by another host: ") && held.stderr.contains(" since "), "{held}");

    expire_lease(&job).await;
    let listed = run_on_other_host(&site, &["jobs", "list"]);
    assert!(listed.stdout.contains("died") && listed.stdout.contains("unknown"), "{listed}");
    fs::rename(site.path("in"), site.path("moved")).unwrap();
    let missing = run_on_other_host(&site, &["ingest", "--resume", &job]);
    assert_eq!(missing.code, 6, "{missing}");
    assert!(missing.stderr.contains("cannot be continued on this host"), "{missing}");
    fs::rename(site.path("moved"), site.path("in")).unwrap();
    let continued = json_on_other_host(&site, &["ingest", "--resume", &job], 0);
    assert_eq!((&continued["discovered"], &continued["published"]), (&30.into(), &30.into()), "{continued:#}");

    // The first host sees that another one finished its job.
    let shown = site.json(["jobs", "show", &job], &[0]);
    assert_eq!((&shown["status"], &shown["discovered"]), (&"finished".into(), &30.into()), "{shown:#}");
    assert_eq!(run_on_other_host(&site, &["jobs", "verify", &job]).code, 0);
    site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(site.audit()["enriched"], 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn former_holder_of_a_lease_records_nothing_and_exits_7() {
    let site = Site::new();
    fs::write(site.path("a.txt"), "a").unwrap();
    fs::write(site.path("list"), "a.txt\n").unwrap();
    let mut command = site.command(["ingest", "--files-from", "-"]);
    command.stdin(Stdio::piped());
    let mut holding = Running::captured(command);
    let mut list = holding.child.stdin.take().unwrap();
    list.write_all(b"a.txt\n").unwrap();
    let jobs = || site.run(["jobs", "list", "-o", "name"]);
    eventually("the job appears", || jobs().code == 0 && !jobs().stdout.is_empty());
    let job = jobs().stdout.trim().to_owned();
    // A renewal would extend the expired lease.
    holding.signal(Signal::STOP);
    eventually("the holder is stopped", || holding.is_stopped());
    expire_lease(&job).await;
    let without_list = run_on_other_host(&site, &["ingest", "--resume", &job]);
    assert_eq!(without_list.code, 6, "{without_list}");
    let continued = json_on_other_host(&site, &["ingest", "--resume", &job, "--files-from", "list"], 0);
    assert_eq!(continued["published"], 1, "{continued:#}");
    let outcomes = json_on_other_host(&site, &["jobs", "show", &job], 0);
    drop(list);
    holding.signal(Signal::CONT);
    let ended = holding.finish();
    assert_eq!(ended.code, 7, "{ended}");
    assert!(ended.stderr.contains("another host took over job"), "{ended}");
    assert_eq!(json_on_other_host(&site, &["jobs", "show", &job], 0)["updated_at"], outcomes["updated_at"]);
    site.json(["worker", "all", "--until-drained"], &[0]);
    assert_eq!(site.audit()["enriched"], 1);
}
